"""`/v1/dead-letters`: jobs that a model gave up on, and what an operator does about them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from router_service.api.lists import page
from router_service.api.state import Caller, Here, State
from router_service.errors import InvalidRequestError, NotFoundError
from router_service.failpoints import failpoint
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.spec import AUTO
from router_service.store import dead_letters
from router_service.store.dead_letters import Selection
from router_service.store.session import Session

routes = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
MOST_IDS = 10_000
CHUNK = 1000  # letters in one transaction
PATIENCE_S = 10.0  # after which the caller is told to ask again for the rest
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
LetterState = Literal["open", "rerouted", "parked", "replayed", "discarded"]
Step = Callable[[Session, Selection], Awaitable[int]]


class LetterFilters(BaseModel):
    """Those that match every filter given; made at `since` or later, before `until`.

    A time is Unix seconds, or ISO 8601 with an offset.
    """

    model: Text | None = None
    code: Text | None = None
    batch_id: str | None = None
    job_id: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None

    def selection(self) -> Selection:
        return Selection(
            model=self.model,
            code=self.code,
            batch_id=ids.parse(Kind.BATCH, self.batch_id) if self.batch_id else None,
            job_id=ids.parse(Kind.JOB, self.job_id) if self.job_id else None,
            since=self.since,
            until=self.until,
        )


class LetterQuery(LetterFilters):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    after: str | None = None
    state: LetterState | None = None


class LetterChoice(LetterFilters):
    """Which parked letters: `ids`, or `all` that the filters leave. `dry_run`: count them, and touch nothing."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[str], Field(max_length=MOST_IDS)] | None = None
    all: bool = False
    dry_run: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> LetterChoice:
        if (self.ids is None) == (not self.all):
            raise ValueError("give either `ids` or `all: true`")
        return self

    def selection(self) -> Selection:
        chosen = LetterFilters.selection(self)
        if self.ids is None:
            return chosen
        return replace(chosen, ids=tuple(ids.parse(Kind.DEAD_LETTER, each) for each in self.ids))


class Replay(LetterChoice):
    """`to_model`: another model than the one asked for at first."""

    to_model: Text | None = None


@routes.get("")
async def list_letters(query: Annotated[LetterQuery, Query()], here: Here, principal: Caller) -> dict[str, Any]:
    """A page of dead letters, newest first."""
    async with here.database.transaction() as session:
        rows = await dead_letters.listed(
            session,
            tenant_id=principal.tenant_id,
            most=query.limit + 1,
            selection=query.selection(),
            after=ids.parse(Kind.DEAD_LETTER, query.after) if query.after else None,
            state=query.state,
        )
    return page(rows, limit=query.limit, show=show)


@routes.get("/{letter_id}")
async def read(letter_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    """A dead letter with its evidence: every call of its job to that model, up to the one it was given up with."""
    selection = Selection(ids=(ids.parse(Kind.DEAD_LETTER, letter_id),))
    async with here.database.transaction() as session:
        rows = await dead_letters.listed(session, tenant_id=principal.tenant_id, most=1, selection=selection)
        if not rows:
            raise NotFoundError(f"no dead letter has the id {letter_id[:80]!r}", param="id")
        calls = await dead_letters.calls_behind(session, rows[0])
    return show(rows[0]) | {"attempts": [_show_call(call) for call in calls]}


@routes.post("/replay")
async def replay(request: Replay, here: Here, principal: Caller) -> dict[str, Any]:
    """Queue failed jobs again, with every model allowed; the oldest first. Safe to repeat: what is queued is no longer parked.

    Where that takes long this answers in between with `has_more` and `until`: send the same again, with that `until`.
    """
    if request.to_model not in {None, AUTO} and not here.offered().has(str(request.to_model)):
        raise InvalidRequestError(
            f"no model is named {str(request.to_model)[:100]!r}", param="to_model", code="model_not_found"
        )

    async def step(session: Session, selection: Selection) -> int:
        return await dead_letters.replay(
            session, tenant_id=principal.tenant_id, selection=selection, to_model=request.to_model, most=CHUNK
        )

    answer = await _go_through(
        here, request, tenant_id=principal.tenant_id, step=step, done="replayed", would="would_replay"
    )
    if answer["replayed"]:
        here.ring()
    return answer


@routes.post("/discard")
async def discard(request: LetterChoice, here: Here, principal: Caller) -> dict[str, Any]:
    """Let parked letters go; their jobs stay failed. Answers like a replay."""

    async def step(session: Session, selection: Selection) -> int:
        return await dead_letters.discard(session, tenant_id=principal.tenant_id, selection=selection, most=CHUNK)

    return await _go_through(
        here, request, tenant_id=principal.tenant_id, step=step, done="discarded", would="would_discard"
    )


async def _go_through(
    here: State, choice: LetterChoice, *, tenant_id: str, step: Step, done: str, would: str
) -> dict[str, Any]:
    """Step by step, each in its own transaction, until nothing is left or PATIENCE_S is over.

    What is parked after the beginning is left out: a replayed job that fails at once would come round for ever.
    """
    selection, started = choice.selection(), time.monotonic()
    async with here.database.transaction() as session:
        selected, counted_at = await dead_letters.count_parked(session, tenant_id=tenant_id, selection=selection)
    if choice.dry_run:
        return {done: 0, would: selected}
    until = counted_at if selection.until is None else min(selection.until, counted_at)
    selection, total = replace(selection, until=until), 0
    while True:
        async with here.database.transaction() as session:
            count = await step(session, selection)
            failpoint("api.dead_letters.before_commit")
        failpoint("api.dead_letters.after_commit")
        total += count
        if not count:
            return {done: total}
        if time.monotonic() - started > PATIENCE_S:
            return {done: total, "has_more": True, "until": until.timestamp()}


def show(row: Any) -> dict[str, Any]:
    return {
        "id": ids.public(Kind.DEAD_LETTER, row.id),
        "object": "dead_letter",
        "job_id": ids.public(Kind.JOB, row.job_id),
        "batch_id": ids.public(Kind.BATCH, row.batch_id) if row.batch_id else None,
        "model": row.model_id,
        "attempt": row.attempt,
        "status_code": row.status_code,
        "error_code": row.error_code,
        "error_message": row.error_message,
        "fallback": row.fallback,
        "state": row.state,
        "created_at": row.created_at.timestamp(),
        "settled_at": row.settled_at.timestamp() if row.settled_at else None,
    }


def _show_call(row: Any) -> dict[str, Any]:
    """The names are those of `/v1/jobs/{id}/explain`. A call that is still under way has no end yet."""
    return {
        "attempt": row.attempt,
        "model": row.model_id,
        "outcome": row.outcome,
        "status_code": row.status_code,
        "error_code": row.error_code,
        "error_message": row.error_message,
        "started_at": row.started_at.timestamp(),
        "ended_at": row.ended_at.timestamp() if row.ended_at else None,
        "latency_ms": row.latency_ms,
        "input_tokens": row.tokens_in,
        "output_tokens": row.tokens_out,
        "cost_usd": row.cost_usd,
    }
