"""Questions what a file of requests would come to, and their answers. Requests are kept until the answer is there, no longer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A quote that was asked for. `lines`: a sample of the file, as JSON; each has the job's `id`, `inputs` and `body`."""

    id: UUID
    tenant_id: str
    asked: Mapping[str, Any]
    lines: str


async def begin(session: Session, quote_id: UUID, *, tenant_id: str, most: int) -> bool:
    """Open a quote whose file is yet to be read. False where `most` of the tenant's have no answer yet."""
    await session.rows("quote_alone", tenant_id=tenant_id)
    return bool(await session.rows("quote_open", id=quote_id, tenant_id=tenant_id, most=most))


async def ask(session: Session, quote_id: UUID, *, asked: Mapping[str, Any], lines: str) -> bool:
    """Ask what was opened. `lines` as in `Question`. False where it is not open any more."""
    return bool(await session.rows("quote_ask", id=quote_id, asked=json.dumps(asked), lines=lines))


async def drop(session: Session, quote_id: UUID) -> None:
    """Forget a quote that was opened and never asked."""
    await session.rows("quote_drop", id=quote_id)


async def get(session: Session, quote_id: UUID, *, tenant_id: str) -> Row[Any] | None:
    """The question and its answer; None where the tenant has asked no such one."""
    return await session.row("quote_get", id=quote_id, tenant_id=tenant_id)


async def take(session: Session, *, stale_s: float) -> Question | None:
    """One without an answer, fair over tenants; one that was taken is taken again after `stale_s`."""
    row = await session.row("quote_take", stale_s=stale_s)
    return None if row is None else Question(id=row.id, tenant_id=row.tenant_id, asked=row.asked, lines=row.lines)


async def answer(session: Session, quote_id: UUID, told: Mapping[str, Any]) -> bool:
    """Store the answer and forget the lines, in one statement. False where it had one already."""
    return bool(await session.rows("quote_answer", id=quote_id, answer=json.dumps(told)))


async def forget(session: Session, *, kept_s: float, tried_s: float) -> int:
    """Delete what was asked longer ago than `kept_s`, or than `tried_s` where there is no answer. How many."""
    return len(await session.rows("quotes_forget", kept_s=kept_s, tried_s=tried_s))
