"""`/v1/models`: what is on offer, with its live counters."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from router_service.api.state import Caller, Here, State
from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import Live
from router_service.catalog.models import Model
from router_service.errors import NotFoundError, UnavailableError
from router_service.telemetry.logs import logger
from router_service.tickets import dead_letter_queue, model_queue

log = logger(__name__)
routes = APIRouter(prefix="/v1/models", tags=["models"])


@routes.get("")
async def list_models(here: Here, principal: Caller) -> dict[str, Any]:  # noqa: ARG001 (a key is needed)
    """Every model name with its deployments. Live counters are null while Redis is not available."""
    catalog = here.offered()
    live, lengths = await _live(here, catalog.models)
    return {
        "object": "list",
        "data": [_show(name, models, live, lengths) for name, models in catalog.by_name.items()],
        "has_more": False,
    }


@routes.get("/{name:path}")
async def read(name: str, here: Here, principal: Caller) -> dict[str, Any]:  # noqa: ARG001 (a key is needed)
    models = here.offered().named(name)
    if not models:
        raise NotFoundError(f"no model is named {name[:100]!r}", param="model", code="model_not_found")
    live, lengths = await _live(here, models)
    return _show(name, models, live, lengths)


async def _live(here: State, models: tuple[Model, ...]) -> tuple[dict[str, Live], dict[str, int]]:
    try:
        with unavailable():
            live = await here.limiter.snapshot([model.id for model in models])
        queues = [queue(model.id) for model in models for queue in (model_queue, dead_letter_queue)]
        return live, await here.queue_lengths.read(queues) if here.queue_lengths else {}
    except UnavailableError as error:
        log.warning("models are shown without their live counters", error=str(error))
        return {}, {}


def _show(name: str, models: tuple[Model, ...], live: dict[str, Live], lengths: dict[str, int]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": models[0].provider,
        "waybill": {"deployments": [_deployment(model, live.get(model.id), lengths) for model in models]},
    }


def _deployment(model: Model, live: Live | None, lengths: dict[str, int]) -> dict[str, Any]:
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
        "slots": model.limits.slots,
        "rpm": model.limits.rpm,
        "tpm": model.limits.tpm,
        "in_flight": live.in_flight if live else None,
        "paused_s": live.paused_s if live else None,
        "queue": lengths.get(model_queue(model.id)),
        "dead_letter_queue": lengths.get(dead_letter_queue(model.id)),
    }
