"""Plans whole batches, and tells what a batch would come to. In the janitor's process; two of them do no harm.

Nothing waits for a planner for long: a batch that has no plan by `plan_until` goes on without one. One with a budget does wait.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from router_service.assignment.plan import Infeasible, Plan
from router_service.capacity import room
from router_service.capacity.scopes import scopes_of
from router_service.errors import UnavailableError
from router_service.routing.counters import Counters
from router_service.routing.methods import BUILT_IN
from router_service.routing.replay import job_of
from router_service.store import plans, quotes, sweeps
from router_service.store.plans import StoredPlan
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Catalog
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.insight import Insight
    from router_service.routing.methods import Methods
    from router_service.store.plans import DueBatch
    from router_service.store.quotes import Question
    from workers.assigning import Dealt, Work
    from workers.insights import Insights
    from workers.runtime import Runtime

log = logger(__name__)
AGAIN_S = 60.0  # what is left of a batch is planned again after so long, or sooner if it will be done soon
LEAST_AGAIN_S = 5.0
LOOKS = 8
MONTH_S = 30 * 86_400.0
SAMPLED = 0.02  # by so much the cost of a sample may be off
RESERVE = 0.03  # of a budget: what answers may be longer than is expected
NEAR = 0.8  # of a budget: from then on it is looked at more often
STALE_S = 60.0  # a quote that was taken so long ago is taken again
MOST_LOOKED_AT = 5000  # jobs of a batch; a larger one is judged by a sample: its mean cost is known to 1 or 2 %
PAGE = 200  # what is reckoned between two looks at the other loops
DAY_S = 86_400.0
TRIED_S = 900.0
PLANNING_S = 1.0  # from when a batch is taken to be planned for the first time to its first call
WENT_WRONG = "planning failed ({}): this is our mistake, see the janitor's log"  # no message: it may quote a request
START_S = 1.5  # from its creation; a quote counts it in


class Planner:
    """Each step is one of the janitor's loops. Reading, reckoning and solving are done in threads."""

    def __init__(self, runtime: Runtime, insights: Insights, *, methods: Methods = BUILT_IN) -> None:
        self._runtime = runtime
        self._insights = insights
        self._methods = methods
        self._planned_under = ""

    async def plan_batches(self) -> None:
        """Every batch that is due."""
        if self._planned_under != self._runtime.offer.catalog.hash:
            await self._make_due(self._runtime.offer.catalog.hash)
        while (due := await self._claim()) is not None:
            try:
                await self._plan(due)
            except UnavailableError:
                raise
            except Exception as error:
                log.exception("a batch could not be planned", batch=str(due.id))
                await self._failed(due, error)

    async def answer_quotes(self) -> None:
        while (question := await self._take_question()) is not None:
            try:
                told = await self._quote(question)
            except UnavailableError:
                raise  # to be taken again
            except Exception as error:
                log.exception("a quote failed", quote=str(question.id))
                told = {"failed": WENT_WRONG.format(type(error).__name__)}
            async with self._runtime.database.transaction() as session:
                await quotes.answer(session, question.id, told)
            log.info("quote answered", quote=str(question.id), jobs=question.asked["jobs"])

    async def forget_quotes(self) -> None:
        async with self._runtime.database.transaction() as session:
            await quotes.forget(session, kept_s=DAY_S, tried_s=TRIED_S)

    async def _make_due(self, catalog: str) -> None:
        """Other models, other plans; a janitor that starts, or another one's, keeps what was planned under this one."""
        async with self._runtime.database.transaction() as session:
            await plans.make_due(session, catalog=catalog)
        self._planned_under = catalog

    async def _claim(self) -> DueBatch | None:
        async with self._runtime.database.transaction() as session:
            return await plans.claim(session, catalog=self._runtime.offer.catalog.hash, again_s=AGAIN_S)

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
        left_usd = None if due.budget_usd is None else max(0.0, due.budget_usd - progress.committed_usd)
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
            budget_usd=None if left_usd is None else left_usd * (1 - RESERVE),
            slots=due.slots,
            own=progress.under_way,
            others=others,
            shared=await self._shared(catalog, due.tenant_id),
            methods=self._methods,
        )
        before = Plan.from_json(stored[due.plan]["plan"]) if due.plan in stored else None
        found = await _solved_within(work, before, left_usd=left_usd)
        if isinstance(found, Infeasible):
            why = found.since(due.elapsed_s + begins_after_s)
            log.info("no plan meets a batch's goal", batch=str(due.id), why=str(why))
            if left_usd is not None and (over := await self._over(work, before, left_usd=left_usd)) is not None:
                await self._stop(due, over, spent_usd=progress.cost_usd)
                return
            if before is not None or not _is_too_dear(
                found, left_usd
            ):  # else it is so at this moment alone: look again
                found = await asyncio.to_thread(_solved_instead, work, found, before)
            found = why if isinstance(found, Infeasible) else replace(found, note=str(why))
        is_near = due.budget_usd is not None and progress.committed_usd > NEAR * due.budget_usd
        is_soon = is_near or (isinstance(found, Infeasible) and found.needs_money)
        again_s = LEAST_AGAIN_S if is_soon else AGAIN_S if isinstance(found, Infeasible) else _again_s(found.plan)
        await self._store(due, found, latencies_of(catalog, counters), begins_after_s=begins_after_s, again_s=again_s)

    async def _failed(self, due: DueBatch, error: Exception) -> None:
        """Say so, and try again later: what stands in its way may be a model's state of the moment."""
        async with self._runtime.database.transaction() as session:
            await plans.keep(session, due, note=WENT_WRONG.format(type(error).__name__), again_s=AGAIN_S)

    async def _store(
        self,
        due: DueBatch,
        found: Dealt | Infeasible,
        latencies: Mapping[str, tuple[float, float]],
        *,
        begins_after_s: float,
        again_s: float,
    ) -> None:
        async with self._runtime.database.transaction() as session:
            if isinstance(found, Infeasible) or found.plan.hash == due.plan:
                note = str(found) if isinstance(found, Infeasible) else found.note
                await plans.keep(session, due, note=note, again_s=again_s)
            else:
                stored = StoredPlan(
                    hash=found.plan.hash,
                    document={"plan": found.plan.as_json(), "latencies": latencies},
                    quoted=found.quoted and found.quoted | {"after_s": due.elapsed_s + begins_after_s},
                    note=found.note,
                )
                await plans.store(session, due, stored, again_s=again_s)
                log.info("batch planned", batch=str(due.id), plan=stored.hash, gap=round(found.plan.gap, 4))
        await self._runtime.ring()

    async def _over(self, work: Work, before: Plan | None, *, left_usd: float) -> Infeasible | None:
        """Why a budget does not suffice, whatever the time and the models' state at this moment; None where it does.

        For a first plan the whole of it, within the error of a sample; for what is left once it is spent, with what is under way.
        """
        left_s = max(work.left_s, MONTH_S)
        calm = replace(work, counters={}, others=[], shared={}, left_s=left_s, budget_usd=left_usd)
        why = await asyncio.to_thread(_solved, calm, before)
        if not isinstance(why, Infeasible) or not why.needs_money:
            return None
        return why if (_is_too_dear(why, left_usd) if before is None else left_usd <= 0) else None

    async def _stop(self, due: DueBatch, why: Infeasible, *, spent_usd: float) -> None:
        """End a batch that would cost more than its budget: before its first call, or when the budget is spent."""
        said = "nothing was begun" if due.plan is None and not spent_usd else f"{spent_usd:.4g} USD are spent"
        message = f"budget_usd is {due.budget_usd:g}, {said}: {why}"
        async with self._runtime.database.transaction() as session:
            if await plans.stop(session, due.id, message=message):
                await sweeps.cancel_batches(session, batch_id=due.id)
        log.info("batch stopped by its budget", batch=str(due.id))

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

    async def _shared(self, catalog: Catalog, tenant_id: str) -> dict[str, Counters]:
        """How much of the limits of groups and of the tenant is in use, by scope."""
        of_models = (scopes_of(model, catalog=catalog, tenant_id=tenant_id) for model in catalog.models)
        scopes = {scope.name: scope for each in of_models for scope in each[1:]}
        live = await self._runtime.limiter.snapshot_of(list(scopes.values()))
        return {
            name: Counters(in_flight=each.in_flight, wait_s=0.0, paused_s=0.0, room=0, rates=each.rates)
            for name, each in live.items()
        }

    async def _quote(self, question: Question) -> dict[str, Any]:
        """The answer as it is stored: a quote, or what cannot be kept."""
        catalog, asked = self._runtime.offer.catalog, question.asked
        jobs, bodies = await asyncio.to_thread(_lines, question.lines)
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
            shared=await self._shared(catalog, question.tenant_id),
            methods=self._methods,
        )
        found = await asyncio.to_thread(_solved, work, None)
        if isinstance(found, Infeasible):
            return {"note": str(found.since(START_S))}
        return {"quote": (found.quoted or {}) | {"after_s": START_S}, "note": found.note}


def _lines(text: str) -> tuple[list[RoutableJob], list[str]]:
    """The jobs of a quote, and their requests. In a thread."""
    lines = json.loads(text)
    return [job_of(UUID(line["id"]), line["inputs"])[0] for line in lines], [line["body"] for line in lines]


def _is_too_dear(why: Infeasible, left_usd: float | None) -> bool:
    """Whether only more money would do, by more than the error of a sample."""
    if left_usd is None or not why.needs_money or why.least_cost_usd is None:
        return False
    return why.least_cost_usd > left_usd * (1 + SAMPLED)


def _again_s(plan: Plan) -> float:
    """A short batch is looked at several times too."""
    return min(AGAIN_S, max(LEAST_AGAIN_S, plan.finish_s / LOOKS))


async def _solved_within(work: Work, before: Plan | None, *, left_usd: float | None) -> Dealt | Infeasible:
    """Keeping a reserve of the budget back, unless there is nothing to keep back."""
    found = await asyncio.to_thread(_solved, work, before)
    if not isinstance(found, Infeasible) or left_usd is None or not found.needs_money:
        return found
    if found.least_cost_usd is None or found.least_cost_usd > left_usd:
        return found
    return await asyncio.to_thread(_solved, replace(work, budget_usd=left_usd), before)


def _solved(work: Work, before: Plan | None) -> Dealt | Infeasible:
    """In a thread."""
    from workers.assigning import dealt  # noqa: PLC0415 (the solver is loaded where a batch is planned)

    return dealt(work, before)


def _solved_instead(work: Work, why: Infeasible, before: Plan | None) -> Dealt | Infeasible:
    """In a thread."""
    from workers.assigning import dealt_instead  # noqa: PLC0415 (as above)

    return dealt_instead(work, why, before)
