"""A worker that a test plays for a desk: it claims, grants and calls as the test says, and notes when it was asked to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

from router_service.capacity.limiter import SLOTS, Ended, Grants, Hindrance, Need
from router_service.capacity.measures import Measures
from router_service.tickets import Ticket
from workers.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workers.job import Job

    Answer: TypeAlias = "Callable[[Sequence[Ended], Sequence[Need]], Grants]"


def clock() -> float:
    return asyncio.get_running_loop().time()


def now_ms() -> int:
    return round(clock() * 1000)


def grants(*answers: int | Hindrance, stopped: Hindrance | None = None, next_s: float = 0.0, free: int = 100) -> Grants:
    return Grants(now_ms=now_ms(), answers=answers, stopped=stopped, next_s=next_s, free=free, measures=Measures())


class Slots:
    """So many calls at a time."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.held: set[str] = set()

    @property
    def free(self) -> int:
        return self.slots - len(self.held)

    def __call__(self, ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        self.held -= {each.need.reservation for each in ended}
        starts = needs[: self.free]
        self.held |= {need.reservation for need in starts}
        is_short = len(starts) < len(needs) or (self.free == 0 and not needs)
        stopped = Hindrance(why=SLOTS, wait_s=0.0) if is_short else None
        return grants(*(now_ms() for _start in starts), stopped=stopped, free=self.free)


class Pace:
    """A start every so many seconds, granted a quarter of a second ahead at most."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next = 0.0

    def __call__(self, _ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        starts, stopped = [], None
        for _need in needs:
            start = max(self._next, clock())
            if start - clock() > 0.25:
                stopped = Hindrance(why="rpm", wait_s=start - clock() - 0.25)
                break
            starts.append(round(start * 1000))
            self._next = start + self._every_s
        return grants(*starts, stopped=stopped, next_s=max(0.0, self._next - clock()))


class Office:
    """Claims what it is asked to, answers as the test says, calls for `call_s`; and notes all of it with its moment."""

    def __init__(self, answer: Answer, *, rates: bool = False, call_s: float = 1.0, slow_s: float = 0.0) -> None:
        self.answer, self.rates, self.call_s, self.slow_s = answer, rates, call_s, slow_s
        self.lease_s = 20.0
        self.desk = Desk("alpha", self)
        self.claimed: list[tuple[float, Job]] = []
        self.asked: list[tuple[float, list[Ended], list[str]]] = []
        self.called: list[tuple[float, Job]] = []
        self.back: list[tuple[float, str, str, Job]] = []
        self.waits: list[tuple[str, str, float]] = []
        self.moves: list[str] = []
        self.exchanges: list[str] = []
        self.running = self.most_running = 0
        self.broken: Exception | None = None

    def add(self, count: int = 1, *, urgent: bool = False) -> list[Job]:
        return [self.desk.add(Ticket(job_id=uuid4(), epoch=1, urgent=urgent)) for _job in range(count)]

    async def done(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            await job.done.wait()

    async def close(self) -> None:
        for loop in self.desk.loops:
            loop.cancel()
        await asyncio.gather(*self.desk.loops, return_exceptions=True)

    # What a desk asks for.

    async def claim(self, jobs: Sequence[Job]) -> list[Job]:
        self.claimed += [(clock(), job) for job in jobs]
        for job in jobs:
            job.held_at = clock()
        self.running += len(jobs)
        self.most_running = max(self.most_running, self.running)
        return list(jobs)

    async def exchange(self, model_id: str, ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        assert model_id == self.desk.model_id
        self.asked.append((clock(), list(ended), [need.reservation for need in needs]))
        if self.broken is not None:
            error, self.broken = self.broken, None
            raise error
        given = self.answer(ended, needs)
        slow_s, self.slow_s = self.slow_s, 0.0
        await asyncio.sleep(slow_s)
        return given

    def need(self, job: Job, measures: Measures) -> Need:
        return Need(reservation=job.ticket.job_id.hex, scopes=(), tokens_in=measures.tokens_in(1), tokens_out=1)

    def has_rates(self, model_id: str) -> bool:
        return self.rates and model_id == self.desk.model_id

    async def make(self, job: Job) -> None:
        self.called.append((clock(), job))
        await asyncio.sleep(self.call_s)
        assert job.need is not None
        self.desk.end(Ended(need=job.need, start_ms=job.start_ms, requests=1, tokens_in=1, tokens_out=1))
        self._let_go(job)

    async def uncalled(self, jobs: Sequence[Job], *, why: str) -> None:
        self.back += [(clock(), "uncalled", why, job) for job in jobs]
        for job in jobs:
            self._let_go(job)

    async def give_back(self, jobs: Sequence[Job], *, why: str) -> None:
        self.back += [(clock(), "waiting", why, job) for job in jobs]
        for job in jobs:
            job.done.set()

    def moved(self, model_id: str) -> None:
        self.moves.append(model_id)

    def waited(self, model_id: str, why: str, seconds: float) -> None:
        self.waits.append((model_id, why, seconds))

    def exchanged(self, model_id: str) -> None:
        self.exchanges.append(model_id)

    def _let_go(self, job: Job) -> None:
        self.running -= 1
        job.done.set()

    # What a test looks at.

    @property
    def starts(self) -> list[float]:
        return [round(moment, 3) for moment, _job in self.called]
