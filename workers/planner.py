"""Plans whole batches, and tells what a batch would come to. In the janitor's process; two of them do no harm.

Nothing waits for a planner for long: a batch that has no plan by `plan_until` goes on without one.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

from router_service.assignment.plan import Infeasible, Plan
from router_service.capacity import room
from router_service.routing.replay import job_of
from router_service.store import plans, quotes
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Catalog
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.counters import Counters
    from router_service.routing.insight import Insight
    from router_service.store.plans import DueBatch
    from router_service.store.quotes import Question
    from workers.assigning import Work
    from workers.insights import Insights
    from workers.runtime import Runtime

log = logger(__name__)
AGAIN_S = 60.0  # what is left of a batch is planned again after so long, or sooner if it will be done soon
LEAST_AGAIN_S = 5.0
LOOKS = 8
STALE_S = 60.0  # a quote that was taken so long ago is taken again
MOST_LOOKED_AT = 5000  # jobs of a batch; a larger one is judged by a sample: its mean cost is known to 1 or 2 %
PAGE = 200  # what is reckoned between two looks at the other loops
DAY_S = 86_400.0
TRIED_S = 900.0
PLANNING_S = 1.0  # from when a batch is taken to be planned for the first time to its first call
START_S = 1.5  # from its creation; a quote counts it in


class Planner:
    """Each step is one of the janitor's loops. Reading, reckoning and solving are done in threads."""

    def __init__(self, runtime: Runtime, insights: Insights) -> None:
        self._runtime = runtime
        self._insights = insights
        self._planned_under = 0

    async def plan_batches(self) -> None:
        """Every batch that is due."""
        if self._planned_under != self._runtime.offer.version:
            await self._make_due(self._runtime.offer.version)
        while (due := await self._claim()) is not None:
            await self._plan(due)

    async def answer_quotes(self) -> None:
        while (question := await self._take_question()) is not None:
            told = await self._quote(question)
            async with self._runtime.database.transaction() as session:
                await quotes.answer(session, question.id, told)
            log.info("quote answered", quote=str(question.id), jobs=question.asked["jobs"])

    async def forget_quotes(self) -> None:
        async with self._runtime.database.transaction() as session:
            await quotes.forget(session, kept_s=DAY_S, tried_s=TRIED_S)

    async def _make_due(self, version: int) -> None:
        """Other models, other plans."""
        async with self._runtime.database.transaction() as session:
            await plans.make_due(session)
        self._planned_under = version

    async def _claim(self) -> DueBatch | None:
        async with self._runtime.database.transaction() as session:
            return await plans.claim(session, again_s=AGAIN_S)

    async def _take_question(self) -> Question | None:
        async with self._runtime.database.transaction() as session:
            return await quotes.take(session, stale_s=STALE_S)

    async def _plan(self, due: DueBatch) -> None:
        """Plan what is left of a batch, and put that into force unless the plan that it has is as good."""
        catalog = self._runtime.offer.catalog
        async with self._runtime.database.transaction(snapshot=True) as session:
            progress = await plans.progress(session, due.id)
            others = await plans.others(session, due.id)
            jobs = await plans.left(session, due.id, every=math.ceil(max(1, progress.left) / MOST_LOOKED_AT))
            stored = await plans.documents(session, {due.plan}) if due.plan else {}
        if not jobs:
            return
        counters, begins_after_s = await self._counters(catalog), PLANNING_S if due.plan is None else 0.0
        from workers.assigning import Work, latencies_of  # noqa: PLC0415 (the solver is loaded where a batch is planned)

        work = Work(
            jobs=jobs,
            known=await self._known(jobs, catalog),
            total=progress.left,
            catalog=catalog,
            counters=counters,
            tenant_id=due.tenant_id,
            left_s=due.left_s - begins_after_s,
            is_hurried=due.is_hurried,
            budget_usd=None if due.budget_usd is None else max(0.0, due.budget_usd - progress.committed_usd),
            slots=due.slots,
            own=progress.under_way,
            others=others,
        )
        before = Plan.from_json(stored[due.plan]["plan"]) if due.plan in stored else None
        plan, quoted = await asyncio.to_thread(_solved, work, before)
        promise = None if quoted is None else quoted | {"after_s": due.elapsed_s + begins_after_s}
        await self._store(due, plan, promise, latencies_of(catalog, counters))

    async def _store(
        self,
        due: DueBatch,
        plan: Plan | Infeasible,
        quoted: Mapping[str, Any] | None,
        latencies: Mapping[str, tuple[float, float]],
    ) -> None:
        async with self._runtime.database.transaction() as session:
            if isinstance(plan, Infeasible):
                await plans.keep(session, due.id, note=str(plan), again_s=AGAIN_S)
            elif plan.hash == due.plan:
                await plans.keep(session, due.id, note=None, again_s=_again_s(plan))
            else:
                document, again_s = {"plan": plan.as_json(), "latencies": latencies}, _again_s(plan)
                await plans.store(session, due, name=plan.hash, document=document, quoted=quoted, again_s=again_s)
        if isinstance(plan, Infeasible):
            log.info("no plan meets a batch's goal", batch=str(due.id), why=str(plan))
        else:
            log.info("batch planned", batch=str(due.id), plan=plan.hash, jobs=plan.jobs, gap=round(plan.gap, 4))
        await self._runtime.ring()

    async def _known(self, jobs: Sequence[RoutableJob], catalog: Catalog) -> dict[UUID, Insight]:
        """What is known of the jobs, read page by page: what was read is kept though a later page fails."""
        known: dict[UUID, Insight] = {}
        for start in range(0, len(jobs), PAGE):
            async with self._runtime.database.transaction() as session:
                page = jobs[start : start + PAGE]
                known |= await self._insights.of(session, page, catalog=catalog, planning=True)
        return known

    async def _counters(self, catalog: Catalog) -> dict[str, Counters]:
        live = await self._runtime.limiter.snapshot(catalog.models)
        return {model.id: room.counters_of(model.limits, live[model.id]) for model in catalog.models}

    async def _quote(self, question: Question) -> dict[str, Any]:
        """The answer as it is stored: a quote, or what cannot be kept."""
        catalog, asked = self._runtime.offer.catalog, question.asked
        jobs = [job_of(UUID(line["id"]), line["inputs"])[0] for line in question.lines]
        bodies = [line["body"] for line in question.lines]
        async with self._runtime.database.transaction() as session:
            known = await self._insights.read(session, jobs, bodies, catalog=catalog)
            others = await plans.others(session)
        from workers.assigning import Work  # noqa: PLC0415 (the solver is loaded where a batch is planned)

        work = Work(
            jobs=jobs,
            known=known,
            total=asked["jobs"],
            catalog=catalog,
            counters=await self._counters(catalog),
            tenant_id=question.tenant_id,
            left_s=max(0.0, (asked["finish_within_s"] or asked["window_s"]) - START_S),
            is_hurried=asked["finish_within_s"] is not None,
            budget_usd=asked["budget_usd"],
            slots=asked["max_parallel_requests"],
            others=others,
        )
        plan, quoted = await asyncio.to_thread(_solved, work, None)
        return {"note": str(plan)} if quoted is None else {"quote": quoted | {"after_s": START_S}}


def _again_s(plan: Plan) -> float:
    """A short batch is looked at several times too."""
    return min(AGAIN_S, max(LEAST_AGAIN_S, plan.finish_s / LOOKS))


def _solved(work: Work, before: Plan | None) -> tuple[Plan | Infeasible, dict[str, Any] | None]:
    """In a thread: a plan, and where it is the first one what it promises."""
    from workers.assigning import first_plan, next_plan  # noqa: PLC0415 (the solver is loaded where a batch is planned)

    if before is not None:
        return next_plan(before, work), None
    found = first_plan(work)
    if isinstance(found, Infeasible):
        return found, None
    return found.plan, found.as_json() | {"looked_at": len(work.jobs)}
