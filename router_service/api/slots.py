"""Gives back the slots of jobs that were cancelled before their calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import reservation
from router_service.errors import UnavailableError
from router_service.jobs.states import JobState
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router_service.api.state import State
    from router_service.store.jobs import Moved

log = logger(__name__)


async def release(here: State, moved: Iterable[Moved]) -> None:
    """Give back what those that left ROUTED held, once that is committed. Where it fails it expires by itself."""
    for model_id, reservations in _held(moved).items():
        try:
            with unavailable():
                await here.limiter.release(model_id, reservations)
        except UnavailableError as error:
            log.info("reservations are left to expire", model=model_id, count=len(reservations), error=str(error))


def _held(moved: Iterable[Moved]) -> dict[str, list[str]]:
    """Reservations by model. A call that is running keeps its own until it ends."""
    held: dict[str, list[str]] = {}
    for each in moved:
        if each.left is JobState.ROUTED:
            held.setdefault(each.model_id or "", []).append(reservation(each.id.hex, each.epoch))
    return held
