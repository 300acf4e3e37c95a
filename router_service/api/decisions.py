"""`/v1/decisions`: decisions that were taken, taken again: as they were (replay), or under another policy (what-if)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from router_service.api.history import histories, pages
from router_service.api.state import Caller, Here, State
from router_service.catalog.models import Catalog
from router_service.catalog.policies import RoutingPolicy
from router_service.catalog.routing import policy_of_document
from router_service.errors import CatalogError, InvalidRequestError
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.routing.calibration import Curve, Offer, curve_of
from router_service.routing.comparison import Comparison, places_of
from router_service.routing.history import Different, History, offers_under, replayed, what_if
from router_service.store import decisions
from router_service.store.decisions import Selection

routes = APIRouter(prefix="/v1/decisions", tags=["decisions"])
MOST_TOLD = 100  # decisions that came out otherwise
MOST_LOOKS = 20_000_000  # decisions x models x rules that one question may bring
MOST_MEASURED = 5_000  # decisions that the price of quality is measured on
MOST_VALUES = 500  # of a policy that is tried
MOST_PROBLEMS, MOST_LETTERS = 20, 300  # of a wrong one, and of each


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
    told, same, different = 0, 0, list[Different]()
    catalog = here.offered()
    rules = max((len(policy.rules) for policy in catalog.policies.values()), default=0)
    with here.turns.turn(principal.tenant_id):
        _check_work(request, models=len(catalog.models), rules=rules)
        async for history in _histories(request, here, principal.tenant_id):
            found = await asyncio.to_thread(replayed, history, methods=here.methods)
            told, same = told + len(history.recorded), same + len(history.recorded) - len(found)
            different += found[: MOST_TOLD - len(different)]
    return {
        "object": "decisions.replay",
        "decisions": told,
        "same": same,
        "different": [
            {"job_id": ids.public(Kind.JOB, each.job_id), "epoch": each.epoch, "differences": each.differences}
            for each in different
        ],
    }


@routes.post("/what-if")
async def try_policy(request: WhatIfRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """Take stored decisions under another policy: what changes in cost, quality, latency and place. Nothing is moved."""
    catalog = here.offered()
    comparison = Comparison()
    with here.turns.turn(principal.tenant_id):
        policy = await asyncio.to_thread(_policy, request.policy, catalog)
        _check_work(request, models=len(catalog.models), rules=len(policy.rules))
        curve = await _curve(request, here, principal.tenant_id, policy) if policy.has_target else None
        async for history in _histories(request, here, principal.tenant_id):
            comparison.merge(await asyncio.to_thread(what_if, history, policy, curve=curve, methods=here.methods))
    return {"object": "decisions.what_if", "policy": policy.hash} | comparison.as_json()


@routes.post("/shadow")
async def shadow(request: HistoryRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """The latest decisions beside what the catalog's shadow policy would have done. Raises InvalidRequestError without one."""
    catalog = here.offered()
    found = catalog.shadow
    if found is None:
        raise InvalidRequestError("no shadow policy: the catalog has none under router_settings.router.shadow")
    selection = replace(_selection(request, principal.tenant_id), shadow=found.policy.hash)
    comparison, places = Comparison(), places_of(catalog)
    with here.turns.turn(principal.tenant_id):
        async for rows in pages(here.database, selection, most=request.limit):
            comparison.merge(await asyncio.to_thread(decisions.compared, rows, places=places))
    told = {"object": "decisions.shadow", "policy": found.policy.hash, "name": found.policy.name}
    return told | comparison.as_json()


async def _curve(request: HistoryRequest, here: State, tenant_id: str, policy: RoutingPolicy) -> Curve | None:
    """The policy's price of quality on the first of the decisions that it is tried on."""
    offers: list[dict[str, Offer]] = []
    most = request.model_copy(update={"limit": min(request.limit, MOST_MEASURED)})
    async for history in _histories(most, here, tenant_id):
        offers += await asyncio.to_thread(offers_under, history, policy, methods=here.methods)
    return await asyncio.to_thread(curve_of, offers)


def _histories(request: HistoryRequest, here: State, tenant_id: str) -> AsyncIterator[History]:
    selection = _selection(request, tenant_id)
    return histories(here.database, selection, most=request.limit, models=len(here.offered().models))


def _selection(request: HistoryRequest, tenant_id: str) -> Selection:
    return Selection(
        tenant_id=tenant_id,
        job_id=ids.parse(Kind.JOB, request.job_id) if request.job_id else None,
        batch_id=ids.parse(Kind.BATCH, request.batch_id) if request.batch_id else None,
        since=request.begins_at,
        until=request.until,
    )


def _check_work(request: HistoryRequest, *, models: int, rules: int) -> None:
    """Raises InvalidRequestError where the decisions are too many for so many models and rules."""
    most = max(1, MOST_LOOKS // (max(1, models) * (1 + rules)))
    if request.limit > most:
        raise InvalidRequestError(
            f"limit: {request.limit} decisions are too many at once for {models} models and {rules} rules; {most} would do",
            param="limit",
        )


def _policy(document: Mapping[str, Any], catalog: Catalog) -> RoutingPolicy:
    """Raises InvalidRequestError, with the first of many problems."""
    values = _count(document)
    if values > MOST_VALUES:
        raise InvalidRequestError(
            f"policy: it has {values} keys and values, counting those within lists; at most {MOST_VALUES} are tried",
            param="policy",
        )
    try:
        return policy_of_document(document, source="policy", names={*catalog.by_name, *catalog.by_id})
    except CatalogError as error:
        told = [problem[:MOST_LETTERS] for problem in error.problems[:MOST_PROBLEMS]]
        if (more := len(error.problems) - len(told)) > 0:
            told.append(f"and {more} more")
        raise InvalidRequestError(f"policy: {' | '.join(told)}", param="policy") from error


def _count(value: Any) -> int:
    """How many values there are in a document of JSON."""
    if isinstance(value, Mapping):
        return sum(1 + _count(each) for each in value.values())
    return sum(1 + _count(each) for each in value) if isinstance(value, list) else 0
