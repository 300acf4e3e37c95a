"""What the router would decide now on jobs that wait: tells for what they wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from router_service.capacity import room
from router_service.capacity.connection import unavailable
from router_service.errors import UnavailableError
from router_service.jobs.spec import AUTO, RoutableJob
from router_service.routing.decision import Outlook, route
from router_service.routing.gaps import Gaps
from router_service.routing.question import Question
from router_service.store import decisions, dispatch, learned, plans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.api.state import State
    from router_service.routing.counters import Counters
    from router_service.routing.decision import Decision

MOVING = "to_be_routed"  # what held it has gone; the router will see at its next look


async def decide(here: State, rows: Sequence[Any]) -> list[Decision]:
    """A decision for each queued job's row, from what was read of it before. Without waits while Redis is not available."""
    return [decision for decision, _gaps in await look(here, rows)]


async def look(here: State, rows: Sequence[Any]) -> list[tuple[Decision, Gaps]]:
    """The same, each with what is not known of the job."""
    catalog, counters = here.offered(), await _counters(here)
    async with here.database.transaction() as session:
        read, _unread = await decisions.load_signals(session, [row.id for row in rows])
        priced = await plans.prices(session, {row.plan for row in rows if getattr(row, "plan", None) is not None})
        known = await learned.knowledge(session, catalog, before={}, tenants={row.tenant_id for row in rows})

    def decided(row: Any) -> tuple[Decision, Gaps]:
        spec = dispatch.spec_of(row, excluded=row.excluded)
        job = RoutableJob(id=row.id, epoch=row.epoch, spec=spec, tenant_id=row.tenant_id)
        policy, signals = catalog.policy_of(job), read.get(row.id)
        worth = known.worth_of(job, policy, signals)
        is_planned = spec.model == AUTO and policy.plan is not False
        prices = priced.get(getattr(row, "plan", None) or "") if is_planned else None
        told = known.insight(job, signals, catalog, policy=policy)
        insight = replace(told, worth=worth, is_read=signals is not None, prices=prices)
        decision = route(job, catalog=catalog, counters=counters, policy=policy, insight=insight, methods=here.methods)
        return decision, Gaps.of(Question.of(job, policy=policy, insight=insight))

    return await asyncio.to_thread(lambda: [decided(row) for row in rows])


def reasons_of(decided: Sequence[Decision]) -> dict[str, int]:
    """How many jobs wait for what: for each the reasons of the model that is least far from it. The most frequent first."""
    return dict(Counter(_reason(each) for each in decided).most_common())


def _reason(decision: Decision) -> str:
    if decision.outlook is not Outlook.NEVER:
        return MOVING
    if not decision.changes:
        return decision.reason
    return " and ".join(reason for reason, _bound in min((each.reasons for each in decision.changes), key=len))


async def _counters(here: State) -> Mapping[str, Counters]:
    models = here.offered().models
    try:
        with unavailable():
            live = await here.limiter.snapshot(models)
    except UnavailableError:
        return {}
    return {model.id: room.counters_of(model.limits, live[model.id]) for model in models}
