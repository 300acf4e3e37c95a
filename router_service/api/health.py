"""`/livez`, `/readyz`: public, and without anything that belongs to a tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from router_service.api.state import Here, State
from router_service.capacity.connection import unavailable
from router_service.errors import UnavailableError
from router_service.store import migrate
from router_service.tickets import ROUTE_QUEUE

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
