"""What the janitor mends. Every sweep is compare-and-set over rows that nobody else holds, so that two janitors do no harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_service.jobs.states import JobState
from router_service.store.jobs import Moved, moved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from router_service.store.session import Session

MOST = 1000
POISON_LEASES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldCall:
    """A call that its provider may be at, as the database knows it. `left_s`: how long its slot may be held."""

    id: UUID
    epoch: int
    model_id: str
    tenant_id: str
    batch_id: UUID | None
    batch_slots: int | None
    left_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOfLate:
    """What a model was given of a tenant, about so long ago.

    Of `told` of the requests the provider counted the tokens, whose prompts had been estimated at `estimated_in`. Of the others
    `untold_in` is the estimate of all their prompts, `untold_out` what their answers were limited to, but for the `unlimited`.
    """

    model_id: str
    tenant_id: str
    ago_s: float
    requests: int
    told: int
    tokens_in: int
    tokens_out: int
    estimated_in: int
    untold_in: int
    untold_out: int
    unlimited: int


async def expired_leases(session: Session, *, lease_s: float) -> Sequence[Moved]:
    """RUNNING -> RETRY_WAIT, or DEAD at the third lost lease. `left` holds the new state here: the caller rings for the dead."""
    rows = await session.rows("sweep_leases", lease_s=lease_s, most=MOST, poison=POISON_LEASES)
    return [moved(row) for row in rows]


async def stale_routed(session: Session, *, stale_s: float) -> Sequence[Moved]:
    """ROUTED -> QUEUED where the ticket was lost."""
    rows = await session.rows("sweep_routed", stale_s=stale_s, most=MOST)
    return [Moved(id=row.id, epoch=row.epoch, model_id=row.model_id, left=JobState.ROUTED) for row in rows]


async def due_retries(session: Session) -> int:
    """RETRY_WAIT -> QUEUED. How many."""
    return len(await session.rows("sweep_due", most=MOST))


async def lost_dead_letters(session: Session, *, stale_s: float) -> Sequence[Moved]:
    """DEAD jobs whose ticket must have been lost."""
    rows = await session.rows("sweep_dead", stale_s=stale_s, most=MOST)
    return [Moved(id=row.id, epoch=row.epoch, model_id=row.model_id, left=JobState.DEAD) for row in rows]


async def passed_deadlines(session: Session) -> Sequence[Moved]:
    """QUEUED, ROUTED, RETRY_WAIT or DEAD -> EXPIRED."""
    return [moved(row) for row in await session.rows("sweep_deadlines", most=MOST)]


async def cancel_batches(session: Session, *, batch_id: UUID | None = None) -> Sequence[Moved]:
    """Everything in cancelled batches that is not running -> CANCELLED."""
    return [moved(row) for row in await session.rows("sweep_cancelling", batch_id=batch_id)]


async def unticketed(session: Session) -> int:
    """After the loss of the broker: ROUTED -> QUEUED. How many."""
    return len(await session.rows("sweep_unticketed"))


async def held_calls(session: Session, *, lease_s: float) -> Sequence[HeldCall]:
    """Every call under way, and those given up within the last lease."""
    return [HeldCall(**row._mapping) for row in await session.rows("held_calls", lease_s=lease_s)]  # noqa: SLF001


async def given_of_late(session: Session, *, within_s: float, grain_s: float) -> Sequence[GivenOfLate]:
    """Calls begun within the last so many seconds, and their tokens, by model, tenant and age (rounded down to `grain_s`)."""
    rows = await session.rows("given_of_late", within_s=within_s, grain_s=grain_s)
    return [GivenOfLate(**row._mapping) for row in rows]  # noqa: SLF001


async def throttled_models(session: Session) -> Mapping[str, float]:
    """Models that said wait, and for how many seconds still."""
    return {row.model_id: row.left_s for row in await session.rows("throttled_models")}


async def expired_files(session: Session) -> int:
    """Delete files whose time is over. How many."""
    return len(await session.rows("sweep_files", most=MOST))
