"""Batches: many jobs from one file, and the files that come back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.store.session import Session


async def insert(  # noqa: PLR0913 (a column each)
    session: Session,
    *,
    batch_id: UUID,
    tenant_id: str,
    endpoint: str,
    input_file_id: UUID,
    completion_window: str,
    window_s: float,
    metadata: Mapping[str, str] | None,
    max_parallel_requests: int | None = None,
    budget_usd: float | None = None,
    finish_within_s: float | None = None,
) -> datetime:
    """A batch in progress, as yet without jobs. When it expires. No cap on its calls at a time where none is given.

    `budget_usd` and `finish_within_s` are what it is planned by.
    """
    row = await session.row(
        "batch_insert",
        id=batch_id,
        tenant_id=tenant_id,
        endpoint=endpoint,
        input_file_id=input_file_id,
        completion_window=completion_window,
        window_s=window_s,
        metadata=json.dumps(metadata) if metadata is not None else None,
        max_parallel_requests=max_parallel_requests,
        budget_usd=budget_usd,
        finish_within_s=finish_within_s,
    )
    assert row is not None, "an INSERT without a condition returns its row"  # noqa: S101
    expires_at: datetime = row.expires_at
    return expires_at


async def counted(session: Session, batch_id: UUID, *, total: int, plan_wait_s: float | None = None) -> None:
    """How many jobs it has. One that is to be planned waits so long for its plan at the most."""
    await session.rows("batch_counted", id=batch_id, total=total, plan_wait_s=plan_wait_s)


async def refused(session: Session, batch_id: UUID, *, errors: Sequence[Mapping[str, Any]]) -> None:
    """The batch has failed before anything was dispatched."""
    await session.rows("batch_refused", id=batch_id, errors=json.dumps(errors))


async def get(session: Session, batch_id: UUID, *, tenant_id: str) -> Row[Any] | None:
    """A batch with its counts so far."""
    return await session.row("batch_get", id=batch_id, tenant_id=tenant_id)


async def listed(session: Session, *, tenant_id: str, most: int, before: UUID | None) -> Sequence[Row[Any]]:
    return await session.rows("batch_list", tenant_id=tenant_id, most=most, before=before)


async def cancel(session: Session, batch_id: UUID, *, tenant_id: str) -> bool:
    """Begin to cancel. False where the batch has ended, or is not the tenant's."""
    return bool(await session.rows("batch_cancel", id=batch_id, tenant_id=tenant_id))


async def progress(session: Session, batch_id: UUID) -> Sequence[Row[Any]]:
    """Rows of (state, model_id, jobs, tokens_in, tokens_out, cost_usd)."""
    return await session.rows("batch_progress", batch_id=batch_id)


async def end_one(session: Session, *, new_id: Callable[[], UUID]) -> UUID | None:
    """End one batch whose jobs are all terminal: write its files, keep its counts. None where there is none.

    All in one transaction, which must be a snapshot: both files and the counts show the same moment, and a crash leaves
    either none of them or all.
    """
    batch = await session.row("batch_ready")
    if batch is None:
        return None
    written: dict[str, UUID | None] = {}
    for kind, succeeded in (("output", True), ("error", False)):
        file = await session.row(
            "batch_write_file",
            batch_id=batch.id,
            tenant_id=batch.tenant_id,
            succeeded=succeeded,
            file_id=new_id(),
            filename=f"batch_{batch.id.hex}_{kind}.jsonl",
        )
        written[kind] = file.id if file else None
    await session.rows("batch_end", id=batch.id, output_file_id=written["output"], error_file_id=written["error"])
    batch_id: UUID = batch.id
    return batch_id
