"""`/v1/models`: what is on offer, with its live counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter

from router_service.api.state import Caller, Here, State
from router_service.capacity import room
from router_service.capacity.limiter import Live
from router_service.capacity.tallies import LABELS, RECOVERIES, Counts, Tally
from router_service.catalog.models import Model
from router_service.errors import NotFoundError, UnavailableError
from router_service.telemetry.logs import logger
from router_service.tickets import dead_letter_queue, model_queue

log = logger(__name__)
routes = APIRouter(prefix="/v1/models", tags=["models"])
LIMITS = ("slots", "rpm", "tpm", "itpm", "otpm", "rpd", "tpd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What Redis and the broker say at this moment; empty while they are not available."""

    live: Mapping[str, Live] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    counts: Counts = field(default_factory=dict)


@routes.get("")
async def list_models(here: Here, principal: Caller) -> dict[str, Any]:  # noqa: ARG001 (a key is needed)
    """Every model name with its deployments. Live counters are null while Redis is not available."""
    catalog = here.offered()
    now = await _now(here, catalog.models)
    return {
        "object": "list",
        "data": [_show(name, models, now) for name, models in catalog.by_name.items()],
        "has_more": False,
        "waybill": {
            "recovered": {what: now.counts.get((Tally.RECOVERED, (("what", what),)), 0.0) for what in RECOVERIES}
        },
    }


@routes.get("/{name:path}")
async def read(name: str, here: Here, principal: Caller) -> dict[str, Any]:  # noqa: ARG001 (a key is needed)
    models = here.offered().named(name)
    if not models:
        raise NotFoundError(f"no model is named {name[:100]!r}", param="model", code="model_not_found")
    return _show(name, models, await _now(here, models))


async def _now(here: State, models: tuple[Model, ...]) -> Now:
    try:
        live = await here.limiter.snapshot(models)
        counts = await here.tallies.read()
        queues = [queue(model.id) for model in models for queue in (model_queue, dead_letter_queue)]
        lengths = await here.queue_lengths.read(queues) if here.queue_lengths else {}
    except UnavailableError as error:
        log.warning("models are shown without their live counters", error=str(error))
        return Now()
    return Now(live=live, lengths=lengths, counts=counts)


def _show(name: str, models: tuple[Model, ...], now: Now) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": models[0].provider,
        "waybill": {"deployments": [_deployment(model, now) for model in models]},
    }


def _deployment(model: Model, now: Now) -> dict[str, Any]:
    return {
        "id": model.id,
        "provider": model.provider,
        "max_input_tokens": model.max_input_tokens,
        "max_output_tokens": model.max_output_tokens,
        "input_cost_per_token": model.input_cost,
        "output_cost_per_token": model.output_cost,
        "quality": model.expected_quality(),
        "residency": {"inference": sorted(model.residency.inference), "storage": sorted(model.residency.storage)}
        if model.residency
        else None,
        "limit_group": model.limit_group,
        **{name: getattr(model.limits, name) for name in LIMITS},
        **_live(model, now.live.get(model.id)),
        "queue": now.lengths.get(model_queue(model.id)),
        "dead_letter_queue": now.lengths.get(dead_letter_queue(model.id)),
        "counts": _counts(model, now.counts) if now.live else None,
    }


def _live(model: Model, live: Live | None) -> dict[str, Any]:
    """`waiting`: jobs in its queue; `held_by`: why that takes no more; `limit_factor`: the share of its limits in use.

    `error_rate`: the share of its last calls that failed; `rate_left`: what is left of the limit that has least left.
    """
    counters = room.counters_of(model.limits, live) if live else None
    return {
        "in_flight": counters.in_flight if counters else None,
        "waiting": counters.waiting if counters else None,
        "held_by": counters.held_by if counters else None,
        "paused_s": counters.paused_s if counters else None,
        "broken_s": counters.broken_s if counters else None,
        "limit_factor": live.factor if live else None,
        "latency_s": counters.latency_s if counters else None,
        "latency_p95_s": counters.latency_p95_s if counters else None,
        "error_rate": counters.error_rate if counters else None,
        "rate_left": counters.rate_left if counters else None,
    }


def _counts(model: Model, counts: Counts) -> dict[str, Any]:
    """What was counted since Redis was last empty. Two readings make a rate."""
    shown: dict[str, Any] = {
        tally: {} if "reason" in names else 0.0 for tally, names in LABELS.items() if "model" in names
    }
    for (name, labels), amount in counts.items():
        values = dict(labels)
        if name in shown and values.get("model") == model.id:
            if isinstance(shown[name], dict):
                shown[name][values.get("reason", "")] = amount
            else:
                shown[name] = amount
    return shown
