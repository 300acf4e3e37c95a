"""Moves jobs along their way, one transaction a step, exactly as the workers do; and a look at the rows themselves."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from router_service.jobs.ids import RANDOM_BYTES, new_id
from router_service.jobs.spec import JobSpec
from router_service.jobs.states import JobState
from router_service.routing.decision import Decision
from router_service.store import batches, calls, dispatch, jobs
from router_service.store.calls import Claim, Fate, Finish
from router_service.store.decisions import Routed
from router_service.store.jobs import NewJob

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from router_service.store.dispatch import Taken
    from router_service.store.session import Database

TENANT = "acme"
CHAT = "/v1/chat/completions"
BODY = '{"model":"alpha","messages":[{"role":"user","content":"a harbour"}]}'
ANSWER = '{"choices":[{"message":{"content":"ships"}}]}'
_numbers = itertools.count(1)


def make_id() -> UUID:
    """Ids in the order in which they were asked for."""
    return new_id(now_ms=1_700_000_000_000 + next(_numbers), random=os.urandom(RANDOM_BYTES))


def new_job(**changes: Any) -> NewJob:
    """A job for `alpha`. Fields of its spec may be given beside its own."""
    spec_changes = {name: changes.pop(name) for name in list(changes) if name in JobSpec.__slots__}
    spec = replace(JobSpec(model="alpha", tokens_in=10), **spec_changes)
    job = NewJob(id=make_id(), tenant_id=TENANT, endpoint=CHAT, spec=spec, body=BODY)
    return replace(job, **changes)


def decision(model_id: str | None = "alpha") -> Decision:
    return Decision(model_id=model_id, reason="test", candidates=(), policy="p", catalog="c")


def answered(claim: Claim, **changes: Any) -> Finish:
    whole = Finish(
        id=claim.id,
        attempt=claim.attempt,
        state=JobState.SUCCEEDED,
        outcome="answered",
        status_code=200,
        body=ANSWER,
        tokens_in=7,
        tokens_out=3,
        cost_usd=0.5,
    )
    return replace(whole, **changes)


def gone_wrong(claim: Claim, state: JobState, **changes: Any) -> Finish:
    failed = Finish(
        id=claim.id,
        attempt=claim.attempt,
        state=state,
        outcome="failed",
        status_code=500,
        error_code="provider_error",
        error_message="the provider failed",
        counted=True,
    )
    return replace(failed, **changes)


class Sql:
    """Plain statements outside the store, to arrange what time would bring and to look at rows."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement, parameters or None)
            return await cursor.fetchall() if cursor.description else []

    async def one(self, statement: str, *parameters: object) -> dict[str, Any]:
        (row,) = await self.rows(statement, *parameters)
        return row

    async def value(self, statement: str, *parameters: object) -> Any:
        (value,) = (await self.one(statement, *parameters)).values()
        return value

    async def job(self, job_id: UUID) -> dict[str, Any]:
        return await self.one("SELECT * FROM jobs WHERE id = %s", job_id)

    async def state(self, job_id: UUID) -> str:
        return str((await self.job(job_id))["state"])


class Steps:
    """Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, *given: NewJob, count: int = 0, **changes: Any) -> list[NewJob]:
        wanted = [*given, *(new_job(**changes) for _ in range(count))]
        async with self._database.transaction() as session:
            await jobs.accept(session, wanted)
        return wanted

    async def take(self, *, most: int = 500, blocked: Collection[int] = ()) -> Sequence[Taken]:
        """Taken and let go again: the locks end with the transaction."""
        async with self._database.transaction() as session:
            return await dispatch.take(session, most=most, blocked=blocked)

    async def route(self, *, model_id: str = "alpha", most: int = 500) -> list[tuple[UUID, int]]:
        async with self._database.transaction() as session:
            taken = await dispatch.take(session, most=most, blocked=())
            return await dispatch.store_routed(
                session, [Routed(job=each.job, decision=decision(model_id)) for each in taken]
            )

    async def claim(
        self, tickets: Sequence[tuple[UUID, int]], *, worker: str = "w1", lease_s: float = 20.0
    ) -> Sequence[Claim]:
        async with self._database.transaction() as session:
            return await calls.claim(session, tickets, worker=worker, lease_s=lease_s)

    async def running(self, *given: NewJob, count: int = 1, lease_s: float = 20.0, **changes: Any) -> list[Claim]:
        """Accepted, routed and claimed."""
        accepted = await self.accept(*given, count=0 if given else count, **changes)
        return await self.run_on(len(accepted), lease_s=lease_s)

    async def run_on(self, count: int = 1, *, model_id: str = "alpha", lease_s: float = 20.0) -> list[Claim]:
        """What is queued, routed and claimed."""
        claims = list(await self.claim(await self.route(model_id=model_id), lease_s=lease_s))
        assert len(claims) == count
        return sorted(claims, key=lambda claim: claim.id)

    async def finish(self, *finishes: Finish) -> list[Fate]:
        async with self._database.transaction() as session:
            fates = await calls.finish(session, finishes)
        return [fates[each.id, each.attempt] for each in finishes]

    async def batch(
        self,
        lines: int,
        *,
        window_s: float = 3600.0,
        plan_wait_s: float | None = None,
        budget_usd: float | None = None,
        finish_within_s: float | None = None,
        **changes: Any,
    ) -> tuple[UUID, list[NewJob]]:
        """A batch with its jobs, as an uploaded file would have made it. One that is to be planned waits for that so long."""
        batch_id = make_id()
        async with self._database.transaction() as session:
            # A tenant comes with its first key; here there may be none.
            await (await session.driver()).execute(
                "INSERT INTO tenants (id) VALUES (%s) ON CONFLICT DO NOTHING", (TENANT,)
            )
            await batches.insert(
                session,
                batch_id=batch_id,
                tenant_id=TENANT,
                endpoint=CHAT,
                input_file_id=make_id(),
                completion_window="1h",
                window_s=window_s,
                metadata=None,
                budget_usd=budget_usd,
                finish_within_s=finish_within_s,
            )
            made = [
                new_job(
                    batch_id=batch_id,
                    line=line,
                    custom_id=f"c{line}",
                    waits_apart=budget_usd is not None,
                    **changes,
                )
                for line in range(1, lines + 1)
            ]
            await jobs.accept(session, made)
            await batches.counted(session, batch_id, total=lines, plan_wait_s=plan_wait_s)
        return batch_id, made

    async def end_batch(self) -> UUID | None:
        async with self._database.transaction() as session:
            return await batches.end_one(session, new_id=make_id)
