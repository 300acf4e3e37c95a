"""What routing learns from what has happened: the price of quality, and how right models' answers were."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from router_service.routing.calibration import Curve, Offer, Point
from router_service.routing.estimates import ALL, Count

if TYPE_CHECKING:
    from uuid import UUID

    from router_service.store.session import Session


class Verdict(NamedTuple):
    """What somebody said of a job's answer. `score`: 0 wrong to 1 right; `source`: who says so, one verdict each."""

    job_id: UUID
    source: str
    score: float


async def recent_offers(session: Session, *, most: int) -> dict[str, list[dict[str, Offer]]]:
    """What the latest decisions had to choose from, by policy: of each, every eligible model with a price and a quality."""
    by_policy: dict[str, list[dict[str, Offer]]] = {}
    for row in await session.rows("offers_recent", most=most):
        offers = {
            each["model"]: Offer(each["cost_usd"], each["quality"])
            for each in row.candidates
            if each.get("cost_usd") is not None and each.get("quality") is not None
        }
        by_policy.setdefault(row.policy, []).append(offers)
    return by_policy


async def store_curve(session: Session, curve: Curve, *, policy: str, catalog: str) -> None:
    """The newest curve of a policy, in the place of the one before."""
    await session.rows(
        "curve_store",
        policy=policy,
        catalog=catalog,
        jobs=curve.jobs,
        curve=json.dumps([list(each) for each in curve.points]),
    )


async def curves(session: Session) -> dict[str, Curve]:
    """By policy."""
    return {
        row.policy: Curve(points=tuple(Point(*each) for each in row.curve), jobs=row.jobs)
        for row in await session.rows("curves")
    }


async def give_verdict(session: Session, verdict: Verdict, *, tenant_id: str, shared: bool) -> str | None:
    """Keep a verdict on an answer of the tenant's, and count it; one more of the same source takes the place of the first.

    The model that it is about, or None where the tenant has no such job with an answer. `shared`: whether all learn from it.
    """
    answer = await session.row("verdict_lock", job_id=verdict.job_id, tenant_id=tenant_id)
    if answer is None:
        return None
    await session.rows(
        "verdict_give",
        job_id=verdict.job_id,
        source=verdict.source,
        score=verdict.score,
        tenant_id=tenant_id,
        learners=[tenant_id, *([""] if shared else [])],
    )
    return str(answer.model_id)


async def counts(session: Session) -> dict[str, dict[tuple[str, str], Count]]:
    """Of each learner (a tenant, or '' for all who share) how right models' answers were, by model and domain.

    A domain is '' where none was known; ALL has the sums over all of them.
    """
    found: dict[str, dict[tuple[str, str], Count]] = {}
    for row in await session.rows("quality_counts"):
        known = found.setdefault(row.tenant_id, {})
        known[row.model_id, row.domain] = Count(row.score, row.trials)
        before = known.get((row.model_id, ALL), Count())
        known[row.model_id, ALL] = Count(before.score + row.score, before.trials + row.trials)
    return found
