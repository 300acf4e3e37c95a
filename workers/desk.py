"""One model's jobs in a provider worker: tickets that wait, claimed jobs that are ready, calls under way.

Two loops keep a model as busy as its limits allow. The claimer keeps a few jobs ready: claimed, with their requests at hand. The
admitter asks the limiter for those, in one round trip with the settling of calls that have ended, so that a slot is handed on
within a millisecond or two, and starts each call at the moment that it was granted.

A claim is committed before capacity is reserved: whatever is lost after it, the counters can be rebuilt from the rows.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from router_service.capacity.limiter import BREAKER, PAUSED, SHUT, SLOTS, Ended, Hindrance, Need
from router_service.capacity.measures import Measures
from router_service.capacity.scopes import RATES
from router_service.errors import UnavailableError
from router_service.telemetry.logs import logger
from workers.job import Job
from workers.starts import Starts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router_service.capacity.limiter import Grants
    from router_service.tickets import Ticket

log = logger(__name__)
GONE = "gone"  # the model has left the catalog
MOST_ASKED = 200
CLAIM_S = 0.1  # so long before its start a job is claimed
LEAST_LOOK_S = 0.02  # less than a grant lies ahead: asking oftener brings nothing
LOOK_AGAIN_S = 0.5  # where a call must end first and its announcement was lost
LATE_S = 0.1  # a start that was missed by more is exchanged: the windows' margin covers the rest of the way
READY_MOST_S = 5.0
READY_FOR_LIMITS_S = 70.0  # a large job may have to wait until a window has emptied
WAIT_MOST_S = 10.0
PATIENCE_S = 1.0
AGAIN_S = 0.2


class Office(Protocol):
    """What a desk needs of its worker. Nothing of it raises UnavailableError but `exchange`.

    `lease_s`: how long a claim or a slot lasts that is not prolonged.
    """

    @property
    def lease_s(self) -> float: ...

    async def claim(self, jobs: Sequence[Job]) -> list[Job]:
        """Claim; those that were claimed. The others are done with."""

    async def exchange(self, model_id: str, ended: Sequence[Ended], needs: Sequence[Need]) -> Grants: ...

    def need(self, job: Job, measures: Measures) -> Need: ...

    def has_rates(self, model_id: str) -> bool: ...

    async def make(self, job: Job) -> None:
        """Make the call and store its end. Calls `Desk.end` when the provider has answered."""

    async def uncalled(self, jobs: Sequence[Job], *, why: str) -> None:
        """Give claimed jobs back to the queue: no call was made."""

    async def give_back(self, jobs: Sequence[Job], *, why: str) -> None:
        """Give jobs whose tickets wait back to the queue."""

    def moved(self, model_id: str) -> None:
        """Places came free: the router may send more."""

    def waited(self, model_id: str, why: str, seconds: float) -> None:
        """Jobs were not let start for so long, all their times together."""

    def exchanged(self, model_id: str) -> None:
        """A start was missed."""


class Desk:
    """Its loops live until `close`. All times are the event loop's clock, in seconds."""

    def __init__(self, model_id: str, office: Office) -> None:
        self.model_id = model_id
        self.measures = Measures()
        self._office = office
        self._waiting: list[tuple[bool, int, Job]] = []
        self._numbers = itertools.count()
        self._ready: list[Job] = []
        self._asked: Sequence[Job] = ()
        self._ended: list[Ended] = []
        self._starts = Starts(within_s=CLAIM_S)
        self._target = 1
        self._claim_at = 0.0
        self._look_at = math.inf
        self._held_by: str | None = None
        self._held_since = 0.0
        self._held_jobs = 0
        self._claim_now = asyncio.Event()
        self._admit_now = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loops = [
            asyncio.create_task(self._forever(self._claim_next), name=f"claim {model_id}"),
            asyncio.create_task(self._forever(self._admit_next), name=f"admit {model_id}"),
        ]

    @property
    def loops(self) -> list[asyncio.Task[None]]:
        return self._loops

    @property
    def is_short(self) -> bool:
        """Whether what waits here may be started before more comes."""
        return not self._waiting

    def add(self, ticket: Ticket) -> Job:
        """A ticket came. Its job is done with when `done` is set."""
        job = Job(model_id=self.model_id, ticket=ticket, since=self._loop.time())
        heapq.heappush(self._waiting, (not ticket.urgent, next(self._numbers), job))
        self._claim_now.set()
        if self._target == 0 and not self._ready:
            self._admit_now.set()
        return job

    def end(self, ended: Ended) -> None:
        """A reservation is to be settled; its slot goes to the next one."""
        self._ended.append(ended)
        self._admit_now.set()

    def unused(self, job: Job, start_ms: int) -> None:
        """What was reserved for a job is not used. Where its start is not known (0) only its slot is given back."""
        assert job.need is not None, "only what was reserved is started"  # noqa: S101
        self.end(Ended(need=job.need, start_ms=start_ms, requests=0, tokens_in=0, tokens_out=0))

    def drop(self, job: Job) -> None:
        """A job that is no longer this worker's."""
        if job in self._ready:
            self._ready.remove(job)

    def wake(self) -> None:
        """Capacity came free somewhere."""
        for job in self._ready:
            job.ask_at = 0.0
        self._admit_now.set()

    async def flush(self) -> None:
        """Settle what has ended, with nothing more to start, once the loops have ended."""
        ended, self._ended = self._ended, []
        if ended:
            await self._office.exchange(self.model_id, ended, ())

    async def clear(self, *, why: str) -> None:
        """Give back everything that is not called yet."""
        self._hold(None)
        ready, self._ready = self._ready, []
        waiting, self._waiting = [job for _urgent, _number, job in self._waiting], []
        await self._let_go(ready, waiting, why)

    async def sort_out(self) -> None:
        """Give back what has waited for too long. Called now and then."""
        now = self._loop.time()
        ready = [job for job in self._ready if now - job.ready_at > self._patience_s(job)]
        waiting = [job for _urgent, _number, job in self._waiting if now - job.since > WAIT_MOST_S]
        self._ready = [job for job in self._ready if job not in ready]
        self._waiting = [entry for entry in self._waiting if entry[2] not in waiting]
        heapq.heapify(self._waiting)
        why = self._held_by or "slow"
        if ready or waiting:
            self._hold(self._held_by if self._ready else None)
        await self._let_go(ready, waiting, why)

    def _patience_s(self, job: Job) -> float:
        """How long a claimed job may wait: longer where it is not in the way of others, or only its turn comes late."""
        is_held = job.held_by is not None or self._held_by in RATES
        return READY_FOR_LIMITS_S if is_held else READY_MOST_S

    async def _let_go(self, ready: Sequence[Job], waiting: Sequence[Job], why: str) -> None:
        if ready:
            await self._office.uncalled(ready, why=why)
            for job in ready:
                # A grant that was not heard may have left it a slot, or counters that were rebuilt.
                if job.need is not None and job not in self._asked:
                    self.unused(job, 0)
        if waiting:
            await self._office.give_back(waiting, why=why)
        if ready or waiting:
            self._office.moved(self.model_id)

    async def _forever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except Exception:  # the loops of this process
                log.exception("a step of a model's desk failed; it goes on", model=self.model_id)
                await asyncio.sleep(AGAIN_S)
                self._claim_now.set()
                self._admit_now.set()

    async def _claim_next(self) -> None:
        is_due_later = self._waiting and self._claim_at > self._loop.time()
        await self._until(self._claim_now, self._claim_at if is_due_later else math.inf)
        while jobs := self._next_to_claim():
            now = self._loop.time()
            claimed = await self._office.claim(jobs)
            for job in claimed:
                if job.done.is_set():  # taken away meanwhile
                    continue
                job.ready_at = now
                # Urgent ones before the others, each in the order of their claims.
                place = sum(other.ticket.urgent >= job.ticket.urgent for other in self._ready)
                self._ready.insert(place, job)
            if len(claimed) < len(jobs):
                self._office.moved(self.model_id)
            self._admit_now.set()

    def _next_to_claim(self) -> list[Job]:
        """As many jobs as will start soon. Urgent ones stand beside the others: they are not kept out by those."""
        now = self._loop.time()
        if not self._waiting or now < self._claim_at:
            return []
        ready = [job for job in self._ready if job.ask_at <= now]  # without those that their tenant or batch holds up
        urgent = sum(job.ticket.urgent for job in ready)
        jobs: list[Job] = []
        while self._waiting:
            is_urgent = self._waiting[0][2].ticket.urgent
            if len(jobs) + (urgent if is_urgent else len(ready)) >= self._target:
                break
            jobs.append(heapq.heappop(self._waiting)[2])
        return jobs

    async def _admit_next(self) -> None:
        await self._until(self._admit_now, self._look_at)
        now = self._loop.time()
        held = [job for job in self._ready if now - job.held_at < self._office.lease_s]
        jobs = [job for job in held if job.ask_at <= now][:MOST_ASKED]
        is_look = self._target == 0 and bool(self._waiting)  # how do things stand?
        if not jobs and not self._ended and not is_look:
            # A job whose lease may have run out (this process was stopped for a while) is asked for when that is prolonged.
            unsure = now + AGAIN_S if len(held) < len(self._ready) else math.inf
            self._look_at = min((job.ask_at for job in held), default=unsure)
            return
        ended = list(self._ended)
        needs = [self._office.need(job, self.measures) for job in jobs]
        for job, need in zip(jobs, needs, strict=True):
            job.need = need
        sent_at, self._asked = self._loop.time(), jobs
        try:
            grants = await self._office.exchange(self.model_id, ended, needs)
        except UnavailableError as error:
            log.warning("capacity cannot be asked for", model=self.model_id, error=str(error))
            self._look_at = self._loop.time() + AGAIN_S
            self._hold(SHUT)
            for job in jobs:
                if job not in self._ready:  # given back meanwhile
                    self.unused(job, 0)
            return
        finally:
            self._asked = ()
        # Only now: a settlement that was cut off is sent again, and counts once. So is one that found the gate shut: the counters
        # are being made anew from rows that may not tell yet that the call has ended.
        is_shut = grants.stopped is not None and grants.stopped.why == SHUT
        self._ended[: len(ended)] = [replace(each, start_ms=0) for each in ended] if is_shut else []
        await self._apply(jobs, grants, sent_at=sent_at)

    async def _apply(self, jobs: Sequence[Job], grants: Grants, *, sent_at: float) -> None:
        now = self._loop.time()
        self.measures = grants.measures
        started = 0
        for job, answer in zip(jobs, grants.answers, strict=False):
            if job.held_by is not None:
                self._office.waited(self.model_id, job.held_by, now - job.held_since)
            job.held_by, job.held_since = None, now
            if isinstance(answer, Hindrance):
                job.held_by, job.ask_at = answer.why, now + (answer.wait_s or LOOK_AGAIN_S)
                continue
            if job not in self._ready:  # given back meanwhile
                self.unused(job, answer)
                continue
            self._start(job, answer, ahead_s=(answer - grants.now_ms) / 1000, sent_at=sent_at, now=now)
            started += 1
        self._plan(grants, started=started, now=now)
        if started:
            self._office.moved(self.model_id)
        if grants.stopped is not None and self._is_long(grants.stopped):
            await self.clear(why=grants.stopped.why)

    def _start(self, job: Job, start_ms: int, *, ahead_s: float, sent_at: float, now: float) -> None:
        self._ready.remove(job)
        self._starts.add(now)
        job.start_ms, job.due, job.earliest, job.kept_at = start_ms, now + ahead_s, sent_at + ahead_s, sent_at
        job.task = asyncio.create_task(self._call(job))

    def _plan(self, grants: Grants, *, started: int, now: float) -> None:
        """When to look again, and how many jobs to keep ready: those that could start at once or are about to."""
        stopped = grants.stopped
        self._hold(stopped.why if stopped is not None and self._ready else None)
        self._look_at = min((job.ask_at for job in self._ready), default=math.inf)
        self._claim_at = now
        lately = self._starts.most(now)
        if stopped is None:
            at_once = 2 * started if self._office.has_rates(self.model_id) else grants.free
            self._target = max(1, lately, min(at_once, grants.free))
        elif stopped.why == SLOTS:
            self._target = lately
        else:
            self._target = max(1, lately) if stopped.why in RATES else 0
        if stopped is not None:
            self._look_at = now + max(LEAST_LOOK_S, stopped.wait_s or LOOK_AGAIN_S)
        if grants.next_s > 0 or (stopped is not None and stopped.why in RATES):
            self._target = max(1, lately)
            self._claim_at = now + max(0.0, grants.next_s - CLAIM_S)
        self._target = min(self._target, MOST_ASKED)
        self._claim_now.set()

    def _hold(self, why: str | None) -> None:
        """Count what keeps all jobs here from starting, for how long, times how many they are."""
        now = self._loop.time()
        if self._held_by is not None and self._held_jobs:
            self._office.waited(self.model_id, self._held_by, (now - self._held_since) * self._held_jobs)
        self._held_by, self._held_since = why, now
        self._held_jobs = len(self._waiting) + sum(job.held_by is None for job in self._ready)

    def _is_long(self, stopped: Hindrance) -> bool:
        """Whether the queue is the better place to wait: another model may be had there."""
        return stopped.why in {SHUT, GONE} or (stopped.why in {PAUSED, BREAKER} and stopped.wait_s > PATIENCE_S)

    async def _call(self, job: Job) -> None:
        """Wait for the granted moment, then call. A moment that was missed is given back for another one."""
        job.begun = True
        try:
            if job.cut:  # before this task had its first turn
                raise asyncio.CancelledError
            await asyncio.sleep(job.due - self._loop.time())
            missed = self._has_missed(job)
        except asyncio.CancelledError:
            self.unused(job, job.start_ms)
            await self._office.uncalled([job], why="shutdown")
            return
        if missed:
            self._office.exchanged(self.model_id)
            self.unused(job, job.start_ms)
            job.task, job.begun = None, False
            self._ready.insert(0, job)
            return
        await self._office.make(job)

    def _has_missed(self, job: Job) -> bool:
        """Whether its start is too long ago for a rate, or its lease or its slot may be somebody else's by now."""
        now = self._loop.time()
        if now - min(job.held_at, job.kept_at) >= self._office.lease_s:
            return True
        return now - job.earliest > LATE_S and self._office.has_rates(self.model_id)

    async def _until(self, event: asyncio.Event, moment: float) -> None:
        """Until the event, or the moment if that comes first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if moment == math.inf else max(0.0, moment - self._loop.time())):
                await event.wait()
        event.clear()
