"""What was not known of a job when it was decided, and the rules of its policy that were not applied because of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router_service.routing.question import Question

SIGNALS = ("language", "domain", "task")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSeen:
    """A rule of the policy, by its number from 1 on: applied, or not since what `unknown` names was not known."""

    number: int
    name: str
    unknown: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "name": self.name,
            "applied": not self.unknown,
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """`is_read`: false where nobody looked at the request, since nothing depended on what it says.

    `rules`: those that held, and those that would have held or not by what was not known; the others saw that they do not.
    """

    is_read: bool
    unknown: tuple[str, ...]
    rules: tuple[RuleSeen, ...]

    @classmethod
    def of(cls, asked: Question) -> Gaps:
        seen = []
        for number, rule in enumerate(asked.policy.rules, start=1):
            open_kinds = asked.unsettled(rule)
            if open_kinds is not None:
                seen.append(RuleSeen(number=number, name=rule.name, unknown=open_kinds))
        return cls(
            is_read=asked.insight.signals is not None,
            unknown=tuple(kind for kind in SIGNALS if not asked.knows(kind)),
            rules=tuple(seen),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "is_read": self.is_read,
            "unknown": list(self.unknown),
            "rules": [rule.as_json() for rule in self.rules],
        }
