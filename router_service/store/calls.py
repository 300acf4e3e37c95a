"""Calls to providers: claim before, renew during, finish after. Every write names the epoch or the attempt."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from router_service.jobs.preferences import NONE, Preferences
from router_service.jobs.spec import Fallback

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router_service.jobs.states import JobState
    from router_service.store.session import Session

Ticket = tuple[UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A call that this worker may make. `left_s` is the time to the job's deadline, None without one.

    `batch_slots`: how many calls of its batch may be made at a time, None for any number. `tokens_in` was estimated when the job
    was accepted; `is_counted` where the worker has put what its model's tokenizer counts in its place. `residency` and
    `preferences`: what the model must still meet when it is called.
    """

    id: UUID
    tenant_id: str
    batch_id: UUID | None
    batch_slots: int | None
    epoch: int
    attempt: int
    tries: int
    model_id: str
    tokens_in: int
    tokens_out: int | None
    body: str
    left_s: float | None
    residency: str | None = None
    preferences: Preferences = NONE
    is_counted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How a call ended and what becomes of its job. `body` is stored as the job's one result where the state is terminal.

    `began_ago_s` and `ended_ago_s`: how long before this is written the call was made and ended; None where none was made.
    Tokens are None where the provider did not count them.
    """

    id: UUID
    attempt: int
    state: JobState
    outcome: str
    status_code: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    delay_s: float = 0.0
    counted: bool = False
    body: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    fallback: Fallback = Fallback.GENERAL
    began_ago_s: float | None = None
    ended_ago_s: float = 0.0


class Fate(StrEnum):
    """What a finish did."""

    MOVED = "moved"  # the job went where the finish said
    REPEATED = "repeated"  # this very finish had been committed before
    STALE = "stale"  # somebody else had moved the job; only the record of the call was written


async def claim(session: Session, tickets: Iterable[Ticket], *, worker: str, lease_s: float) -> Sequence[Claim]:
    """ROUTED -> RUNNING for each ticket that is still good, with a lease. What is missing from the answer was stale."""
    rows = await session.rows("job_claim", tickets=tickets_json(tickets), worker=worker, lease_s=lease_s)
    return [
        Claim(
            id=row.id,
            tenant_id=row.tenant_id,
            batch_id=row.batch_id,
            batch_slots=row.batch_slots,
            epoch=row.epoch,
            attempt=row.attempt,
            tries=row.tries,
            model_id=row.model_id,
            tokens_in=row.tokens_in,
            tokens_out=row.tokens_out,
            body=row.body,
            left_s=row.left_s,
            residency=row.residency,
            preferences=Preferences.from_json(row.preferences),
        )
        for row in rows
    ]


async def finish(session: Session, finishes: Sequence[Finish]) -> dict[tuple[UUID, int], Fate]:
    """End calls, all in one statement. Safe to run again where the outcome of the COMMIT is unknown."""
    rows = json.dumps(
        [
            {
                "id": str(each.id),
                "attempt": each.attempt,
                "state": each.state,
                "outcome": each.outcome,
                "status_code": each.status_code,
                "error_code": each.error_code,
                "error_message": each.error_message,
                "delay_s": each.delay_s,
                "counted": each.counted,
                "body": each.body,
                "tokens_in": each.tokens_in,
                "tokens_out": each.tokens_out,
                "cost_usd": each.cost_usd,
                "fallback": each.fallback,
                "began_ago_s": each.began_ago_s,
                "ended_ago_s": each.ended_ago_s,
            }
            for each in sorted(finishes, key=lambda each: each.id)
        ]
    )
    found = await session.rows("job_finish", rows=rows, ids=sorted({each.id for each in finishes}))
    return {(row.id, row.attempt): Fate(row.fate) for row in found}


async def renew(session: Session, calls: Iterable[tuple[UUID, int]], *, lease_s: float) -> set[tuple[UUID, int]]:
    """Prolong the leases of (job, attempt). Those that are still this worker's."""
    rows = json.dumps([{"id": str(job_id), "attempt": attempt} for job_id, attempt in sorted(calls)])
    return {(row.id, row.attempt) for row in await session.rows("job_renew", rows=rows, lease_s=lease_s)}


def tickets_json(tickets: Iterable[Ticket]) -> str:
    return json.dumps([{"id": str(job_id), "epoch": epoch} for job_id, epoch in sorted(tickets)])
