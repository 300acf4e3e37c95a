"""Taking queued jobs and writing down where they go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.jobs.spec import JobSpec, RoutableJob

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.routing.decision import Decision
    from router_service.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A queued job, locked for this transaction. `attempt` numbers its last call, 0 before the first."""

    job: RoutableJob
    lane: int
    attempt: int
    interactive: bool


async def take(session: Session, *, most: int, blocked: Collection[int], first_lane: int = 0) -> Sequence[Taken]:
    """Up to `most` queued jobs, one from each lane in turn but the blocked ones, beginning at `first_lane`.

    Rows that others have locked are skipped.
    """
    rows = await session.rows("job_take", most=most, blocked=list(blocked), first_lane=first_lane)
    return [
        Taken(
            job=RoutableJob(id=row.id, epoch=row.epoch, spec=spec_of(row, excluded=row.excluded)),
            lane=row.lane,
            attempt=row.attempt,
            interactive=row.batch_id is None,
        )
        for row in rows
    ]


async def hold(session: Session, job_ids: Sequence[UUID], *, hold_s: float) -> None:
    """Pass jobs over for so long: no model on offer may take them."""
    await session.rows("job_hold", ids=sorted(job_ids), hold_s=hold_s)


async def store_routed(session: Session, routed: Sequence[tuple[RoutableJob, Decision]]) -> list[tuple[UUID, int]]:
    """QUEUED -> ROUTED with the decisions. The ids and new epochs of the jobs that were still as they had been taken."""
    rows = json.dumps(
        [
            {"id": str(job.id), "epoch": job.epoch, "reason": decision.reason, "model_id": decision.model_id}
            | evidence(decision)
            for job, decision in sorted(routed, key=lambda each: each[0].id)
        ]
    )
    return [(row.id, row.epoch) for row in await session.rows("job_route", rows=rows)]


def evidence(decision: Decision) -> dict[str, Any]:
    """What is stored of a decision: its policy, its catalog and every candidate."""
    return {
        "policy": decision.policy,
        "catalog": decision.catalog,
        "candidates": [candidate.as_json() for candidate in decision.candidates],
    }


def spec_of(row: Row[Any], *, excluded: Sequence[str]) -> JobSpec:
    return JobSpec(
        model=row.model,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        features=tuple(row.features),
        residency=row.residency,
        quality=row.quality,
        excluded=tuple(excluded),
    )
