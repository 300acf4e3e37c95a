"""`/v1/batches/quote` and `/v1/batches/{id}/plan`: what a batch would come to, and what came of what was promised."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from router_service.api.admission import NotAdmittedError
from router_service.api.batch_input import LineReader, read_lines
from router_service.api.batches import check_file, is_planned, no_batch, said_of
from router_service.api.preferences import RouterWishes
from router_service.api.quote_lines import Sample
from router_service.api.state import Caller, Here, State, make_id
from router_service.assignment.plan import Binding, Plan
from router_service.errors import BusyError, InvalidRequestError, NotFoundError
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.windows import MOST_S, window_s
from router_service.store import plans, quotes
from router_service.store.session import Session

routes = APIRouter(prefix="/v1/batches", tags=["batches"])
MOST_OPEN = 4  # of a tenant's quotes, read or without an answer: they hold requests, and a planner's time
AGAIN_S = 5
WAIT_S = 20.0
POLL_S = 0.1  # the first time; then it grows to LONGEST_POLL_S
POLL_GROWS = 1.5
LONGEST_POLL_S = 2.0


class QuoteRequest(BaseModel):
    """A file as for a batch, and what the batch would be asked to keep to."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    completion_window: Annotated[str, Field(examples=["24h"])] = "24h"
    router: RouterWishes | None = None
    budget_usd: Annotated[float | None, Field(ge=0, le=1e9)] = None
    finish_within_s: Annotated[float | None, Field(gt=0, le=MOST_S)] = None
    max_parallel_requests: Annotated[int | None, Field(ge=1, le=1_000_000, strict=True)] = None


@routes.post("/quote")
async def quote(request: QuoteRequest, here: Here, principal: Caller, response: Response) -> dict[str, Any]:
    """What a batch of this file would cost, when it would be done, on which models, and what binds. Nothing is run.

    202 with an id where the answer takes longer than a while, 429 where four of yours have none yet. Of a long file 1,000 to
    2,000 lines are looked at; they are forgotten when the answer is there. `refused`: lines that no model on offer may take; they
    would fail, and are not quoted.
    """
    quote_id = make_id()
    async with _opened(here, quote_id, principal.tenant_id):
        await _ask(here, quote_id, request, principal.tenant_id)
    shown = await _quote(here, quote_id, principal.tenant_id)
    for pause_s in pauses_s():
        if shown["status"] != "pending":
            break
        await asyncio.sleep(pause_s)
        shown = await _quote(here, quote_id, principal.tenant_id)
    response.status_code = 202 if shown["status"] == "pending" else 200
    return shown


@routes.get("/quote/{quote_id}")
async def read_quote(quote_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    """A quote that was asked for within the last day."""
    return await _quote(here, ids.parse(Kind.QUOTE, quote_id), principal.tenant_id)


@routes.get("/{batch_id}/plan")
async def read_plan(batch_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    """What the first plan promised, the plan in force for what was left when it was made, and what came of it so far."""
    identity = ids.parse(Kind.BATCH, batch_id)
    async with here.database.transaction() as session:
        row = await plans.get(session, identity, tenant_id=principal.tenant_id)
        if row is None:
            raise no_batch(batch_id)
    return await asyncio.to_thread(_shown_plan, row)


@asynccontextmanager
async def _opened(here: State, quote_id: UUID, tenant_id: str) -> AsyncIterator[None]:
    """Room for a quote while its file is read, given back where it cannot be. Raises BusyError where there is none."""
    async with here.database.transaction() as session:
        if not await quotes.begin(session, quote_id, tenant_id=tenant_id, most=MOST_OPEN):
            message = f"{MOST_OPEN} quotes of yours have no answer yet; ask again when one of them has"
            raise BusyError(message, retry_after_s=AGAIN_S)
    try:
        yield
    except BaseException:
        async with here.database.transaction() as session:
            await quotes.drop(session, quote_id)
        raise


async def _ask(here: State, quote_id: UUID, request: QuoteRequest, tenant_id: str) -> None:
    has_goal = request.budget_usd is not None or request.finish_within_s is not None
    asked = {
        "is_planned": is_planned(request.router, has_goal=has_goal, catalog=here.offered(), tenant_id=tenant_id),
        "budget_usd": request.budget_usd,
        "finish_within_s": request.finish_within_s,
        "max_parallel_requests": request.max_parallel_requests,
        "window_s": window_s(request.completion_window),
    }
    async with here.database.transaction() as session:
        reader, lines = await _read(session, request, here, tenant_id)
        asked |= {"jobs": reader.total - reader.refused, "refused": reader.refused}
        await quotes.ask(session, quote_id, asked=asked, lines=lines)


def pauses_s() -> Iterator[float]:
    """How long to wait before each next look for an answer: longer and longer, some WAIT_S in all."""
    pause_s, left_s = POLL_S, WAIT_S
    while left_s > 0:
        yield min(pause_s, left_s)
        left_s -= pause_s
        pause_s = min(pause_s * POLL_GROWS, LONGEST_POLL_S)


async def _read(session: Session, request: QuoteRequest, here: State, tenant_id: str) -> tuple[LineReader, str]:
    """The file as a batch would read it, and a sample of it as JSON.

    Raises InvalidRequestError with its first bad line, NotFoundError, NotAdmittedError where no line is left to quote.
    """
    file_id = ids.parse(Kind.FILE, request.input_file_id)
    await check_file(session, file_id, tenant_id=tenant_id)
    reader = LineReader(
        tenant_id=tenant_id,
        batch_id=file_id,
        deadline=None,
        catalog=here.offered(),
        accepted_at=datetime.now(UTC),  # stored with nothing
        router=said_of(request.router),
    )
    sample, refused = Sample(), None
    async for read in read_lines(session, file_id, reader):
        refused = refused or next((job for job in read if job.refusal is not None), None)
        await asyncio.to_thread(sample.add, [job for job in read if job.refusal is None])
    if reader.errors:
        first, more = reader.errors[0], len(reader.errors) - 1
        where = f"line {first['line']}: " if first["line"] is not None else ""
        others = f" (and {more} more errors)" if more else ""
        raise InvalidRequestError(f"{where}{first['message']}{others}", param=first["param"], code=first["code"])
    if refused is not None and refused.refusal is not None and reader.refused == reader.total:
        raise NotAdmittedError(
            f"no line can be done; line {refused.line}: {refused.refusal.message}", param="body.model"
        )
    return reader, await asyncio.to_thread(sample.as_json)


async def _quote(here: State, quote_id: UUID, tenant_id: str) -> dict[str, Any]:
    async with here.database.transaction() as session:
        row = await quotes.get(session, quote_id, tenant_id=tenant_id)
    public = ids.public(Kind.QUOTE, quote_id)
    if row is None:
        raise NotFoundError(f"no quote has the id {public!r}", param="id")
    shown = {"id": public, "object": "batch.quote", "created_at": int(row.created_at.timestamp())}
    shown |= {key: row.asked[key] for key in ("jobs", "is_planned", "budget_usd", "finish_within_s")}
    shown["refused"] = row.asked.get("refused", 0)
    if row.answer is None:
        return shown | {"status": "pending"}
    if "failed" in row.answer:
        return shown | {"status": "failed", "note": row.answer["failed"]}
    shown |= {"note": row.answer.get("note")}
    if "quote" not in row.answer:
        return shown | {"status": "impossible"}
    return shown | {"status": "possible"} | told_quote(row.answer["quote"])


def told_quote(quoted: Mapping[str, Any]) -> dict[str, Any]:
    """A stored quote as it is shown: its times count from the making of the batch."""
    return told(quoted["plan"], quoted=quoted, after_s=quoted["after_s"])


def told(plan: Mapping[str, Any], *, quoted: Mapping[str, Any] | None = None, after_s: float = 0.0) -> dict[str, Any]:
    """A stored plan as it is shown, with the intervals of a stored quote. Times count from `after_s` before it was made.

    `looked_at`: the jobs of `jobs` that it rests on.
    """
    quoted = quoted or {}
    shares = sorted(plan["shares"].items(), key=lambda each: (-each[1], each[0]))
    time_s = {"expected": plan["finish_s"]} | quoted.get("finish_s", {})
    return {
        "jobs": plan["jobs"],
        "looked_at": quoted.get("looked_at", plan["jobs"]),
        "cost_usd": {"expected": plan["cost_usd"]} | quoted.get("cost_usd", {}),
        "finish_s": {name: value + after_s for name, value in time_s.items()},
        "quality": plan["quality"],
        "models": [{"model": model, "share": share} for model, share in shares if share > 0],
        "binding": [str(Binding(**each)) for each in plan["binding"]],
        "gap": Plan.from_json(plan).gap,
    }


def _shown_plan(row: Any) -> dict[str, Any]:
    """All times are seconds since the batch was made."""
    quoted, current = row.quoted, None
    if row.document is not None:
        after_s = (row.planned_at - row.created_at).total_seconds()
        current = {"hash": row.plan, "made_after_s": after_s} | told(row.document["plan"], after_s=after_s)
    return {
        "id": ids.public(Kind.BATCH, row.id),
        "object": "batch.plan",
        "status": _status_of(row),
        "note": row.plan_note,
        "budget_usd": row.budget_usd,
        "finish_by": int(row.finish_by.timestamp()) if row.finish_by else None,
        "quoted": told_quote(quoted) if quoted else None,
        "current": current,
        "actual": {"jobs": row.done, "cost_usd": row.cost_usd, "finish_s": row.finish_s, "models": row.models},
        "errors": _errors(row) if quoted and row.has_ended and row.done else None,
    }


def _status_of(row: Any) -> str:
    """`awaited`: the jobs wait for it a moment; `impossible`: nothing keeps to what was asked, see the note."""
    if row.plan is not None:
        return "planned" if row.plan_note is None else "missed"
    if row.plan_note is not None:
        return "impossible"
    return "awaited" if row.is_awaited else "none"


def _errors(row: Any) -> dict[str, Any]:
    """How far off the first plan was: errors are actual / quoted - 1; whether the intervals held."""
    from router_service.assignment.quoting import Actual, Estimate, Quote, compare  # noqa: PLC0415 (brings the solver)

    quoted = row.quoted
    promised = Quote(
        plan=Plan.from_json(quoted["plan"]),
        jobs=quoted["jobs"],
        looked_at=quoted["looked_at"],
        cost_usd=Estimate(**quoted["cost_usd"]),
        finish_s=Estimate(**{name: value + quoted["after_s"] for name, value in quoted["finish_s"].items()}),
    )
    verdict = compare(promised, Actual(cost_usd=row.cost_usd, finish_s=row.finish_s))
    return {
        "cost": verdict.cost_error,
        "finish": verdict.finish_error,
        "in_cost": verdict.in_cost,
        "in_finish": verdict.in_finish,
    }
