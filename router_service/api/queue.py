"""`/v1/queue`: what waits in line, in Postgres, for a place in a model's queue. Of all tenants, like `/metrics`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from router_service.api.outlook import decide, reasons_of
from router_service.api.state import Caller, Here
from router_service.store import jobs

routes = APIRouter(prefix="/v1/queue", tags=["models"])
MOST_ASKED = 100  # held jobs that are asked for what they wait


@routes.get("")
async def read(here: Here, principal: Caller) -> dict[str, Any]:  # noqa: ARG001 (a key is needed)
    """Queued jobs by the model that was asked for (`auto` among them).

    `oldest_s`: how long the one that is next in line has waited. Beyond some ten thousands the numbers are estimates.
    `held`: those of them that no model on offer may take as it stands; `reasons`: what stands in the way of so many of them, told
    of the first `looked_at`. They wait for another catalog, or for their deadline.
    """
    async with here.database.transaction() as session:
        rows = await jobs.oldest_queued(session)
        held = await jobs.held(session, most=MOST_ASKED)
    reasons = reasons_of(await decide(here, held)) if held else {}
    return {
        "object": "queue",
        "queued": sum(row.jobs for row in rows),
        "oldest_s": max((row.age_s for row in rows), default=None),
        "models": [{"model": row.model, "queued": row.jobs, "oldest_s": row.age_s} for row in rows],
        "held": {
            "queued": held[0].held if held else 0,
            "looked_at": len(held),
            "reasons": [{"reason": reason, "queued": count} for reason, count in reasons.items()],
        },
    }
