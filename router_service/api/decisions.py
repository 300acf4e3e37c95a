"""`/v1/decisions`: decisions that were taken, taken again: as they were (replay), or under another policy (what-if)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from router_service.api.state import Caller, Here, State
from router_service.catalog.routing import policy_of_document
from router_service.errors import CatalogError, InvalidRequestError
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.routing.comparison import places_of
from router_service.routing.history import Different, History, replayed, what_if
from router_service.routing.replay import Recorded
from router_service.store import catalogs, decisions, plans
from router_service.store.decisions import Selection

routes = APIRouter(prefix="/v1/decisions", tags=["decisions"])
PAGE = 500
FIRST = (UUID(int=0), 0)


class HistoryRequest(BaseModel):
    """Which decisions: of a job, of a batch, or of all the tenant's jobs; taken at `since` or later, before `until`.

    Without a job or a batch, `since` is a day ago where nothing is said.
    """

    model_config = ConfigDict(extra="forbid")

    job_id: str | None = None
    batch_id: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=20_000)] = 10_000

    @property
    def begins_at(self) -> datetime | None:
        is_wide = self.job_id is None and self.batch_id is None
        return datetime.now(UTC) - timedelta(days=1) if is_wide and self.since is None else self.since


class WhatIfRequest(HistoryRequest):
    """The policy to try: what may stand under a name in the catalog's `router_settings.router.policies`."""

    policy: Annotated[dict[str, Any], Field(examples=[{"strategy": "quality-target", "quality_target": 0.95}])]


@routes.post("/replay")
async def replay(request: HistoryRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """Take stored decisions again from what was stored with them, and tell which come out otherwise: none should."""
    history = await _history(request, here, principal.tenant_id)
    different: list[Different] = []
    for start in range(0, len(history.recorded), PAGE):  # other requests are answered in between
        part = replace(history, recorded=history.recorded[start : start + PAGE])
        different += await asyncio.to_thread(replayed, part, methods=here.methods)
    return {
        "object": "decisions.replay",
        "decisions": len(history.recorded),
        "same": len(history.recorded) - len(different),
        "different": [
            {"job_id": ids.public(Kind.JOB, each.job_id), "epoch": each.epoch, "differences": each.differences}
            for each in different[:100]
        ],
    }


@routes.post("/what-if")
async def try_policy(request: WhatIfRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """Take stored decisions under another policy: what changes in cost, quality, latency and place. Nothing is moved."""
    catalog = here.offered()
    names = {*catalog.by_name, *catalog.by_id}
    try:
        policy = policy_of_document(request.policy, source="policy", names=names)
    except CatalogError as error:
        raise InvalidRequestError(f"policy: {' | '.join(error.problems)}", param="policy") from error
    history = await _history(request, here, principal.tenant_id)
    comparison = await asyncio.to_thread(what_if, history, policy, methods=here.methods)
    return {"object": "decisions.what_if", "policy": policy.hash} | comparison.as_json()


@routes.post("/shadow")
async def shadow(request: HistoryRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """The latest decisions beside what the catalog's shadow policy would have done. Raises InvalidRequestError without one."""
    found = here.offered().shadow
    if found is None:
        raise InvalidRequestError("no shadow policy: the catalog has none under router_settings.router.shadow")
    async with here.database.transaction() as session:
        comparison = await decisions.shadowed(
            session,
            _selection(request, principal.tenant_id),
            policy=found.policy.hash,
            places=places_of(here.offered()),
            most=request.limit,
        )
    told = {"object": "decisions.shadow", "policy": found.policy.hash, "name": found.policy.name}
    return told | comparison.as_json()


def _selection(request: HistoryRequest, tenant_id: str) -> Selection:
    return Selection(
        tenant_id=tenant_id,
        job_id=ids.parse(Kind.JOB, request.job_id) if request.job_id else None,
        batch_id=ids.parse(Kind.BATCH, request.batch_id) if request.batch_id else None,
        since=request.begins_at,
        until=request.until,
    )


async def _history(request: HistoryRequest, here: State, tenant_id: str) -> History:
    """Decisions with the catalogs and the counters that they were taken from."""
    selection = _selection(request, tenant_id)
    recorded: list[Recorded] = []
    async with here.database.transaction(snapshot=True) as session:
        while len(recorded) < request.limit:
            after = (recorded[-1].job_id, recorded[-1].epoch) if recorded else FIRST
            most = min(PAGE, request.limit - len(recorded))
            recorded += (page := await decisions.recorded(session, selection, after=after, most=most))
            if len(page) < most:
                break
        known = await catalogs.of_hashes(session, {each.catalog for each in recorded})
        counters = await decisions.snapshots(session, {each.snapshot for each in recorded if each.snapshot})
        priced = await plans.prices(session, {plan for each in recorded if (plan := each.inputs.get("plan"))})
    return History(recorded=recorded, catalogs=known, counters=counters, plans=priced)
