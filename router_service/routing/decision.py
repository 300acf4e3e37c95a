"""Chooses a model for a job: `route(job, catalog, counters, policy) -> Decision`. Filter, score, pick."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from router_service.jobs.spec import AUTO
from router_service.routing.constraints import CONSTRAINTS
from router_service.routing.policy import expected_tokens_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_service.catalog.models import Catalog, Model
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.policy import Counters, RoutingPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that was looked at: why it is out (`reason`, and the value that bound), or its raw scores.

    `cost_usd` and `wait_s` are expected values; the lowest `score` wins. `rank` is the place in the fallback chain.
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

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was chosen and from what. `model_id` is None where no candidate is eligible."""

    model_id: str | None
    reason: str
    candidates: tuple[Candidate, ...]
    policy: str
    catalog: str


def route(job: RoutableJob, *, catalog: Catalog, counters: Mapping[str, Counters], policy: RoutingPolicy) -> Decision:
    """Choose among the models that the job may use. Ties go by a hash of job and model, never by chance.

    Fallbacks are for failures: a model of a later rank is picked only when every earlier one is out.
    """
    candidates = tuple(
        _weigh(job, model, rank=rank, counters=counters.get(model.id), policy=policy)
        for rank, models in enumerate(_ranks(job, catalog))
        for model in models
    )
    eligible = [candidate for candidate in candidates if candidate.eligible]
    if not eligible:
        reason = "no_eligible_model" if candidates else "unknown_model"
        return Decision(model_id=None, reason=reason, candidates=candidates, policy=policy.hash, catalog=catalog.hash)
    best = min(eligible, key=lambda each: (each.rank, each.score, _tie(job, each.model)))
    return Decision(
        model_id=best.model,
        reason="cheapest_available" if best.rank == 0 else "fallback",
        candidates=candidates,
        policy=policy.hash,
        catalog=catalog.hash,
    )


def _ranks(job: RoutableJob, catalog: Catalog) -> tuple[tuple[Model, ...], ...]:
    """The models that the job may use, in ranks. A lower `order` of LiteLLM's comes first within `auto`."""
    if job.spec.model != AUTO:
        return catalog.chain(job.spec.model)
    orders = sorted({model.order for model in catalog.models})
    return tuple(tuple(model for model in catalog.models if model.order == order) for order in orders)


def _weigh(job: RoutableJob, model: Model, *, rank: int, counters: Counters | None, policy: RoutingPolicy) -> Candidate:
    for constraint in CONSTRAINTS:
        rejection = constraint(job.spec, model)
        if rejection is not None:
            return Candidate(model=model.id, eligible=False, rank=rank, reason=rejection.reason, bound=rejection.bound)
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
    )


def _tie(job: RoutableJob, model_id: str) -> bytes:
    return blake2b(job.id.bytes + model_id.encode(), digest_size=8).digest()
