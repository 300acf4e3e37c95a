"""What a request says of where it may go and of how to choose, beyond its sizes: never content."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Sort(StrEnum):
    """OpenRouter's `provider.sort`: what to choose by, in the place of the policy's strategy."""

    PRICE = "price"
    THROUGHPUT = "throughput"
    LATENCY = "latency"


class Safety(StrEnum):
    """How far a model is hardened against misuse, as its operator declares it. In rising order."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        return list(Safety).index(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """One request's wishes. They only ever narrow the choice, or change how it is made among what is left.

    `policy`: one that the catalog names; `quality_target`: the mean quality wanted, as a share of that of the strongest model;
    `max_cost_usd`: of this one job; `max_input_cost` and `max_output_cost`: US dollars per token. `only`, `ignore` and `order`
    name models by id, name or provider. `language`, `domain`, `task` and `difficulty` are hints, which go before what is
    predicted.
    """

    policy: str | None = None
    quality_target: float | None = None
    max_cost_usd: float | None = None
    max_input_cost: float | None = None
    max_output_cost: float | None = None
    safety: Safety | None = None
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    sort: Sort | None = None
    no_training: bool = False
    no_retention: bool = False
    language: str | None = None
    domain: str | None = None
    task: str | None = None
    difficulty: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Only what differs from no wish at all."""
        return {key: value for key, value in asdict(self).items() if value != getattr(NONE, key)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Preferences:
        """The inverse of `as_json`. What an older version stored and this one does not know is an error (TypeError)."""
        if not stored:
            return NONE
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
        }
        if "safety" in values:
            values["safety"] = Safety(values["safety"])
        if "sort" in values:
            values["sort"] = Sort(values["sort"])
        return cls(**values)

    def parts(self) -> tuple[str, ...]:
        """Words that differ where wishes differ, but for numbers: for the job's lane."""
        return tuple(
            f"{each.name}={value}"
            for each in fields(self)
            if each.name not in NUMBERS and (value := getattr(self, each.name)) != getattr(NONE, each.name)
        )

    @property
    def hints(self) -> dict[str, str | float]:
        """By the name of the signal that each stands for."""
        given = {"language": self.language, "domain": self.domain, "task": self.task, "difficulty": self.difficulty}
        return {name: value for name, value in given.items() if value is not None}


NONE = Preferences()
NUMBERS = frozenset({"quality_target", "max_cost_usd", "max_input_cost", "max_output_cost", "difficulty"})
