"""The routing worker: takes queued jobs, chooses a model, takes a place in its queue, and sends tickets there."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from router_service.capacity import room
from router_service.capacity.limiter import SLOTS
from router_service.capacity.tallies import Tally
from router_service.errors import UnavailableError
from router_service.failpoints import failpoint
from router_service.jobs.spec import AUTO, split_lane
from router_service.routing import fairness
from router_service.routing.constraints import ALIKE_IN_LANE, BREAKER, DEADLINE
from router_service.routing.decision import Outlook
from router_service.routing.methods import BUILT_IN
from router_service.store import decisions, dispatch
from router_service.telemetry.logs import logger
from router_service.tickets import CALL_TASK, Message, Ticket, model_queue
from workers.placing import Placing, Round

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from router_service.routing.counters import Counters
    from router_service.routing.decision import Candidate, Decision
    from router_service.routing.methods import Methods
    from router_service.store.dispatch import Taken
    from router_service.store.session import Session
    from workers.insights import Insights
    from workers.placing import Placed
    from workers.runtime import Runtime

log = logger(__name__)
MOST_TAKEN = 500
LEAST_TAKEN = 16
JOBS_PER_TICKET = 32
MOST_PASSES = 100
LEAST_WAIT_S = 0.005
MOST_HOLD_S = 5.0
PLAN_WAIT_S = 0.25
MOST_READING_S = 0.5  # of a pass: others wait behind long requests meanwhile
HOMELESS_HOLD_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one look at the queue did.

    `blocked`: lanes with jobs that found no place, and the seconds after which it is worth looking at them again (0: when a place
    comes free, which rings); `shut`: the counters are being rebuilt, nothing can be placed.
    """

    taken: int = 0
    routed: int = 0
    blocked: Mapping[int, float] = field(default_factory=dict)
    shut: bool = False


class Router:
    """Looks for work when the doorbell rings, when a model is due to be free, and every tick."""

    def __init__(self, runtime: Runtime, insights: Insights, *, methods: Methods = BUILT_IN) -> None:
        self._runtime = runtime
        self._insights = insights
        self._placing = Placing(runtime, insights, methods=methods)
        self._rung = asyncio.Event()
        self._wait_s = runtime.settings.tick_s
        self._held: dict[int, float] = {}
        self._held_under = 0

    async def open(self) -> None:
        await self._runtime.open()
        self._runtime.every(0.0, self._look, name="route")

    async def drain(self) -> None:
        """A pass under way is cut off: its transaction rolls back, and its places are given back."""

    async def close(self) -> None:
        await self._runtime.close()

    async def ring(self) -> None:
        self._rung.set()

    async def _look(self) -> None:
        with suppress(TimeoutError):  # the tick: a doorbell may have been lost
            async with asyncio.timeout(self._wait_s):
                await self._rung.wait()
        self._rung.clear()
        self._wait_s = self._runtime.settings.tick_s
        await self._runtime.doorbell.heard()
        await self.route_all()
        now = time.monotonic()
        self._held = {lane: until for lane, until in self._held.items() if until > now}
        self._wait_s = max(LEAST_WAIT_S, min([self._wait_s, *(until - now for until in self._held.values())]))

    async def route_all(self) -> None:
        """Route until nothing more can be placed. A lane that waits for a known moment is held until then."""
        if self._held_under != self._runtime.offer.version:  # another catalog, other models
            await self._release(self._runtime.offer.version)
        now = time.monotonic()
        blocked = {lane for lane, until in self._held.items() if until > now}
        for _pass in range(MOST_PASSES):
            done = await self.route_some(blocked)
            blocked |= done.blocked.keys()
            self._held |= {lane: time.monotonic() + wait_s for lane, wait_s in done.blocked.items() if wait_s > 0}
            if done.shut or not done.taken:
                break

    async def _release(self, version: int) -> None:
        """Let go what was held under another catalog. Done anew where it fails: those jobs would wait for nothing."""
        released = dispatch.MOST_RELEASED
        while released == dispatch.MOST_RELEASED:
            async with self._runtime.database.transaction() as session:
                released = await dispatch.release(session)
                if released:
                    failpoint("router.before_release_commit")
            if released:
                failpoint("router.after_release_commit")
        self._held, self._held_under = {}, version

    async def route_some(self, blocked: Collection[int]) -> Pass:
        """Take as many jobs as there may be room for, place what fits in fair order, commit, then send the tickets."""
        runtime, catalog = self._runtime, self._runtime.offer.catalog
        live = await runtime.limiter.snapshot(catalog.models)
        counters = {model.id: room.counters_of(model.limits, live[model.id]) for model in catalog.models}
        free = sum(each.room for each in counters.values())
        now = Round(catalog=catalog, live=live, counters=counters)
        try:
            async with runtime.database.transaction() as session:
                taken = await dispatch.take(
                    session,
                    most=min(MOST_TAKEN, max(2 * free, LEAST_TAKEN)),
                    blocked=blocked,
                    only_urgent=free == 0,
                )
                if not taken:
                    return Pass()
                unplanned = {each.lane: PLAN_WAIT_S for each in taken if _awaits_plan(each)}
                ready = await self._read(session, [each for each in taken if not _awaits_plan(each)], now)
                weights = {each.tenant_id: catalog.tenant(each.tenant_id).weight for each in taken}
                waiting = await self._placing.place(await self._in_order(ready, weights), now)
                blocked_by = unplanned | await self._sort(session, waiting, now)
                await decisions.store_snapshots(session, now.used_snapshots())
                routed = await dispatch.store_routed(session, [each.routed for each in now.placed])
                failpoint("router.before_commit")
        except BaseException:
            await self._placing.leave(now.placed)
            raise
        failpoint("router.after_commit")
        epochs = dict(routed)
        await self._placing.leave([each for each in now.placed if each.taken.job.id not in epochs])
        placed = [each for each in now.placed if each.taken.job.id in epochs]
        await self._send(placed, epochs)
        await self._charge(placed, weights)
        return Pass(taken=len(taken), routed=len(epochs), blocked=blocked_by, shut=now.shut)

    async def _read(self, session: Session, taken: Sequence[Taken], now: Round) -> list[Taken]:
        """Look up, and read, what is to be known of the jobs. Those that can be decided on: the rest are the next pass's."""
        jobs = [each.job for each in taken]
        now.known = await self._insights.of(session, jobs, catalog=now.catalog, patience_s=MOST_READING_S)
        ready = [each for each in taken if now.insight(each.job).is_read]
        jobs = [each.job for each in ready]
        now.beside = await self._insights.beside(session, jobs, catalog=now.catalog, patience_s=MOST_READING_S)
        return ready

    async def _in_order(self, taken: Sequence[Taken], weights: Mapping[str, float]) -> list[Taken]:
        """Fair over tenants in tokens; see routing/fairness.py."""
        tags = await self._runtime.fair.read(weights)
        return fairness.order(taken, tags.finish, tags.virtual_time, weights).jobs

    async def _charge(self, placed: Sequence[Placed], weights: Mapping[str, float]) -> None:
        try:
            await self._runtime.fair.charge(fairness.charges([each.taken for each in placed], weights))
        except UnavailableError as error:
            log.info("what tenants were served is not counted; fairness starts anew", error=str(error))

    async def _sort(self, session: Session, waiting: Sequence[Taken], now: Round) -> dict[int, float]:
        """What becomes of jobs without a place: too late, no model for them, or blocked with their lane, until when."""
        late, homeless, apart, blocked = [], [], list[tuple[UUID, int, int]](), dict[int, float]()
        for each in waiting:
            decision = now.decided[each.job.id].decision
            match decision.outlook:
                case Outlook.LATE:
                    late.append((each.job.id, each.job.epoch, _why_late(each, decision)))
                case Outlook.NEVER:
                    homeless.append(each.job.id)
                    # It is looked at again after the hold: that long it has waited.
                    self._runtime.tallies.add(
                        Tally.WAIT_SECONDS, HOMELESS_HOLD_S, model=each.job.spec.model, reason="no_model"
                    )
                case Outlook.GO | Outlook.WAIT:
                    lane = _lane_apart(each, decision, now) or each.lane
                    if lane != each.lane:
                        apart.append((each.job.id, each.job.epoch, lane))
                    blocked[lane] = _worth_asking_s(decision, now.counters)
        if late:
            await dispatch.expire(session, late)
        if homeless:
            await dispatch.hold(session, homeless, hold_s=HOMELESS_HOLD_S)
            await self._insights.look_again(session, [job_id for job_id in homeless if job_id in now.known])
        if apart:
            await dispatch.move_lanes(session, apart)
        return blocked

    async def _send(self, placed: Sequence[Placed], epochs: Mapping[UUID, int]) -> None:
        """Publish after the COMMIT. A message that was lost is noticed by the janitor."""
        messages = list(_messages(placed, epochs))
        if not messages:
            return
        try:
            await self._runtime.publisher.publish(messages)
            failpoint("router.after_publish")
        except UnavailableError as error:
            log.warning("tickets may be lost; the janitor will issue them anew", count=len(placed), error=str(error))


def _awaits_plan(each: Taken) -> bool:
    """The plan is for jobs that leave the choice to us; those beside them in the batch need not wait for it."""
    return each.awaits_plan and each.job.spec.model == AUTO


def _lane_apart(each: Taken, decision: Decision, now: Round) -> int | None:
    """A lane of its own for a job that waits for one model while others of its lane, unlike it, may find room at another.

    None where the lane's jobs are all alike, or no other model has room.
    """

    def is_others(candidate: Candidate) -> bool:
        """Whether jobs of the lane that are shorter, or say something else, may go there."""
        if candidate.eligible:
            return candidate.model != decision.model_id and each.job.id in now.known
        return candidate.reason not in ALIKE_IN_LANE

    broken = "+".join(sorted(other.model for other in decision.candidates if other.reason == BREAKER))
    apart = split_lane(each.lane, decision.model_id or broken)
    has_room = any(is_others(other) and now.counters[other.model].room > 0 for other in decision.candidates)
    return apart if has_room else None


def _worth_asking_s(decision: Decision, counters: Mapping[str, Counters]) -> float:
    """0 where a place must come free, which rings."""
    if decision.model_id is None:  # every model that may do it is broken
        return min(MOST_HOLD_S, max(LEAST_WAIT_S, _least_bound(decision, BREAKER)))
    model = counters[decision.model_id]
    if model.held_by is None or model.held_by == SLOTS:
        return 0.0
    return min(MOST_HOLD_S, model.wait_s) if model.wait_s > room.FAR_S or model.paused_s or model.broken_s else 0.0


def _why_late(taken: Taken, decision: Decision) -> str:
    needs_s, left_s = _least_bound(decision, DEADLINE), taken.job.left_s or 0.0
    return f"no model can answer in time: the fastest needs {needs_s:.3g} s, {left_s:.3g} s are left"


def _least_bound(decision: Decision, reason: str) -> float:
    """The least of the values that bound the candidates which are out for this reason."""
    return min(float(each.bound) for each in decision.candidates if each.reason == reason)


def _messages(placed: Sequence[Placed], epochs: Mapping[UUID, int]) -> Iterator[Message]:
    """One job a ticket where somebody waits for it, else some dozens of a model's jobs."""
    by_model: dict[str, list[Placed]] = {}
    for each in placed:
        by_model.setdefault(each.routed.decision.model_id or "", []).append(each)
    for model_id, jobs in by_model.items():
        alone = [[each] for each in jobs if each.taken.interactive]
        rest = [each for each in jobs if not each.taken.interactive]
        together = [rest[start : start + JOBS_PER_TICKET] for start in range(0, len(rest), JOBS_PER_TICKET)]
        for group in (*alone, *together):
            yield Message(
                queue=model_queue(model_id),
                task=CALL_TASK,
                model_id=model_id,
                tickets=[
                    Ticket(
                        job_id=each.taken.job.id,
                        epoch=epochs[each.taken.job.id],
                        attempt=each.taken.attempt + 1,
                        urgent=each.taken.interactive,
                    )
                    for each in group
                ],
            )
