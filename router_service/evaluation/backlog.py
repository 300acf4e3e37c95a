"""What a job costs while many others wait: accepting, routing, calling, polling, listing, watching, at each size of backlog.

Over a private Postgres with fsync, through the store as the services use it, without HTTP, Redis and a provider: these do not
know how long the line is. Counted is the CPU time of the Postgres process that does the work and of this one, so that a busy
machine or a slow disk does not show.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_service.embedded.servers import Servers
from router_service.evaluation.usage import cpu_s
from router_service.jobs.ids import RANDOM_BYTES, new_id
from router_service.jobs.spec import JobSpec
from router_service.jobs.states import JobState
from router_service.routing import fairness
from router_service.routing.decision import Candidate, Decision
from router_service.store import batches, bootstrap, calls, dispatch, jobs, migrate
from router_service.store.calls import Finish
from router_service.store.decisions import Routed
from router_service.store.jobs import NewJob
from router_service.store.session import Database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from uuid import UUID

    from router_service.store.session import Session

TENANTS = ("north", "east", "south", "west")
MODELS = ("bench-small", "bench-large")
LINES = 10_000  # of a batch
ROWS_PER_COPY = 1000
INTERACTIVE = 50  # beside each batch
WINDOW_S = 86_400.0
ROUTED = 5_000
MOST_TAKEN = 500
GROUP = 32  # jobs of a ticket, and finishes of one COMMIT
LEASE_S = 300.0
LOOKS_S = 0.5  # how long each kind of reading is repeated
BODY = (
    '{"model":"bench","messages":[{"role":"user","content":"'
    + "The quick brown fox jumps over the lazy dog. " * 8
    + '"}]}'
)
ANSWER = '{"choices":[{"message":{"content":"' + "The fox jumps. " * 8 + '"}}]}'
US = 1e6


def run(*, sizes: Sequence[int]) -> dict[str, Any]:
    """Grow one backlog from size to size and measure at each. CPU in microseconds: a job's, a look's."""
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder, Servers(Path(folder)) as servers:
        migrate.upgrade(servers.database_url)
        for tenant in TENANTS:
            bootstrap.create_key(servers.database_url, tenant=tenant, name="bench")
        curve = asyncio.run(_measure(servers.database_url, sorted(sizes)))
    return {
        "tenants": len(TENANTS),
        "lines_per_batch": LINES,
        "counted": "CPU of Postgres and client in microseconds, for each job or each look",
        **{f"growth.{name}": _growth(curve, name) for name in curve[0] if name != "queued"},
        "curve": curve,
    }


def _growth(curve: Sequence[dict[str, Any]], name: str) -> float | None:
    first, last = curve[0][name], curve[-1][name]
    return round(last / first, 2) if first else None


async def _measure(database_url: str, sizes: Sequence[int]) -> list[dict[str, Any]]:
    database = Database(
        database_url, pool=1, name="waybill-bench"
    )  # one connection: one process of Postgres to look at
    try:
        async with database.transaction() as session:
            (row,) = await session.rows("backend_pid")
        bench = _Bench(database=database, backend=row.pid)
        return [await bench.at(size) for size in sizes]
    finally:
        await database.close()


@dataclass(slots=True, kw_only=True)
class _Bench:
    """The line as it stands, and the steps of a job's way."""

    database: Database
    backend: int
    queued: int = 0
    batches: list[tuple[UUID, str]] = field(default_factory=list)
    jobs: list[tuple[UUID, str]] = field(default_factory=list)
    tickets: list[tuple[UUID, int]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def at(self, size: int) -> dict[str, Any]:
        """Fill up to `size`, then measure. A whole batch is accepted as the last of it, beside all the others.

        Looks come before routing: what a batch's poll costs follows how many of its own lines are left, and a small backlog
        is one batch, which routing would halve.
        """
        while (rest := size - self.queued - LINES - INTERACTIVE) > 0:
            await self._accept(max(1, min(LINES, rest - INTERACTIVE)))
        last = max(1, size - self.queued - INTERACTIVE)
        accept_us = await self._cost(partial(self._accept, last), each=last + INTERACTIVE)
        reached = self.queued
        looks = {
            "poll_job": await self._look(self._poll_job),
            "poll_batch": await self._look(self._poll_batch),
            "progress": await self._look(self._progress),
            "list_jobs": await self._look(self._list_jobs),
            "list_batches": await self._look(self._list_batches),
            "depths": await self._look(jobs.live_depths),
            "oldest": await self._look(jobs.oldest_queued),
        }
        route_us = await self._cost(self._route, each=min(ROUTED, reached))
        call_us = await self._cost(self._call, each=len(self.tickets))
        return {"queued": reached, "accept": accept_us, "route": route_us, "claim_and_finish": call_us, **looks}

    async def _cost(self, work: Callable[[], Awaitable[Any]], *, each: int) -> float:
        """Microseconds of CPU for each of so many."""
        server, client = cpu_s(self.backend), time.process_time()
        await work()
        client = time.process_time() - client
        return round((cpu_s(self.backend) - server + client) / max(1, each) * US, 1)

    async def _look(self, read: Callable[[Session], Awaitable[Any]]) -> float:
        """The cost of one look, from as many as fit into LOOKS_S."""
        looks = 0

        async def again() -> None:
            nonlocal looks
            end = time.monotonic() + LOOKS_S
            while time.monotonic() < end:
                async with self.database.transaction() as session:
                    await read(session)
                looks += 1

        spent = await self._cost(again, each=1)
        return round(spent / looks, 1)

    async def _accept(self, lines: int) -> None:
        """A batch in one transaction, as the API stores it, and some single jobs."""
        number = next(self.numbers)
        tenant, model = TENANTS[number % len(TENANTS)], MODELS[number // len(TENANTS) % len(MODELS)]
        batch_id = _make_id()
        async with self.database.transaction() as session:
            deadline = await batches.insert(
                session,
                batch_id=batch_id,
                tenant_id=tenant,
                endpoint="/v1/chat/completions",
                input_file_id=_make_id(),
                completion_window="24h",
                window_s=WINDOW_S,
                metadata=None,
            )
            for start in range(0, lines, ROWS_PER_COPY):
                wanted = range(start, min(lines, start + ROWS_PER_COPY))
                made = [
                    _new_job(tenant, model, batch_id=batch_id, line=line, deadline=deadline, priority=-10)
                    for line in wanted
                ]
                await jobs.accept(session, made)
            await batches.counted(session, batch_id, total=lines)
            single = [_new_job(tenant, model) for _each in range(INTERACTIVE)]
            await jobs.accept(session, single)
        self.queued += lines + INTERACTIVE
        self.batches.append((batch_id, tenant))
        self.jobs += [(job.id, tenant) for job in single]

    async def _route(self) -> None:
        """Passes of a router until some thousands have a model: take, put in order, store the decisions."""
        left = min(ROUTED, self.queued)
        while left > 0:
            async with self.database.transaction() as session:
                taken = await dispatch.take(session, most=min(left, MOST_TAKEN), blocked=())
                ordered = fairness.order(taken, {}, 0.0, {}).jobs
                routed = await dispatch.store_routed(
                    session, [Routed(job=each.job, decision=_decision(each.job.spec)) for each in ordered]
                )
            self.tickets += routed
            left -= len(routed)
            self.queued -= len(routed)

    async def _call(self) -> None:
        """Claim and finish all that was routed, a ticket's jobs at a time."""
        tickets, self.tickets = self.tickets, []
        for start in range(0, len(tickets), GROUP):
            async with self.database.transaction() as session:
                claims = await calls.claim(session, tickets[start : start + GROUP], worker="bench", lease_s=LEASE_S)
            async with self.database.transaction() as session:
                await calls.finish(session, [_finish(claim.id, claim.attempt) for claim in claims])

    async def _poll_job(self, session: Session) -> None:
        job_id, tenant = self._next(self.jobs)
        await jobs.get(session, job_id, tenant_id=tenant)

    async def _poll_batch(self, session: Session) -> None:
        batch_id, tenant = self._next(self.batches)
        await batches.get(session, batch_id, tenant_id=tenant)

    async def _progress(self, session: Session) -> None:
        await batches.progress(session, self._next(self.batches)[0])

    async def _list_jobs(self, session: Session) -> None:
        before, tenant = self._next(self.jobs)
        await jobs.listed(session, tenant_id=tenant, most=21, before=before, state=None, batch_id=None, model=None)

    async def _list_batches(self, session: Session) -> None:
        _batch_id, tenant = self._next(self.batches)
        await batches.listed(session, tenant_id=tenant, most=21, before=None)

    def _next(self, among: Sequence[tuple[UUID, str]]) -> tuple[UUID, str]:
        """All over the line: a step that is no divisor of its length."""
        return among[next(self.numbers) * 7919 % len(among)]


def _new_job(tenant: str, model: str, **changes: Any) -> NewJob:
    line = changes.get("line")
    return NewJob(
        id=_make_id(),
        tenant_id=tenant,
        endpoint="/v1/chat/completions",
        spec=JobSpec(model=model, tokens_in=110, tokens_out=32),
        body=BODY,
        custom_id=None if line is None else f"line-{line}",
        **changes,
    )


def _decision(spec: JobSpec) -> Decision:
    """As large as a real one with two models on offer."""
    candidates = tuple(
        Candidate(model=model, eligible=True, rank=rank, cost_usd=1.5e-5, wait_s=0.0, score=1.5e-5)
        for rank, model in enumerate(MODELS)
    )
    return Decision(
        model_id=spec.model,
        reason="asked_for",
        candidates=candidates,
        policy="0123456789abcdef",
        catalog="0123456789abcdef",
    )


def _finish(job_id: UUID, attempt: int) -> Finish:
    return Finish(
        id=job_id,
        attempt=attempt,
        state=JobState.SUCCEEDED,
        outcome="answered",
        status_code=200,
        body=ANSWER,
        tokens_in=110,
        tokens_out=32,
        cost_usd=1.5e-5,
    )


def _make_id() -> UUID:
    return new_id(now_ms=time.time_ns() // 1_000_000, random=os.urandom(RANDOM_BYTES))
