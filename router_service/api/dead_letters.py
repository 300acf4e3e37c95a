"""`/v1/dead-letters`: jobs that a model gave up on, and what an operator does about them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from router_service.api.lists import TextFilter, page
from router_service.api.state import Caller, Here
from router_service.errors import InvalidRequestError, NotFoundError
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.spec import AUTO
from router_service.store import dead_letters
from router_service.store.dead_letters import Selection

routes = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
MOST_AT_ONCE = 10_000
Text = Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")]
LetterState = Literal["open", "rerouted", "parked", "replayed", "discarded"]


class LetterChoice(BaseModel):
    """Which parked letters: `ids`, or `all` with filters."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[str], Field(max_length=MOST_AT_ONCE)] | None = None
    all: bool = False
    model: Text | None = None
    code: Text | None = None
    batch_id: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> LetterChoice:
        if (self.ids is None) == (not self.all):
            raise ValueError("give either `ids` or `all: true`")
        return self

    def selection(self) -> Selection:
        return Selection(
            ids=None if self.ids is None else tuple(ids.parse(Kind.DEAD_LETTER, each) for each in self.ids),
            model=self.model,
            code=self.code,
            batch_id=ids.parse(Kind.BATCH, self.batch_id) if self.batch_id else None,
        )


class Replay(LetterChoice):
    """`to_model`: another model than the one asked for at first."""

    to_model: Text | None = None


@routes.get("")
async def list_letters(
    here: Here,
    principal: Caller,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after: str | None = None,
    model: TextFilter = None,
    code: TextFilter = None,
    batch_id: str | None = None,
    state: LetterState | None = None,
) -> dict[str, Any]:
    """A page of dead letters, newest first."""
    selection = Selection(model=model, code=code, batch_id=ids.parse(Kind.BATCH, batch_id) if batch_id else None)
    async with here.database.transaction() as session:
        rows = await dead_letters.listed(
            session,
            tenant_id=principal.tenant_id,
            most=limit + 1,
            selection=selection,
            after=ids.parse(Kind.DEAD_LETTER, after) if after else None,
            state=state,
        )
    return page(rows, limit=limit, show=show)


@routes.get("/{letter_id}")
async def read(letter_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    selection = Selection(ids=(ids.parse(Kind.DEAD_LETTER, letter_id),))
    async with here.database.transaction() as session:
        rows = await dead_letters.listed(session, tenant_id=principal.tenant_id, most=1, selection=selection)
    if not rows:
        raise NotFoundError(f"no dead letter has the id {letter_id[:80]!r}", param="id")
    return show(rows[0])


@routes.post("/replay")
async def replay(request: Replay, here: Here, principal: Caller) -> dict[str, int]:
    """Queue failed jobs again, with every model allowed. At most 10,000 at once."""
    if request.to_model not in {None, AUTO} and not here.offered().has(str(request.to_model)):
        raise InvalidRequestError(
            f"no model is named {str(request.to_model)[:100]!r}", param="to_model", code="model_not_found"
        )
    async with here.database.transaction() as session:
        replayed = await dead_letters.replay(
            session,
            tenant_id=principal.tenant_id,
            selection=request.selection(),
            to_model=request.to_model,
            most=MOST_AT_ONCE,
        )
    if replayed:
        here.ring()
    return {"replayed": replayed}


@routes.post("/discard")
async def discard(request: LetterChoice, here: Here, principal: Caller) -> dict[str, int]:
    """Let parked letters go; their jobs stay failed. At most 10,000 at once."""
    async with here.database.transaction() as session:
        discarded = await dead_letters.discard(
            session, tenant_id=principal.tenant_id, selection=request.selection(), most=MOST_AT_ONCE
        )
    return {"discarded": discarded}


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
        "state": row.state,
        "created_at": row.created_at.timestamp(),
    }
