"""Chooses a model for a job: `route(job, catalog, counters, policy, insight) -> Decision`. Filter, score, pick."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from router_service.catalog.policies import Strategy
from router_service.jobs.spec import AUTO, threshold_of
from router_service.routing import exploration
from router_service.routing.changes import changes_needed
from router_service.routing.constraints import (
    BREAKER,
    DEADLINE,
    UNKNOWN_POLICY,
    Rejection,
    hindrance,
    is_late,
    rejection,
)
from router_service.routing.insight import NOTHING
from router_service.routing.methods import BUILT_IN, FAILED, asked_of, scores_of
from router_service.routing.question import Prospect, Question
from router_service.routing.ranks import place_of, ranks_of
from router_service.routing.strategies import SCORERS, SORTS, by_plan, share_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Catalog, Model
    from router_service.catalog.policies import RoutingPolicy
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.changes import Change
    from router_service.routing.constraints import Constraint
    from router_service.routing.counters import Counters
    from router_service.routing.insight import Insight
    from router_service.routing.methods import Methods
    from router_service.routing.strategies import Score, Scorer

CHEAPEST = "cheapest_available"
FALLBACK = "fallback"
ASKED_FOR = "asked_for"
THRESHOLD = "threshold"
PLANNED = "batch_plan"
MISSING = "plugin_missing"
TO_BE_MENDED = frozenset({MISSING, FAILED, UNKNOWN_POLICY})
OURS = frozenset((*SCORERS.values(), *SORTS.values(), by_plan))


class Outlook(StrEnum):
    """What a job that was looked at has before it."""

    GO = "go"  # a model was chosen
    WAIT = "wait"  # only what passes stands in the way
    LATE = "late"  # each model that could do it is too slow for the deadline
    NEVER = "never"  # no model on offer may do it


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that was looked at: why it is out (`reason`, and the value that bound), or its raw scores.

    `cost_usd`, `latency_s` and `wait_s` are expected values, `quality` the probability of a right answer; the lowest `score`
    wins. `rank` is the place in the fallback chain, `place` that within it by wishes and rules (0 goes first); one that
    `is_late` (probably too late for the deadline) or `is_failing` comes behind all that are not.
    """

    model: str
    eligible: bool
    reason: str | None = None
    bound: Any = None
    rank: int = 0
    place: int = 0
    cost_usd: float | None = None
    latency_s: float | None = None
    wait_s: float | None = None
    quality: float | None = None
    score: float | None = None
    is_failing: bool | None = None
    is_late: bool | None = None

    def as_json(self) -> dict[str, Any]:
        said = {"model": self.model, "eligible": self.eligible, "rank": self.rank}
        return said | {
            key: value for key in OPTIONAL if (value := getattr(self, key)) is not None and (key != "place" or value)
        }


OPTIONAL = (
    "reason",
    "bound",
    "place",
    "cost_usd",
    "latency_s",
    "wait_s",
    "quality",
    "score",
    "is_failing",
    "is_late",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was chosen and from what. `model_id` is None where no candidate is eligible; `outlook` says whether one may be.

    `changes`: where none may ever be, the least that would have to change for one to be.
    """

    model_id: str | None
    reason: str
    candidates: tuple[Candidate, ...]
    policy: str
    catalog: str
    outlook: Outlook = Outlook.GO
    changes: tuple[Change, ...] = field(default=())


def route(
    job: RoutableJob,
    *,
    catalog: Catalog,
    counters: Mapping[str, Counters],
    policy: RoutingPolicy,
    insight: Insight = NOTHING,
    methods: Methods = BUILT_IN,
) -> Decision:
    """Choose among the models that the job may use. Ties go by a hash of job and model, never by chance.

    Fallbacks are for failures: a model of a later rank is picked only when every earlier one is out, be it for the moment, or
    fails most of its calls, or will be too late. A job that has begun its tries on such a model ends them there.
    """
    asked = Question.of(job, policy=policy, insight=insight)
    looked_at = [
        (model, rank, _rejection(asked, model, counters.get(model.id), methods))
        for rank, models in enumerate(ranks_of(asked, catalog))
        for model in models
    ]
    prospects = [
        prospect(asked, model, rank, counters.get(model.id), catalog) for model, rank, out in looked_at if out is None
    ]
    scores = _scores(asked, prospects, methods)
    if isinstance(scores, Rejection):
        looked_at = [(model, rank, out or scores) for model, rank, out in looked_at]
        prospects, scores = [], []
    scored = iter([_candidate(each, score[0]) for each, score in zip(prospects, scores, strict=True)])
    candidates = tuple(next(scored) if out is None else _out(model, rank, out) for model, rank, out in looked_at)
    if not prospects:
        return _nobody(asked, candidates, [model for model, _rank, _out in looked_at], catalog, methods)
    chosen, reason = _chosen(asked, prospects, scores)
    return _decision(asked, chosen.model.id, reason, candidates, catalog)


def _chosen(asked: Question, prospects: Sequence[Prospect], scores: Sequence[Score]) -> tuple[Prospect, str]:
    """The best, or one that is tried in its place, and why."""
    keys = [_order(each, score) for each, score in zip(prospects, scores, strict=True)]
    best = min(range(len(prospects)), key=keys.__getitem__)
    is_policys = asked.spec.preferences.sort is None and not is_planned(asked)
    if asked.policy.exploration.share > 0 and is_policys:
        peers = [each for each, key in zip(prospects, keys, strict=True) if key[:4] == keys[best][:4]]
        if (other := exploration.instead_of(prospects[best], peers)) is not None:
            return other, exploration.REASON
    return prospects[best], _why(asked, prospects[best], asked.policy)


def _nobody(
    asked: Question,
    candidates: tuple[Candidate, ...],
    models: Sequence[Model],
    catalog: Catalog,
    methods: Methods,
) -> Decision:
    """No model, why, and where that will not pass what would have to change."""
    reason, outlook = _why_none(asked, candidates, catalog)
    changes = changes_needed(asked, models, plugins=_plugins(asked, methods)) if outlook is Outlook.NEVER else ()
    return _decision(asked, None, reason, candidates, catalog, outlook=outlook, changes=changes)


def _decision(
    asked: Question,
    model_id: str | None,
    reason: str,
    candidates: tuple[Candidate, ...],
    catalog: Catalog,
    *,
    outlook: Outlook = Outlook.GO,
    changes: tuple[Change, ...] = (),
) -> Decision:
    return Decision(
        model_id=model_id,
        reason=reason,
        candidates=candidates,
        policy=asked.policy.hash,
        catalog=catalog.hash,
        outlook=outlook,
        changes=changes,
    )


def lasting_rejection(asked: Question, model: Model, methods: Methods) -> Rejection | None:
    """Why a model may not do the job, whatever its state at the moment: by what is built in, or by what the policy names."""
    return rejection(asked, model) or _rejected_by_plugin(asked, model, methods)


def _rejection(asked: Question, model: Model, counters: Counters | None, methods: Methods) -> Rejection | None:
    return lasting_rejection(asked, model, methods) or hindrance(asked.job, counters)


def _rejected_by_plugin(asked: Question, model: Model, methods: Methods) -> Rejection | None:
    policy = asked.policy
    for name in policy.constraints:
        constraint = methods.constraints.get(name)
        out = Rejection(reason=MISSING, bound=name) if constraint is None else asked_of(name, constraint, asked, model)
        if out is not None:
            return out
    for name, known in [
        (policy.strategy, methods.strategies),
        *((name, methods.terms) for name, _weight in policy.terms),
    ]:
        if name not in known:
            return Rejection(reason=MISSING, bound=name)
    return None


def _plugins(asked: Question, methods: Methods) -> list[Constraint]:
    """The policy's constraints of plugins, and one for each name that is not installed."""
    policy, known = asked.policy, methods.constraints
    missing = [name for name in policy.constraints if name not in known]
    missing += [policy.strategy] if policy.strategy not in methods.strategies else []
    missing += [name for name, _weight in policy.terms if name not in methods.terms]
    installed = [partial(asked_of, name, known[name]) for name in policy.constraints if name in known]
    return [*installed, *(partial(_missing, name) for name in missing)]


def _missing(name: str, _asked: Question, _model: Model) -> Rejection:
    return Rejection(reason=MISSING, bound=name)


def prospect(asked: Question, model: Model, rank: int, counters: Counters | None, catalog: Catalog) -> Prospect:
    """What is expected of a model on a job, by the counters."""
    job, tokens_in, tokens_out = asked.job, asked.spec.tokens_in, asked.tokens_out(model, counters)
    latency_s, wait_s, is_failing = model.latency_s, 0.0, False
    if counters is not None:
        measured_s = counters.expected_latency_s(tokens_out)
        latency_s = latency_s if measured_s is None else measured_s
        wait_s = counters.wait_for_s(tokens_in=tokens_in, tokens_out=tokens_out)
        is_failing = counters.is_failing and job.tried != model.id
    return Prospect(
        question=asked,
        model=model,
        counters=counters,
        rank=rank,
        place=place_of(asked, model, catalog),
        tokens_out=tokens_out,
        cost_usd=model.cost_usd(tokens_in=tokens_in, tokens_out=tokens_out),
        latency_s=latency_s,
        wait_s=wait_s,
        quality=asked.quality(model),
        is_failing=is_failing,
        is_late=counters is not None and is_late(job, wait_s=max(wait_s, counters.broken_s), latency_s=latency_s),
    )


def _scores(asked: Question, prospects: Sequence[Prospect], methods: Methods) -> list[Score] | Rejection:
    if not prospects:
        return []
    scorer = _scorer(asked, methods)
    if not asked.policy.terms and scorer in OURS:
        return scorer(prospects)
    return scores_of(asked.policy, scorer, prospects, methods)


def _scorer(asked: Question, methods: Methods) -> Scorer:
    sort = asked.spec.preferences.sort
    if sort is not None:
        return SORTS[sort]
    return by_plan if is_planned(asked) else methods.strategies[asked.policy.strategy]


def is_planned(asked: Question) -> bool:
    """Whether the plan for its batch chooses: where the request leaves the choice to the router."""
    return asked.insight.prices is not None and asked.spec.model == AUTO and asked.spec.preferences.sort is None


def _order(each: Prospect, score: tuple[float, ...]) -> tuple[Any, ...]:
    """The smallest is picked."""
    return each.is_late, each.is_failing, each.rank, each.place, score, share_of(each.question.job.id, each.model.id)


def _candidate(each: Prospect, score: float) -> Candidate:
    return Candidate(
        model=each.model.id,
        eligible=True,
        rank=each.rank,
        place=each.place,
        cost_usd=each.cost_usd,
        latency_s=each.latency_s,
        wait_s=each.wait_s,
        quality=each.quality,
        score=score,
        is_failing=each.is_failing or None,
        is_late=each.is_late or None,
    )


def _out(model: Model, rank: int, out: Rejection) -> Candidate:
    return Candidate(model=model.id, eligible=False, rank=rank, reason=out.reason, bound=out.bound)


def _why(asked: Question, best: Prospect, policy: RoutingPolicy) -> str:
    if best.rank > 0:
        return FALLBACK
    if asked.spec.model != AUTO:
        return ASKED_FOR if threshold_of(asked.spec.model) is None else THRESHOLD
    if asked.spec.preferences.sort is not None:
        return f"sort:{asked.spec.preferences.sort}"
    if is_planned(asked):
        return PLANNED
    return CHEAPEST if policy.strategy == Strategy.CHEAPEST_CAPABLE else policy.strategy


def _why_none(asked: Question, candidates: tuple[Candidate, ...], catalog: Catalog) -> tuple[str, Outlook]:
    reasons = {candidate.reason for candidate in candidates}
    if to_be_mended := reasons & TO_BE_MENDED:  # by an operator: until then nobody can tell what else holds
        return min(filter(None, to_be_mended)), Outlook.NEVER
    if BREAKER in reasons:
        return BREAKER, Outlook.WAIT
    if DEADLINE in reasons:
        return DEADLINE, Outlook.LATE
    return "no_eligible_model" if catalog.has(asked.spec.model) else "unknown_model", Outlook.NEVER
