"""Plans for whole batches: which batch is due for one, what it is made of, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.jobs.spec import RoutableJob
from router_service.routing.prices import Prices
from router_service.store.dispatch import spec_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.store.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class DueBatch:
    """A batch that was taken to be planned. `plan`: the hash of the one that it has; `slots`: its calls at a time.

    `left_s`: until it must be done, which is its own wish where it `is_hurried`, else the end of its window; `elapsed_s`: since
    it was made.
    """

    id: UUID
    tenant_id: str
    plan: str | None
    slots: int | None
    budget_usd: float | None
    is_hurried: bool
    left_s: float
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPlan:
    """A plan, `hash` its name. `document` is as in `documents`; `quoted`: what a first one promises, later ones' are not kept.

    `note`: what of the goal it does not keep.
    """

    hash: str
    document: Mapping[str, Any]
    quoted: Mapping[str, Any] | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`left`: jobs that may still be dealt out; `under_way`: those routed or running, by model; USD of all calls so far.

    `under_way_usd`: what the decisions on those under way expect them to cost.
    """

    left: int
    under_way: Mapping[str, int]
    under_way_usd: float
    cost_usd: float

    @property
    def committed_usd(self) -> float:
        """What is spent, and what is under way."""
        return self.cost_usd + self.under_way_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """What one tenant has under way at a model beside a batch: `jobs` of `parties`, which are its batches and its single jobs."""

    model_id: str
    tenant_id: str
    parties: int
    jobs: int


async def claim(session: Session, *, catalog: str, again_s: float) -> DueBatch | None:
    """One batch that is due, put off for so long, so that nobody else takes it and it comes again by itself.

    `catalog`: the hash of that under which it will be planned.
    """
    row = await session.row("plan_claim", catalog=catalog, again_s=again_s)
    if row is None:
        return None
    return DueBatch(
        id=row.id,
        tenant_id=row.tenant_id,
        plan=row.plan,
        slots=row.max_parallel_requests,
        budget_usd=row.budget_usd,
        is_hurried=row.is_hurried,
        left_s=row.left_s,
        elapsed_s=row.elapsed_s,
    )


async def progress(session: Session, batch_id: UUID) -> Progress:
    row = await session.row("plan_progress", id=batch_id)
    assert row is not None, "an aggregate has one row"  # noqa: S101
    return Progress(left=row.left, under_way=row.under_way, under_way_usd=row.under_way_usd, cost_usd=row.cost_usd)


async def others(session: Session, batch_id: UUID | None = None) -> list[Others]:
    """Who has jobs under way, and where, but for those of a batch."""
    return [
        Others(model_id=row.model_id, tenant_id=row.tenant_id, parties=row.parties, jobs=row.jobs)
        for row in await session.rows("plan_others", id=batch_id)
    ]


async def left(session: Session, batch_id: UUID, *, every: int) -> list[RoutableJob]:
    """The jobs that may still be dealt out, or one in `every` of them, always the same."""
    return [
        RoutableJob(
            id=row.id,
            epoch=row.epoch,
            spec=spec_of(row, excluded=row.excluded),
            tenant_id=row.tenant_id,
            tried=row.tried,
        )
        for row in await session.rows("plan_jobs", id=batch_id, every=every)
    ]


async def store(session: Session, due: DueBatch, plan: StoredPlan, *, again_s: float) -> bool:
    """Put a plan into force. False where another one was made meanwhile, or the batch has ended.

    `again_s`: until it is looked at again.
    """
    return bool(
        await session.rows(
            "plan_store",
            id=due.id,
            before=due.plan,
            hash=plan.hash,
            document=json.dumps(plan.document),
            quoted=None if plan.quoted is None else json.dumps(plan.quoted),
            note=plan.note,
            again_s=again_s,
        )
    )


async def stop(session: Session, batch_id: UUID, *, message: str) -> bool:
    """Have a batch cancelled since its goal cannot be kept. False where it has ended, or is being cancelled."""
    error = {"code": "budget_exceeded", "message": message, "param": "budget_usd", "line": None}
    return bool(await session.rows("plan_stop", id=batch_id, note=message, errors=json.dumps([error])))


async def keep(session: Session, due: DueBatch, *, note: str | None, again_s: float) -> bool:
    """No new plan: the jobs go on by the one they have, or, where they have no budget to keep, without.

    `note`: why nothing meets the goal, None where it is met. False where another plan was made meanwhile, or the batch has ended.
    """
    return bool(await session.rows("plan_keep", id=due.id, before=due.plan, note=note, again_s=again_s))


async def make_due(session: Session, *, catalog: str) -> int:
    """Have every batch planned again that was planned under another catalog than this one (a hash). How many."""
    return len(await session.rows("plan_due", catalog=catalog))


async def get(session: Session, batch_id: UUID, *, tenant_id: str) -> Row[Any] | None:
    """A batch's plan and what came of it; None where the tenant has no such batch."""
    return await session.row("plan_get", id=batch_id, tenant_id=tenant_id)


async def documents(session: Session, hashes: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Plans as they were stored, by hash: each `plan`, and the `latencies` that it counts on."""
    return {row.hash: row.document for row in await session.rows("plans_load", hashes=sorted(hashes))}


async def prices(session: Session, hashes: Collection[str]) -> dict[str, Prices]:
    """What plans say to the single decision, by hash."""
    if not hashes:
        return {}
    return {name: _prices(name, document) for name, document in (await documents(session, hashes)).items()}


def _prices(name: str, document: Mapping[str, Any]) -> Prices:
    priced = {key: document["plan"][key] for key in ("quality_usd", "softness_usd", "tolls")}
    return Prices.from_json({"plan": name, "latencies": document["latencies"], **priced})
