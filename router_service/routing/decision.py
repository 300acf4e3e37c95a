"""Chooses a model for a job: `route(job, catalog, counters, policy) -> Decision`. Filter, score, pick."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from router_service.jobs.spec import AUTO, Fallback
from router_service.routing.constraints import BREAKER, CONSTRAINTS, DEADLINE, hindrance, is_late
from router_service.routing.policy import expected_tokens_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_service.catalog.models import Catalog, Model
    from router_service.jobs.spec import JobSpec, RoutableJob
    from router_service.routing.policy import Counters, RoutingPolicy


class Outlook(StrEnum):
    """What a job that was looked at has before it."""

    GO = "go"  # a model was chosen
    WAIT = "wait"  # only what passes stands in the way
    LATE = "late"  # each model that could do it is too slow for the deadline
    NEVER = "never"  # no model on offer may do it


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that was looked at: why it is out (`reason`, and the value that bound), or its raw scores.

    `cost_usd` and `wait_s` are expected values; the lowest `score` wins. `rank` is the place in the fallback chain; one that
    `is_late` (probably too late for the deadline) or `is_failing` comes behind all that are not.
    """

    model: str
    eligible: bool
    reason: str | None = None
    bound: Any = None
    rank: int = 0
    cost_usd: float | None = None
    wait_s: float | None = None
    quality: float | None = None
    score: float | None = None
    is_failing: bool | None = None
    is_late: bool | None = None

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was chosen and from what. `model_id` is None where no candidate is eligible; `outlook` says whether one may be."""

    model_id: str | None
    reason: str
    candidates: tuple[Candidate, ...]
    policy: str
    catalog: str
    outlook: Outlook = Outlook.GO


def route(job: RoutableJob, *, catalog: Catalog, counters: Mapping[str, Counters], policy: RoutingPolicy) -> Decision:
    """Choose among the models that the job may use. Ties go by a hash of job and model, never by chance.

    Fallbacks are for failures: a model of a later rank is picked only when every earlier one is out, be it for the moment, or
    fails most of its calls, or will be too late. A job that has begun its tries on such a model ends them there.
    """
    candidates = tuple(
        _weigh(job, model, rank=rank, counters=counters.get(model.id), policy=policy)
        for rank, models in enumerate(_ranks(job.spec, catalog))
        for model in models
    )
    eligible = [candidate for candidate in candidates if candidate.eligible]
    if eligible:
        best = min(eligible, key=lambda each: _order(job, each))
        model_id, reason, outlook = best.model, _why(job.spec, best), Outlook.GO
    else:
        model_id, (reason, outlook) = None, _why_none(job.spec, candidates, catalog)
    return Decision(
        model_id=model_id,
        reason=reason,
        candidates=candidates,
        policy=policy.hash,
        catalog=catalog.hash,
        outlook=outlook,
    )


def _order(job: RoutableJob, each: Candidate) -> tuple[Any, ...]:
    """The smallest is picked."""
    return bool(each.is_late), bool(each.is_failing), each.rank, each.score, _tie(job, each.model)


def _why(spec: JobSpec, best: Candidate) -> str:
    if best.rank > 0:
        return "fallback"
    return "cheapest_available" if spec.model == AUTO else "asked_for"


def _why_none(spec: JobSpec, candidates: tuple[Candidate, ...], catalog: Catalog) -> tuple[str, Outlook]:
    reasons = {candidate.reason for candidate in candidates}
    if BREAKER in reasons:
        return BREAKER, Outlook.WAIT
    if DEADLINE in reasons:
        return DEADLINE, Outlook.LATE
    known = spec.model == AUTO or catalog.has(spec.model)
    return "no_eligible_model" if known else "unknown_model", Outlook.NEVER


def _ranks(spec: JobSpec, catalog: Catalog) -> tuple[tuple[Model, ...], ...]:
    """The models that the job may use, in ranks. A lower `order` of LiteLLM's comes first within `auto`."""
    if spec.fallback is not Fallback.GENERAL:
        start = _chain_start(spec, catalog)
        if start is not None:
            return catalog.chain(start, spec.fallback)
        if spec.fallback is Fallback.CONTENT_POLICY:
            return ()  # never around a refusal unless the catalog says so
    if spec.model != AUTO:
        return catalog.chain(spec.model)
    orders = sorted({model.order for model in catalog.models})
    return tuple(tuple(model for model in catalog.models if model.order == order) for order in orders)


def _chain_start(spec: JobSpec, catalog: Catalog) -> str | None:
    """The name whose chain of the job's kind is followed: the one asked for, else the last that gave up and has one.

    So a chain is followed to its end, and a fallback's own chain is known.
    """
    gave_up = [catalog.by_id[model_id] for model_id in reversed(spec.excluded) if model_id in catalog.by_id]
    names = [spec.model, *(name for model in gave_up for name in (model.name, model.id))]
    return next((name for name in names if catalog.names_chain(name, spec.fallback)), None)


def _weigh(job: RoutableJob, model: Model, *, rank: int, counters: Counters | None, policy: RoutingPolicy) -> Candidate:
    out = next((said for constraint in CONSTRAINTS if (said := constraint(job.spec, model))), None)
    out = out or hindrance(job, counters)
    if out is not None:
        return Candidate(model=model.id, eligible=False, rank=rank, reason=out.reason, bound=out.bound)
    cost = model.cost_usd(
        tokens_in=job.spec.tokens_in, tokens_out=expected_tokens_out(job.spec.tokens_out, model, policy)
    )
    wait_s = counters.wait_s if counters else 0.0
    return Candidate(
        model=model.id,
        eligible=True,
        rank=rank,
        cost_usd=cost,
        wait_s=wait_s,
        quality=model.expected_quality(),
        score=(policy.unknown_cost_usd if cost is None else cost) + policy.wait_usd_per_s * wait_s,
        is_failing=True if counters and counters.is_failing and job.tried != model.id else None,
        is_late=is_late(job, counters) or None,
    )


def _tie(job: RoutableJob, model_id: str) -> bytes:
    return blake2b(job.id.bytes + model_id.encode(), digest_size=8).digest()
