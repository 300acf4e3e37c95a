"""Taking queued jobs and writing down where they go: to a model, back, aside for a while, or nowhere in time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.jobs.preferences import Preferences
from router_service.jobs.spec import TYPICAL_TOKENS_OUT, Fallback, JobSpec, RoutableJob
from router_service.store.calls import tickets_json
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.store.calls import Ticket
    from router_service.store.decisions import Routed
    from router_service.store.session import Session

log = logger(__name__)
MOST_LANES = 256
MOST_RELEASED = 10_000
STRANGE_HOLD_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A queued job, locked for this transaction.

    `attempt` numbers its last call, 0 before the first; `interactive`: it is of no batch; `tokens`: what it may cost, its
    input and the most that it may answer; `rank`: its place within its tenant, the smallest first (`router_service.jobs.ranks`);
    `awaits_plan`: its batch has no plan yet, and one is being made.
    """

    job: RoutableJob
    tenant_id: str
    batch_id: UUID | None
    batch_slots: int | None
    lane: int
    attempt: int
    interactive: bool
    tokens: int
    rank: float
    awaits_plan: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """A routed job that is queued again, and what it had a place under."""

    id: UUID
    model_id: str
    tenant_id: str
    batch_id: UUID | None
    batch_slots: int | None


async def take(
    session: Session,
    *,
    most: int,
    blocked: Collection[int],
    first_lane: int | None = None,
    only_urgent: bool = False,
) -> Sequence[Taken]:
    """Up to `most` queued jobs, some of each tenant and of each lane that is not blocked; a tenant's interactive ones first.

    Who takes about twice what there is room for can be fair in tokens as well. Where there are more than MOST_LANES of a kind,
    so many are looked at, beginning at `first_lane` or anywhere. Rows that others have locked are skipped; those that a newer
    version wrote and this one cannot read are held for a while.
    """
    rows = await session.rows(
        "job_take",
        most=most,
        blocked=list(blocked),
        first_lane=first_lane,
        lanes=MOST_LANES,
        typical_out=TYPICAL_TOKENS_OUT,
        only_urgent=only_urgent,
    )
    taken: list[Taken] = []
    strange: list[UUID] = []
    for row in rows:
        try:
            taken.append(_taken(row))
        except (TypeError, ValueError):
            strange.append(row.id)
    if strange:
        log.warning("jobs say what this version cannot read; they are left to a newer router", count=len(strange))
        await hold(session, strange, hold_s=STRANGE_HOLD_S)
    return taken


async def hold(session: Session, job_ids: Sequence[UUID], *, hold_s: float) -> None:
    """Pass jobs over for so long: no model on offer may take them."""
    await session.rows("job_hold", ids=sorted(job_ids), hold_s=hold_s)


async def move_lanes(session: Session, moves: Iterable[tuple[UUID, int, int]]) -> None:
    """Put queued jobs, each (job, epoch, lane), into another lane."""
    rows = json.dumps([{"id": str(job_id), "epoch": epoch, "lane": lane} for job_id, epoch, lane in sorted(moves)])
    await session.rows("job_move_lane", rows=rows)


async def release(session: Session) -> int:
    """Let held jobs go before their time, since the catalog has changed. How many; MOST_RELEASED at a time."""
    return len(await session.rows("job_release", most=MOST_RELEASED))


async def expire(session: Session, late: Iterable[tuple[UUID, int, str]]) -> Sequence[UUID]:
    """QUEUED -> EXPIRED for each (job, epoch, why) that no model can answer in time. Those that were still so."""
    rows = json.dumps([{"id": str(job_id), "epoch": epoch, "message": why} for job_id, epoch, why in sorted(late)])
    return [row.id for row in await session.rows("job_expire", rows=rows)]


async def give_back(session: Session, tickets: Iterable[Ticket]) -> Sequence[Returned]:
    """ROUTED -> QUEUED, which makes the tickets stale. The jobs of those tickets that were good until now."""
    return [
        Returned(
            id=row.id,
            model_id=row.model_id,
            tenant_id=row.tenant_id,
            batch_id=row.batch_id,
            batch_slots=row.batch_slots,
        )
        for row in await session.rows("job_return", tickets=tickets_json(tickets))
    ]


async def store_routed(session: Session, routed: Sequence[Routed]) -> list[tuple[UUID, int]]:
    """QUEUED -> ROUTED with the decisions. The ids and new epochs of the jobs that were still as they had been taken."""
    rows = json.dumps([each.as_json() for each in sorted(routed, key=lambda each: each.job.id)])
    return [(row.id, row.epoch) for row in await session.rows("job_route", rows=rows)]


def _taken(row: Row[Any]) -> Taken:
    spec = spec_of(row, excluded=row.excluded)
    return Taken(
        job=RoutableJob(
            id=row.id,
            epoch=row.epoch,
            spec=spec,
            tenant_id=row.tenant_id,
            left_s=row.left_s,
            tried=row.tried,
            plan=row.plan,
        ),
        tenant_id=row.tenant_id,
        batch_id=row.batch_id,
        batch_slots=row.batch_slots,
        lane=row.lane,
        attempt=row.attempt,
        interactive=row.batch_id is None,
        tokens=spec.tokens_in + (TYPICAL_TOKENS_OUT if spec.tokens_out is None else spec.tokens_out),
        rank=row.rank,
        awaits_plan=row.awaits_plan,
    )


def spec_of(row: Row[Any], *, excluded: Sequence[str]) -> JobSpec:
    return JobSpec(
        model=row.model,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        features=tuple(row.features),
        residency=row.residency,
        quality=row.quality,
        excluded=tuple(excluded),
        fallback=Fallback(row.fallback),
        preferences=Preferences.from_json(row.preferences),
    )
