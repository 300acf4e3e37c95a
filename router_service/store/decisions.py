"""Why jobs went where they went: what was read out of them, the counters that routing saw, and every decision with its inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

from router_service.routing.comparison import Comparison, Expected
from router_service.routing.insight import NOTHING
from router_service.routing.replay import Recorded, inputs_of
from router_service.signals.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Row

    from router_service.jobs.spec import RoutableJob
    from router_service.routing.decision import Decision
    from router_service.routing.insight import Insight
    from router_service.store.session import Session

Stored: TypeAlias = "Row[Any]"  # a decision with its JSON unread
FIRST_MOMENT, LAST_MOMENT = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """A decision with what it was taken from. `snapshot` names the counters; None where none were looked at.

    `shadow`: what the shadow policy decided, on the jobs that it looks at. `versions`: of the plugins that decided, and of the
    public figures.
    """

    job: RoutableJob
    decision: Decision
    insight: Insight = NOTHING
    versions: Mapping[str, str] = field(default_factory=dict)
    snapshot: str | None = None
    shadow: Decision | None = None

    def as_json(self) -> dict[str, Any]:
        return evidence(self.decision) | {
            "id": str(self.job.id),
            "epoch": self.job.epoch,
            "reason": self.decision.reason,
            "model_id": self.decision.model_id,
            "snapshot": self.snapshot,
            "inputs": inputs_of(self.job, self.insight, versions=self.versions),
            "shadow": _shadow(self.shadow) if self.shadow else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which decisions of a tenant's: of a job, of a batch, of any; taken at `since` or later, before `until`.

    `shadow`: only those on which the shadow policy of that hash decided too.
    """

    tenant_id: str
    job_id: UUID | None = None
    batch_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    shadow: str | None = None


class Unread(NamedTuple):
    """A job whose request has not been read yet, and the size of that in UTF-8."""

    id: UUID
    body_bytes: int


def evidence(decision: Decision) -> dict[str, Any]:
    """What is stored of a decision: its policy, its catalog and every candidate."""
    return {
        "policy": decision.policy,
        "catalog": decision.catalog,
        "candidates": [candidate.as_json() for candidate in decision.candidates],
    }


def _shadow(decision: Decision) -> dict[str, Any]:
    expected = Expected.of(decision.model_id, [each.as_json() for each in decision.candidates])
    return {"policy": decision.policy, **expected._asdict()}


async def load_signals(session: Session, job_ids: Sequence[UUID]) -> tuple[dict[UUID, Signals], list[Unread]]:
    """What was read of these jobs before, and those whose requests have not been."""
    rows = await session.rows("signals_load", ids=sorted(job_ids))
    known = {row.job_id: Signals.from_json(row.signals) for row in rows if row.signals is not None}
    return known, [Unread(row.job_id, row.body_bytes) for row in rows if row.signals is None]


async def load_requests(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The bodies of these jobs' requests, as JSON. They may be large: ask for some at a time."""
    return {row.job_id: row.body for row in await session.rows("signals_requests", ids=sorted(job_ids))}


async def store_signals(session: Session, read: Mapping[UUID, Signals]) -> None:
    """What a job was read as stays, unless it is forgotten; a second reading changes nothing."""
    rows = [{"job_id": str(job_id), "signals": read[job_id].as_json()} for job_id in sorted(read)]
    await session.rows("signals_store", rows=json.dumps(rows))


async def forget_signals(session: Session, job_ids: Sequence[UUID], *, versions: Mapping[str, str]) -> None:
    """So that these jobs are read again. What was read by the very `versions` of the extractors stays."""
    await session.rows("signals_forget", ids=sorted(job_ids), versions=json.dumps(dict(versions)))


async def store_snapshots(session: Session, snapshots: Mapping[str, Mapping[str, Any]]) -> None:
    """By hash; of what is known already the stamp is renewed, once a day."""
    rows = [{"hash": name, "counters": counters} for name, counters in sorted(snapshots.items())]
    await session.rows("snapshot_store", rows=json.dumps(rows))


async def page(session: Session, selection: Selection, *, after: Stored | None, most: int) -> Sequence[Stored]:
    """Stored decisions after the one given, as `recorded` and `compared` read them.

    Those on a job by epoch, those on a batch by line, else the latest first. What a page costs does not depend on what lies
    before it, or belongs to others.
    """
    since, until = selection.since or FIRST_MOMENT, selection.until or LAST_MOMENT
    common = {"shadow": selection.shadow, "since": since, "until": until, "most": most}
    tenant_id, batch_id, job_id = selection.tenant_id, selection.batch_id, selection.job_id
    line, epoch = (after.line, after.epoch) if after else (-1, -1)
    if job_id is not None:
        return await session.rows(
            "decisions_of_job", **common, tenant_id=tenant_id, batch_id=batch_id, job_id=job_id, after_epoch=epoch
        )
    if batch_id is not None:
        return await session.rows(
            "decisions_of_batch", **common, tenant_id=tenant_id, batch_id=batch_id, after_line=line, after_epoch=epoch
        )
    return await session.rows(
        "decisions_of_tenant",
        **common,
        tenant_id=tenant_id,
        after_decided_at=after.decided_at if after else until,
        after_job_id=after.job_id if after else UUID(int=0),
        after_epoch=epoch,
    )


def recorded(row: Stored) -> Recorded:
    """A decision of a page. This reads JSON: work for a thread."""
    return Recorded(
        job_id=row.job_id,
        epoch=row.epoch,
        model_id=row.model_id,
        reason=row.reason,
        policy=row.policy,
        catalog=row.catalog,
        snapshot=row.snapshot,
        candidates=json.loads(row.candidates),
        inputs=json.loads(row.inputs),
    )


def compared(rows: Sequence[Stored], *, places: Mapping[str, str]) -> Comparison:
    """Decisions of a page beside those of the shadow policy. `places`: where models compute. This reads JSON."""
    comparison = Comparison()
    for row in rows:
        shadow = {name: value for name, value in json.loads(row.shadow).items() if name != "policy"}
        before = Expected.of(row.model_id, json.loads(row.candidates))
        comparison.add(before, Expected(**shadow), places=places)
    return comparison


async def snapshots(session: Session, hashes: Collection[str]) -> dict[str, str]:
    """The counters of all models under each of these hashes, as JSON."""
    return {row.hash: row.counters for row in await session.rows("snapshots_load", hashes=sorted(hashes))}
