"""What routing learns from what has happened: the price of quality, and how right models' answers were."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, NamedTuple

from router_service.routing.calibration import Curve, Point, curve_of, offers_beside, prior_cases
from router_service.routing.estimates import EVERYBODY, Cell, Count, Shift, shifts_of
from router_service.routing.insight import Worth
from router_service.routing.knowledge import Basis, Choice, Knowledge, Measured
from router_service.signals.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime
    from uuid import UUID

    from router_service.catalog.models import Catalog
    from router_service.store.session import Session

MOST_SOURCES = 8  # that judge one answer
MOST_DOMAINS = 64  # in which a tenant's verdicts on a model are told apart


class Verdict(NamedTuple):
    """What somebody said of a job's answer. `score`: 0 wrong to 1 right; `source`: who says so, one verdict each.

    `domain`: of the job, '' where it is not known; `expected`: the score that was to be expected of the answer before any
    verdict, `level`: of the model on jobs of the kind.
    """

    job_id: UUID
    source: str
    score: float
    domain: str
    expected: float
    level: float


class Judged(NamedTuple):
    """An answer that can be judged: whose it is, and what was read of its request."""

    model_id: str
    signals: Signals | None


class Room(NamedTuple):
    """Whether there is room for one more source on the job, and for one more domain of the tenant's on the model."""

    source: bool
    domain: bool


async def recent_offers(session: Session, *, most: int) -> list[Choice]:
    """What those of the latest `most` decisions had to choose from that were left to the policy."""
    return [
        Choice(Basis(row.policy, row.predictor), row.catalog, offers_beside(row.model_id, row.candidates))
        for row in await session.rows("offers_recent", most=most)
    ]


async def newest_decision(session: Session) -> datetime | None:
    """When the latest decision was taken that can be measured; None before the first."""
    row = await session.row("offers_newest")
    return None if row is None else row.decided_at


async def store_curve(session: Session, basis: Basis, measured: Measured) -> None:
    """The newest curve, in the place of the one before."""
    await session.rows(
        "curve_store",
        **basis._asdict(),
        catalog=measured.catalog,
        jobs=measured.curve.jobs,
        curve=json.dumps([list(each) for each in measured.curve.points]),
    )


async def knowledge(
    session: Session, catalog: Catalog, *, before: Mapping[Cell, Shift], tenants: Collection[str]
) -> Knowledge:
    """What was learned for jobs of these tenants under a catalog. `before`: the shifts in use; those of others stay in use."""
    curves: dict[Basis, Curve] = {}
    older: dict[Basis, Curve] = {}
    for row in await session.rows("curves"):
        points = tuple(Point(Worth(*worth), share, cost) for worth, share, cost in row.curve)
        found = curves if row.catalog == catalog.hash else older
        found[Basis(row.policy, row.predictor)] = Curve(points=points, jobs=row.jobs)
    shifts = await moved(session, before=before, tenants=tenants)
    return Knowledge(curves=curves, older=older, prior=curve_of(prior_cases(catalog)), shifts=shifts)


async def moved(session: Session, *, before: Mapping[Cell, Shift], tenants: Collection[str]) -> dict[Cell, Shift]:
    """The shifts `before`, those of these tenants and of all who share by what is counted now."""
    learners = {EVERYBODY, *tenants}
    found = await counts(session, learners)

    def whole() -> dict[Cell, Shift]:
        kept = {cell: shift for cell, shift in before.items() if cell.learner not in learners}
        return kept | shifts_of(found, before)

    return await asyncio.to_thread(whole)


async def judged(session: Session, job_id: UUID, *, tenant_id: str) -> Judged | None:
    """What a verdict would be about, locked until the transaction ends; None where the tenant has no such job with an answer."""
    row = await session.row("verdict_lock", job_id=job_id, tenant_id=tenant_id)
    if row is None:
        return None
    return Judged(row.model_id, Signals.from_json(row.signals) if row.signals is not None else None)


async def has_room(session: Session, verdict: Verdict, *, tenant_id: str, model_id: str) -> Room:
    """Room for a verdict on a job that `judged` has locked. What a tenant says names domains and sources: neither has no end."""
    row = await session.row(
        "verdict_room",
        job_id=verdict.job_id,
        source=verdict.source,
        domain=verdict.domain,
        tenant_id=tenant_id,
        model_id=model_id,
        most_sources=MOST_SOURCES,
        most_domains=MOST_DOMAINS,
    )
    assert row is not None, "a SELECT without FROM has one row"  # noqa: S101
    return Room(source=not row.has_sources, domain=not row.has_domains)


async def give_verdict(session: Session, verdict: Verdict, *, tenant_id: str, shared: bool) -> None:
    """Keep a verdict on a job that `judged` has locked, and count it; one more of the same source takes the place of the first.

    `shared`: whether all learn from it.
    """
    await session.rows(
        "verdict_give", **verdict._asdict(), tenant_id=tenant_id, learners=[tenant_id, *([EVERYBODY] if shared else [])]
    )


async def counts(session: Session, learners: Collection[str]) -> dict[Cell, Count]:
    """Of each of these learners (tenants, or EVERYBODY for all who share) how right models' answers were, by model and domain."""
    return {
        Cell(row.tenant_id, row.model_id, row.domain): Count(row.score, row.trials, row.expected, row.levels)
        for row in await session.rows("quality_counts", learners=sorted(learners))
    }
