"""`/v1/batches`: OpenAI's Batches. A status is a view over stamps and jobs; none is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from router_service.api.admission import NOBODY
from router_service.api.batch_input import LineReader, store_lines
from router_service.api.jobs import CHAT, no_nul
from router_service.api.lists import page
from router_service.api.preferences import RouterWishes
from router_service.api.state import Caller, Here, State, make_id
from router_service.catalog.models import Catalog
from router_service.errors import InvalidRequestError, NotFoundError
from router_service.failpoints import failpoint
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.preferences import Preferences
from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.jobs.states import JobState
from router_service.jobs.windows import MOST_S, window_s
from router_service.store import batches, files, sweeps
from router_service.store.session import Session

routes = APIRouter(prefix="/v1/batches", tags=["batches"])
FEWEST_PLANNED = 50  # lines for `auto`: with fewer there is little to gain
PLAN_WAIT_S = 20.0  # then jobs go on without a plan


class BatchRequest(BaseModel):
    """A batch to make of an uploaded file."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    endpoint: Annotated[str, Field(examples=[CHAT])]
    completion_window: Annotated[str, Field(examples=["24h"])] = "24h"
    max_parallel_requests: Annotated[
        int | None, Field(ge=1, le=1_000_000, strict=True, description="How many of its calls may be made at a time.")
    ] = None
    router: Annotated[
        RouterWishes | None, Field(description="What all its lines ask of routing, unless a line says otherwise.")
    ] = None
    budget_usd: Annotated[float | None, Field(ge=0, le=1e9, description="What it may cost in all.")] = None
    finish_within_s: Annotated[
        float | None, Field(gt=0, le=MOST_S, description="It is planned so that it is done in so many seconds.")
    ] = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
        ]
        | None
    ) = None


class _FileRefusedError(Exception):
    """Rolls back what was stored of a file that turned out to be broken."""


@routes.post("")
async def create(request: BatchRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """Make a batch: its lines are checked and stored as jobs before this answers. A broken file makes a failed batch.

    A line that no model on offer may take fails alone, with the code `no_compliant_model` in the error file.
    """
    if request.endpoint != CHAT:
        raise InvalidRequestError(f"endpoint must be {CHAT}", param="endpoint")
    window = window_s(request.completion_window)
    catalog = here.offered()
    has_goal = request.budget_usd is not None or request.finish_within_s is not None
    plans = is_planned(request.router, has_goal=has_goal, catalog=catalog, tenant_id=principal.tenant_id)
    file_id = ids.parse(Kind.FILE, request.input_file_id)
    batch_id = make_id()
    async with here.database.transaction() as session:
        await check_file(session, file_id, tenant_id=principal.tenant_id)
        expires_at = await batches.insert(
            session,
            batch_id=batch_id,
            tenant_id=principal.tenant_id,
            endpoint=request.endpoint,
            input_file_id=file_id,
            completion_window=request.completion_window,
            window_s=window,
            max_parallel_requests=request.max_parallel_requests,
            metadata=no_nul(request.metadata, path="metadata"),
            budget_usd=request.budget_usd,
            finish_within_s=request.finish_within_s,
        )
        reader = LineReader(
            tenant_id=principal.tenant_id,
            batch_id=batch_id,
            deadline=expires_at,
            catalog=catalog,
            accepted_at=expires_at - timedelta(seconds=window),
            router=said_of(request.router),
            waits_apart=request.budget_usd is not None,
        )
        # Without its plan a budget is kept by nobody: such a batch waits for it to its end.
        wait_s = PLAN_WAIT_S if request.budget_usd is None else window
        fewest = 0 if has_goal else FEWEST_PLANNED
        await _fill(session, file_id, reader, fewest_planned=fewest if plans else None, plan_wait_s=wait_s)
        row = await batches.get(session, batch_id, tenant_id=principal.tenant_id)
        failpoint("api.batches.before_commit")
    failpoint("api.batches.after_commit")
    if not reader.errors:
        here.ring()
    return show(row)


@routes.get("")
async def list_batches(
    here: Here, principal: Caller, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: str | None = None
) -> dict[str, Any]:
    """A page of batches, newest first."""
    before = ids.parse(Kind.BATCH, after) if after else None
    async with here.database.transaction() as session:
        rows = await batches.listed(session, tenant_id=principal.tenant_id, most=limit + 1, before=before)
    return page(rows, limit=limit, show=show)


@routes.get("/{batch_id}")
async def read(batch_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    return show(await find(here, batch_id, principal.tenant_id))


@routes.post("/{batch_id}/cancel")
async def cancel(batch_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    """Cancel what is not running; running calls end. A batch that has ended is refused, one already cancelled is shown."""
    row = await find(here, batch_id, principal.tenant_id)
    async with here.database.transaction() as session:
        if await batches.cancel(session, row.id, tenant_id=principal.tenant_id):
            await sweeps.cancel_batches(session, batch_id=row.id)
        failpoint("api.cancel_batch.before_commit")
    failpoint("api.cancel_batch.after_commit")
    row = await find(here, batch_id, principal.tenant_id)
    if row.cancelling_at is None:
        raise InvalidRequestError(f"the batch has {status_of(row)} already and cannot be cancelled", param="id")
    return show(row)


@routes.get("/{batch_id}/progress")
async def progress(batch_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    """Counts by state and by model, rate, and when the batch may be finished."""
    batch = await find(here, batch_id, principal.tenant_id)
    async with here.database.transaction() as session:
        rows = await batches.progress(session, batch.id)
    counts = {str(state): sum(row.jobs for row in rows if row.state == state) for state in JobState}
    done = sum(row.jobs for row in rows if row.state in {"succeeded", "failed", "cancelled", "expired"})
    elapsed_s = ((batch.ended_at or datetime.now(UTC)) - batch.created_at).total_seconds()
    rate = done / elapsed_s if elapsed_s > 0 else 0.0
    return {
        "id": batch_id,
        "status": status_of(batch),
        "total": batch.total,
        "counts": counts,
        "models": _by_model(rows),
        "cost_usd": sum(row.cost_usd for row in rows),
        "input_tokens": sum(row.tokens_in for row in rows),
        "output_tokens": sum(row.tokens_out for row in rows),
        "elapsed_s": elapsed_s,
        "rate_per_s": rate,
        "eta_s": (batch.total - done) / rate if rate else None,
    }


def is_planned(router: RouterWishes | None, *, has_goal: bool, catalog: Catalog, tenant_id: str) -> bool:
    """Whether a batch that says this of routing is dealt out as a whole.

    Raises InvalidRequestError for a goal where its policy plans nothing.
    """
    wishes = Preferences(policy=router.policy, quality_target=router.quality_target) if router else Preferences()
    spec = JobSpec(model=AUTO, tokens_in=0, preferences=wishes)
    policy = catalog.policy_of(RoutableJob(id=NOBODY, epoch=0, spec=spec, tenant_id=tenant_id))
    if has_goal and policy.plan is False:
        raise InvalidRequestError(
            f"the policy {policy.name!r} says `plan: false`: it keeps no budget and no time; name another under router.policy",
            param="router.policy",
        )
    return policy.plans(has_goal=has_goal)


def said_of(router: RouterWishes | None) -> dict[str, Any]:
    """As a LineReader takes it."""
    return router.model_dump(exclude_unset=True) if router else {}


async def check_file(session: Session, file_id: UUID, *, tenant_id: str) -> None:
    """Raises NotFoundError, or InvalidRequestError where the file is no input of a batch."""
    file = await files.get(session, file_id, tenant_id=tenant_id)
    if file is None:
        raise NotFoundError(f"no file has the id {ids.public(Kind.FILE, file_id)!r}", param="input_file_id")
    if file.purpose != "batch":
        raise InvalidRequestError("the file's purpose must be 'batch'", param="input_file_id")


async def find(here: State, batch_id: str, tenant_id: str) -> Any:
    """A tenant's batch. Raises NotFoundError."""
    identity = ids.parse(Kind.BATCH, batch_id)
    async with here.database.transaction() as session:
        row = await batches.get(session, identity, tenant_id=tenant_id)
    if row is None:
        raise no_batch(batch_id)
    return row


def no_batch(batch_id: str) -> NotFoundError:
    return NotFoundError(f"no batch has the id {batch_id[:80]!r}", param="id")


def status_of(row: Any) -> str:
    """OpenAI's status, from the stamps."""
    if row.failed_at is not None:
        return "failed"
    if row.ended_at is not None:
        if row.cancelling_at is not None:
            return "cancelled"
        return "expired" if row.expired else "completed"
    if row.cancelling_at is not None:
        return "cancelling"
    return "validating" if row.in_progress_at is None else "in_progress"


def show(row: Any) -> dict[str, Any]:
    status, ended = status_of(row), row.ended_at is not None
    succeeded = row.succeeded if ended else row.n_succeeded
    others = row.failed + row.cancelled + row.expired if ended else row.n_failed + row.n_cancelled + row.n_expired
    return {
        "id": ids.public(Kind.BATCH, row.id),
        "object": "batch",
        "endpoint": row.endpoint,
        "input_file_id": ids.public(Kind.FILE, row.input_file_id),
        "completion_window": row.completion_window,
        "status": status,
        "created_at": _unix(row.created_at),
        "in_progress_at": _unix(row.in_progress_at),
        "expires_at": _unix(row.expires_at),
        "finalizing_at": _unix(row.finalizing_at),
        "completed_at": _unix(row.ended_at) if status == "completed" else None,
        "failed_at": _unix(row.failed_at),
        "expired_at": _unix(row.ended_at) if status == "expired" else None,
        "cancelling_at": _unix(row.cancelling_at),
        "cancelled_at": _unix(row.ended_at) if status == "cancelled" else None,
        "output_file_id": ids.public(Kind.FILE, row.output_file_id) if row.output_file_id else None,
        "error_file_id": ids.public(Kind.FILE, row.error_file_id) if row.error_file_id else None,
        "errors": {"object": "list", "data": row.errors} if row.errors else None,
        "metadata": row.metadata,
        "max_parallel_requests": row.max_parallel_requests,
        "budget_usd": row.budget_usd,
        "finish_by": _unix(row.finish_by),
        "request_counts": {"total": row.total, "completed": succeeded, "failed": others},
        "usage": {
            "input_tokens": row.tokens_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": row.tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": row.tokens_in + row.tokens_out,
        }
        if ended
        else None,
    }


async def _fill(
    session: Session, file_id: UUID, reader: LineReader, *, fewest_planned: int | None, plan_wait_s: float
) -> None:
    """Store the jobs, or none of them and the errors.

    With so many lines for `auto` (None: with no number) it is planned, and they wait at most so long for that.
    """
    try:
        async with session.savepoint():
            await store_lines(session, file_id, reader)
            if reader.errors:
                raise _FileRefusedError
    except _FileRefusedError:
        await batches.refused(session, reader.batch_id, errors=reader.errors)
        return
    is_planned = fewest_planned is not None and reader.auto >= fewest_planned
    await batches.counted(session, reader.batch_id, total=reader.total, plan_wait_s=plan_wait_s if is_planned else None)


def _by_model(rows: Any) -> list[dict[str, Any]]:
    models: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.model_id is None:
            continue
        entry = models.setdefault(
            row.model_id, {"model": row.model_id, "running": 0, "succeeded": 0, "failed": 0, "cost_usd": 0.0}
        )
        if row.state in entry:
            entry[row.state] += row.jobs
        entry["cost_usd"] += row.cost_usd
    return list(models.values())


def _unix(moment: datetime | None) -> int | None:
    return int(moment.timestamp()) if moment else None
