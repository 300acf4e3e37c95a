"""What constraints and scores look at: a job under a policy, with what is known of it, and one model as a prospect for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from router_service.jobs.spec import TYPICAL_TOKENS_OUT, Feature
from router_service.routing.insight import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router_service.catalog.models import Model
    from router_service.catalog.policies import RoutingPolicy, Rule
    from router_service.jobs.spec import JobSpec, RoutableJob
    from router_service.routing.counters import Counters
    from router_service.routing.insight import Insight

MODALITIES: dict[str, str] = {Feature.VISION: "image", Feature.AUDIO: "audio"}
UNKNOWN = Estimate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A job under a policy. `rules`: those whose conditions hold; `language`, `domain` and `task`: None where not known."""

    job: RoutableJob
    spec: JobSpec
    policy: RoutingPolicy
    insight: Insight
    language: str | None
    domain: str | None
    task: str | None
    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, job: RoutableJob, *, policy: RoutingPolicy, insight: Insight) -> Question:
        hinted, signals = job.spec.preferences, insight.signals
        asked = cls(
            job=job,
            spec=job.spec,
            policy=policy,
            insight=insight,
            language=hinted.language or (signals.language if signals else None),
            domain=hinted.domain or (signals.domain if signals else None),
            task=hinted.task or (signals.task if signals else None),
            rules=(),
        )
        if not policy.rules:
            return asked
        return replace(asked, rules=tuple(rule for rule in policy.rules if asked.holds(rule)))

    def level(self, model: Model) -> float | None:
        """The quality expected of the model on jobs of this kind: as learned, else as declared."""
        estimate = self.insight.estimates.get(model.id)
        if estimate is not None and estimate.level is not None:
            return estimate.level
        if not self.insight.is_read:
            return max(model.quality.values(), default=None)
        return model.expected_quality(self.task, self.domain)

    def quality(self, model: Model) -> float | None:
        """The probability that the model answers this very job right."""
        estimate = self.insight.estimates.get(model.id)
        return self.level(model) if estimate is None or estimate.quality is None else estimate.quality

    def tokens_out(self, model: Model, counters: Counters | None) -> int:
        """How long its answer will probably be, within what the job and the model allow."""
        signals, estimate = self.insight.signals, self.insight.estimates.get(model.id, UNKNOWN)
        limit = self.spec.tokens_out
        if (likely := estimate.tokens_out) is None and (likely := signals.tokens_out if signals else None) is None:
            likely = limit
            if likely is None:
                likely = round(counters.tokens_out) if counters and counters.tokens_out else TYPICAL_TOKENS_OUT
        most = min(each for each in (limit, model.max_output_tokens, likely) if each is not None)
        return max(1, most)

    def holds(self, rule: Rule) -> bool:
        """Whether each of the rule's conditions matches something that is known of the job."""
        return all(self._matches(kind, patterns) for kind, patterns in rule.when.items())

    def unsettled(self, rule: Rule) -> tuple[str, ...] | None:
        """What the rule looks at and is not known of the job; empty where it holds, None where something speaks against it."""
        unmet = [kind for kind, patterns in rule.when.items() if not self._matches(kind, patterns)]
        return None if any(self.knows(kind) for kind in unmet) else tuple(unmet)

    def knows(self, kind: str) -> bool:
        """Whether it is known of the job what rules of this kind look at."""
        if kind in {"language", "domain", "task"}:
            return getattr(self, kind) is not None
        return kind != "flag" or self.insight.signals is not None

    def _matches(self, kind: str, patterns: Sequence[str]) -> bool:
        return any(fnmatchcase(value, pattern) for value in self._values(kind) for pattern in patterns)

    def _values(self, kind: str) -> Iterable[str]:
        signals = self.insight.signals
        match kind:
            case "language" | "domain" | "task":
                value = getattr(self, kind)
                return () if value is None else (value,)
            case "flag":
                return signals.flags if signals else ()
            case "feature":
                return self.spec.features
            case "modality":
                return ("text", *(MODALITIES[each] for each in self.spec.features if each in MODALITIES))
            case "tenant":
                return (self.job.tenant_id,)
            case _:
                raise AssertionError(f"the catalog lets no rule look at {kind}")


@dataclass(slots=True, kw_only=True)
class Prospect:
    """A model that may do the job, as a strategy sees it.

    `cost_usd` and `latency_s` are expected for this job, `wait_s` is until it can start, `quality` the probability of a right
    answer; each None where nobody knows. `place`: the smallest goes first, whatever the scores: 0 preferred, ... `counters`: None
    where nothing is known of the model's state.
    """

    question: Question
    model: Model
    counters: Counters | None
    rank: int
    place: int
    tokens_out: int
    cost_usd: float | None
    latency_s: float | None
    wait_s: float
    quality: float | None
    is_failing: bool
    is_late: bool

    @property
    def known_cost_usd(self) -> float:
        return self.question.policy.unknown_cost_usd if self.cost_usd is None else self.cost_usd

    @property
    def is_full(self) -> bool:
        return self.counters is not None and self.counters.room <= 0
