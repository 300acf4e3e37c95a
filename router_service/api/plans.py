"""`/v1/batches/quote` and `/v1/batches/{id}/plan`: what a batch would come to, and what came of what was promised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from router_service.api.admission import NotAdmittedError
from router_service.api.batch_input import LineReader, read_lines
from router_service.api.batches import check_file, is_planned, no_batch, said_of
from router_service.api.preferences import RouterWishes
from router_service.api.state import Caller, Here, State, make_id
from router_service.assignment.plan import Binding, Plan
from router_service.errors import InvalidRequestError, NotFoundError
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.spec import RoutableJob
from router_service.jobs.windows import MOST_S, window_s
from router_service.routing.insight import NOTHING
from router_service.routing.replay import inputs_of
from router_service.store import plans, quotes
from router_service.store.jobs import NewJob
from router_service.store.session import Session

routes = APIRouter(prefix="/v1/batches", tags=["batches"])
MOST_LINES = 2000
MOST_BYTES = 32_000_000
WAIT_S = 20.0
POLL_S = 0.1


class QuoteRequest(BaseModel):
    """A file as for a batch, and what the batch would be asked to keep to."""

    model_config = ConfigDict(extra="forbid")

    input_file_id: str
    completion_window: Annotated[str, Field(examples=["24h"])] = "24h"
    router: RouterWishes | None = None
    budget_usd: Annotated[float | None, Field(ge=0, le=1e9)] = None
    finish_within_s: Annotated[float | None, Field(gt=0, le=MOST_S)] = None
    max_parallel_requests: Annotated[int | None, Field(ge=1, le=1_000_000, strict=True)] = None


class Sample:
    """Lines of a file, evenly spread, at most so many and of so many bytes: every one, then every second, every fourth, ..."""

    def __init__(self, *, most: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._every, self._seen, self._bytes = 1, 0, 0
        self.jobs: list[NewJob] = []

    def add(self, job: NewJob) -> None:
        if self._seen % self._every == 0:
            self.jobs.append(job)
            self._bytes += len(job.body)
        self._seen += 1
        while len(self.jobs) > self._most or (self._bytes > self._most_bytes and len(self.jobs) > 1):
            self.jobs = self.jobs[::2]
            self._every *= 2
            self._bytes = sum(len(each.body) for each in self.jobs)


@routes.post("/quote")
async def quote(request: QuoteRequest, here: Here, principal: Caller, response: Response) -> dict[str, Any]:
    """What a batch of this file would cost, when it would be done, on which models, and what binds. Nothing is run.

    202 with an id where the answer takes longer than a while. Of a long file 1,000 to 2,000 lines are looked at; they are
    forgotten when the answer is there. `refused`: lines that no model on offer may take; they would fail, and are not quoted.
    """
    window = window_s(request.completion_window)
    has_goal = request.budget_usd is not None or request.finish_within_s is not None
    planned = is_planned(request.router, has_goal=has_goal, catalog=here.offered(), tenant_id=principal.tenant_id)
    quote_id = make_id()
    async with here.database.transaction() as session:
        reader, sample = await _read(session, request, here, principal.tenant_id)
        asked = {
            "jobs": reader.total - reader.refused,
            "refused": reader.refused,
            "is_planned": planned,
            "budget_usd": request.budget_usd,
            "finish_within_s": request.finish_within_s,
            "max_parallel_requests": request.max_parallel_requests,
            "window_s": window,
        }
        lines = [_line(job) for job in sample.jobs]
        await quotes.ask(session, quote_id, tenant_id=principal.tenant_id, asked=asked, lines=lines)
    patience = time.monotonic() + WAIT_S
    shown = await _quote(here, quote_id, principal.tenant_id)
    while shown["status"] == "pending" and time.monotonic() < patience:
        await asyncio.sleep(POLL_S)
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


async def _read(session: Session, request: QuoteRequest, here: State, tenant_id: str) -> tuple[LineReader, Sample]:
    """The file as a batch would read it. Raises InvalidRequestError with its first bad line, NotFoundError.

    Raises NotAdmittedError where no line is left to quote.
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
        for job in read:
            if job.refusal is None:
                sample.add(job)
            else:
                refused = refused or job
    if reader.errors:
        first, more = reader.errors[0], len(reader.errors) - 1
        where = f"line {first['line']}: " if first["line"] is not None else ""
        others = f" (and {more} more errors)" if more else ""
        raise InvalidRequestError(f"{where}{first['message']}{others}", param=first["param"], code=first["code"])
    if refused is not None and refused.refusal is not None and reader.refused == reader.total:
        raise NotAdmittedError(
            f"no line can be done; line {refused.line}: {refused.refusal.message}", param="body.model"
        )
    return reader, sample


def _line(job: NewJob) -> dict[str, Any]:
    routable = RoutableJob(id=job.id, epoch=0, spec=job.spec, tenant_id=job.tenant_id)
    return {"id": job.id.hex, "inputs": inputs_of(routable, NOTHING), "body": job.body}


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
