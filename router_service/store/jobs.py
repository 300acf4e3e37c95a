"""Jobs as their owners see them: accept, read, cancel."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from router_service.jobs import ids
from router_service.jobs.ranks import rank_of
from router_service.jobs.spec import lane_of, split_lane
from router_service.jobs.states import TERMINAL, JobState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.jobs.spec import JobSpec
    from router_service.store.session import Session

MOST_LANES = 10_000  # that a look at the line goes over
MOST_COUNTED = 20_000  # rows that it counts one by one
COPY_JOBS = (
    "COPY jobs (id, tenant_id, batch_id, line, custom_id, endpoint, model, lane, priority, tokens_in, tokens_out,"
    " features, residency, quality, deadline, metadata, rank, fallback, preferences, state, finished_at, error_code,"
    " error_message) FROM STDIN"
)
COPY_INPUTS = "COPY job_inputs (job_id, body) FROM STDIN"


class Refusal(NamedTuple):
    """Why a job ends as it begins: no model on offer may take it. `at`: when, by the clock of the database."""

    at: datetime
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job about to be accepted. `body` is the request for the provider, as one line of JSON.

    `refusal`: it is stored as failed, so that the others of its batch can go on. One that `waits_apart` is in a lane of its
    batch's: while that waits for its plan, however long, others of its kind go on.
    """

    id: UUID
    tenant_id: str
    endpoint: str
    spec: JobSpec
    body: str
    priority: int = 0
    deadline: datetime | None = None
    metadata: Mapping[str, Any] | None = None
    batch_id: UUID | None = None
    line: int | None = None
    custom_id: str | None = None
    refusal: Refusal | None = None
    waits_apart: bool = False


class Depth(NamedTuple):
    """How many jobs are in a state for a model."""

    state: str
    model: str
    jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A job that left a state in which it held a reservation (`epoch`, `model_id`), and the state it left."""

    id: UUID
    epoch: int
    model_id: str | None
    left: JobState


async def accept(session: Session, jobs: Sequence[NewJob]) -> None:
    """Store jobs and their inputs. They are durable when the transaction commits."""
    await session.copy(COPY_JOBS, [_row(job) for job in jobs])
    await session.copy(COPY_INPUTS, [(job.id, job.body) for job in jobs])


async def get(session: Session, job_id: UUID, *, tenant_id: str) -> Row[Any] | None:
    """A job with its result, or None where the tenant has no such job."""
    return await session.row("job_get", id=job_id, tenant_id=tenant_id)


async def is_terminal(session: Session, job_id: UUID, *, tenant_id: str) -> bool | None:
    """None where the tenant has no such job."""
    row = await session.row("job_state", id=job_id, tenant_id=tenant_id)
    return None if row is None else JobState(row.state) in TERMINAL


async def listed(
    session: Session,
    *,
    tenant_id: str,
    most: int,
    before: UUID | None,
    state: str | None,
    batch_id: UUID | None,
    model: str | None,
) -> Sequence[Row[Any]]:
    """At most `most` jobs, newest first, older than `before`."""
    return await session.rows(
        "job_list", tenant_id=tenant_id, most=most, before=before, state=state, batch_id=batch_id, model=model
    )


async def cancel(session: Session, job_id: UUID, *, tenant_id: str) -> Moved | None:
    """Cancel a job, running or not. None where it is terminal, or not the tenant's."""
    row = await session.row("job_cancel", id=job_id, tenant_id=tenant_id)
    return moved(row) if row else None


async def explain(session: Session, job_id: UUID) -> Row[Any]:
    """`decisions`, `attempts` and `dead_letters`, each a list of objects in order."""
    row = await session.row("job_explain", id=job_id)
    assert row is not None, "a SELECT of subqueries has one row"  # noqa: S101
    return row


async def live_depths(session: Session) -> Sequence[Depth]:
    """Live jobs by state and model; what is queued by the model asked for, as `oldest_queued` counts it."""
    beyond = [Depth(row.state, row.model, row.jobs) for row in await session.rows("queue_depths")]
    return [*(Depth(JobState.QUEUED, row.model, row.jobs) for row in await oldest_queued(session)), *beyond]


async def oldest_queued(session: Session) -> Sequence[Row[Any]]:
    """What waits in line as rows of (model asked for, jobs, age_s): how many, and how long the next of a lane has waited.

    The number is exact up to MOST_COUNTED in all. Beyond, what was not counted is an estimate of some per cent, which may be
    shared out wrongly among models.
    """
    return await session.rows("queue_waiting", most=MOST_COUNTED, most_lanes=MOST_LANES)


async def held(session: Session, *, most: int) -> Sequence[Row[Any]]:
    """Up to `most` jobs that no model on offer may take, each with how many there are (`held`, counted up to MOST_COUNTED)."""
    return await session.rows("held_jobs", most=most, most_counted=MOST_COUNTED)


def moved(row: Row[Any]) -> Moved:
    return Moved(id=row.id, epoch=row.epoch, model_id=row.model_id, left=JobState(row.state))


def _lane(job: NewJob) -> int:
    lane = lane_of(job.spec, tenant_id=job.tenant_id, interactive=job.batch_id is None)
    return lane if job.batch_id is None or not job.waits_apart else split_lane(lane, f"batch {job.batch_id.hex}")


def _row(job: NewJob) -> tuple[Any, ...]:
    spec = job.spec
    return (
        job.id,
        job.tenant_id,
        job.batch_id,
        job.line,
        job.custom_id,
        job.endpoint,
        spec.model,
        _lane(job),
        job.priority,
        spec.tokens_in,
        spec.tokens_out,
        list(spec.features),
        spec.residency,
        spec.quality,
        job.deadline,
        json.dumps(job.metadata) if job.metadata else None,
        rank_of(accepted_s=ids.accepted_s(job.id), deadline=job.deadline, priority=job.priority),
        spec.fallback,
        json.dumps(wishes) if (wishes := spec.preferences.as_json()) else None,
        *((JobState.QUEUED, None, None, None) if job.refusal is None else (JobState.FAILED, *job.refusal)),
    )
