"""Dead letters: the evidence of a model that gave up on a job, and what became of the job then."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from router_service.jobs.spec import RoutableJob, lane_of
from router_service.jobs.states import JobState
from router_service.store.calls import Ticket, tickets_json
from router_service.store.dispatch import spec_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.jobs.spec import JobSpec
    from router_service.store.decisions import Routed
    from router_service.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadJob:
    """A job that its last model gave up on. `job.spec` excludes that model already, and follows the chain of its letter."""

    job: RoutableJob
    tenant_id: str
    interactive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters: by id, or all that match every filter given. Made at `since` or later, before `until`."""

    ids: tuple[UUID, ...] | None = None
    model: str | None = None
    code: str | None = None
    batch_id: UUID | None = None
    job_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """As the statements take them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"ids": None if self.ids is None else list(self.ids)}


async def load(session: Session, tickets: Iterable[Ticket]) -> Sequence[DeadJob]:
    """The dead jobs of a ticket, locked; those that somebody else has are skipped."""
    return [
        DeadJob(
            job=RoutableJob(
                id=row.id,
                epoch=row.epoch,
                spec=spec_of(row, excluded=[*row.excluded, row.model_id]),
                tenant_id=row.tenant_id,
                plan=row.plan,
            ),
            tenant_id=row.tenant_id,
            interactive=row.interactive,
        )
        for row in await session.rows("dead_load", tickets=tickets_json(tickets))
    ]


async def settle(session: Session, verdicts: Sequence[tuple[DeadJob, Routed]]) -> int:
    """DEAD -> QUEUED where the decision found another model, else DEAD -> FAILED, parked. How many were queued."""
    rows = [
        routed.as_json()
        | {
            "state": JobState.FAILED if routed.decision.model_id is None else JobState.QUEUED,
            "lane": lane_of(dead.job.spec, tenant_id=dead.tenant_id, interactive=dead.interactive),
            "excluded": dead.job.spec.excluded,
            "fallback": dead.job.spec.fallback,
        }
        for dead, routed in sorted(verdicts, key=lambda each: each[0].job.id)
    ]
    moved = await session.rows("dead_settle", rows=json.dumps(rows))
    return sum(row.state == JobState.QUEUED for row in moved)


async def listed(
    session: Session,
    *,
    tenant_id: str,
    most: int,
    selection: Selection,
    after: UUID | None = None,
    state: str | None = None,
) -> Sequence[Row[Any]]:
    """A page, newest first."""
    return await session.rows(
        "dead_list", tenant_id=tenant_id, most=most, after=after, state=state, **selection.parameters()
    )


async def calls_behind(session: Session, letter: Row[Any]) -> Sequence[Row[Any]]:
    """Every call of the letter's job to the letter's model up to the one that it was given up with, in order."""
    return await session.rows("dead_attempts", job_id=letter.job_id, model_id=letter.model_id, attempt=letter.attempt)


async def count_parked(session: Session, *, tenant_id: str, selection: Selection) -> tuple[int, datetime]:
    """How many parked letters are selected, and the database's time: what is parked later was not counted."""
    row = await session.row("dead_count", tenant_id=tenant_id, **selection.parameters())
    assert row is not None, "an aggregate has one row"  # noqa: S101
    return row.letters, row.counted_at


async def replay(session: Session, *, tenant_id: str, selection: Selection, to_model: str | None, most: int) -> int:
    """FAILED -> QUEUED for up to `most` parked letters, on the model asked for at first or on `to_model`. How many.

    The oldest first, so that a caller who goes on until none is left gets through.
    """
    rows = [
        {
            "id": str(row.id),
            "letter_id": str(row.letter_id),
            "epoch": row.epoch,
            "model": (model := to_model or row.model),
            "lane": lane_of(_with_model(row, model), tenant_id=tenant_id, interactive=row.interactive),
        }
        for row in await _parked(session, tenant_id=tenant_id, selection=selection, most=most)
    ]
    return len(await session.rows("dead_replay", rows=json.dumps(rows)))


async def discard(session: Session, *, tenant_id: str, selection: Selection, most: int) -> int:
    """Let up to `most` parked letters go, the oldest first; their jobs stay failed. How many."""
    parked = await _parked(session, tenant_id=tenant_id, selection=selection, most=most)
    return len(await session.rows("dead_discard", tenant_id=tenant_id, ids=[row.letter_id for row in parked]))


async def _parked(session: Session, *, tenant_id: str, selection: Selection, most: int) -> Sequence[Row[Any]]:
    """Locked. Those that somebody else replays or discards at this moment are skipped."""
    return await session.rows("dead_parked", tenant_id=tenant_id, most=most, **selection.parameters())


def _with_model(row: Row[Any], model: str) -> JobSpec:
    return replace(spec_of(row, excluded=()), model=model)
