"""`/livez`, `/readyz`, `/metrics`: public, and without anything that belongs to a tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from router_service.api.state import Here, State
from router_service.capacity.connection import unavailable
from router_service.errors import UnavailableError
from router_service.store import jobs, migrate
from router_service.tickets import ROUTE_QUEUE, dead_letter_queue, model_queue

routes = APIRouter(tags=["health"])
CHECK_S = 1.0


@routes.get("/livez")
async def live() -> dict[str, bool]:
    """The process answers."""
    return {"live": True}


@routes.get("/readyz")
async def ready(here: Here) -> JSONResponse:
    """200 when everything that was asked for is there, else 503 with the name of each part that is not."""
    # All at once: with several of them silent the answer still comes within CHECK_S.
    postgres, redis, broker, workers = await asyncio.gather(
        *map(_check, (_postgres(here), _redis(here), _broker(here), _workers(here)))
    )
    checks = {
        "postgres": postgres,
        "redis": redis,
        "broker": broker,
        "catalog": _result(ok=here.catalog is not None, detail=here.catalog.hash if here.catalog else "none in force"),
        "workers": workers,
    }
    is_ready = all(check["ok"] for check in checks.values())
    return JSONResponse({"ready": is_ready, "checks": checks}, status_code=200 if is_ready else 503)


@routes.get("/metrics", response_class=Response)
async def metrics(here: Here) -> Response:
    """Prometheus' text format."""
    return Response(await _metrics(here), media_type=CONTENT_TYPE_LATEST)


async def _check(probe: Coroutine[Any, Any, str]) -> dict[str, Any]:
    task = asyncio.create_task(probe)
    ended, _ = await asyncio.wait({task}, timeout=CHECK_S)
    if not ended:
        # Not awaited: a driver may want to hear from its silent server even to give up.
        task.add_done_callback(lambda late: late.cancelled() or late.exception())
        task.cancel()
        return _result(ok=False, detail=f"no answer within {CHECK_S:g} s")
    try:
        return _result(ok=True, detail=task.result())
    except UnavailableError as error:
        return _result(ok=False, detail=str(error))


async def _postgres(here: State) -> str:
    async with here.database.transaction() as session:
        row = await session.row("ping")
    revision, newest = (row.revision if row else None), migrate.head()
    if revision is None or revision < newest:  # a newer one is the work of an upgrade under way
        raise UnavailableError("postgres", f"the schema is at {revision}, not at {newest}; run `waybill migrate`")
    return f"schema {revision}"


async def _redis(here: State) -> str:
    with unavailable():
        is_open = await here.limiter.is_open()
    return "counters whole" if is_open else "counters are being rebuilt"


async def _broker(here: State) -> str:
    if here.queue_lengths is None:
        return "not a Redis; not asked"
    waiting = (await here.queue_lengths.read([ROUTE_QUEUE]))[ROUTE_QUEUE]
    return f"{waiting} waiting in {ROUTE_QUEUE}"


async def _workers(here: State) -> str:
    wanted = here.settings.readiness_roles
    with unavailable():
        alive = await here.presence.alive()
    missing = [role for role in wanted if not alive[role]]
    if missing:
        raise UnavailableError("workers", f"none alive: {', '.join(missing)}")
    return ", ".join(f"{count} {role}" for role, count in sorted(alive.items())) or "none"


def _result(*, ok: bool, detail: str) -> dict[str, Any]:
    return {"ok": ok, "detail": detail}


async def _metrics(here: State) -> bytes:
    """Read from the shared stores at each scrape, so that every API process tells the same."""
    registry = CollectorRegistry()
    up = Gauge("waybill_up", "Whether a dependency answered this scrape", ["dependency"], registry=registry)
    for dependency, read in (("postgres", _read_postgres), ("redis", _read_redis)):
        try:
            await read(here, registry)
            up.labels(dependency).set(1)
        except UnavailableError:
            up.labels(dependency).set(0)
    return generate_latest(registry)


async def _read_postgres(here: State, registry: CollectorRegistry) -> None:
    depth = Gauge("waybill_jobs", "Jobs that are not finished", ["state", "model"], registry=registry)
    async with here.database.transaction() as session:
        for row in await jobs.live_depths(session):
            depth.labels(row.state, row.model).set(row.jobs)


async def _read_redis(here: State, registry: CollectorRegistry) -> None:
    """The counters' Redis, then the broker's; what was read before one fails is shown."""
    queued = Gauge("waybill_queue_messages", "Messages waiting in a broker queue", ["queue"], registry=registry)
    flight = Gauge("waybill_in_flight", "Calls that hold a slot of a model", ["model"], registry=registry)
    paused = Gauge("waybill_paused_seconds", "How long a model is paused for", ["model"], registry=registry)
    alive = Gauge("waybill_workers", "Workers alive", ["role"], registry=registry)
    model_ids = [model.id for model in here.catalog.models] if here.catalog else []
    with unavailable():
        live = await here.limiter.snapshot(model_ids)
        workers = await here.presence.alive()
    for model_id, counters in live.items():
        flight.labels(model_id).set(counters.in_flight)
        paused.labels(model_id).set(counters.paused_s)
    for role, count in workers.items():
        alive.labels(role).set(count)
    if here.queue_lengths is not None:
        names = [
            ROUTE_QUEUE,
            *(queue(model_id) for model_id in model_ids for queue in (model_queue, dead_letter_queue)),
        ]
        for queue_name, length in (await here.queue_lengths.read(names)).items():
            queued.labels(queue_name).set(length)
