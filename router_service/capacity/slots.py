"""Gives back the slots of jobs that left a model without a call of theirs to settle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import reservation
from router_service.errors import UnavailableError
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from router_service.capacity.limiter import Limiter

log = logger(__name__)


class Holder(Protocol):
    """A job that held a reservation of `model_id` under its `epoch`."""

    @property
    def id(self) -> UUID: ...

    @property
    def epoch(self) -> int: ...

    @property
    def model_id(self) -> str | None: ...


async def release(limiter: Limiter, holders: Iterable[Holder]) -> None:
    """Give back what they held, once the change of their rows is committed. Where it fails it expires by itself."""
    held: dict[str, list[str]] = {}
    for each in holders:
        held.setdefault(each.model_id or "", []).append(reservation(each.id.hex, each.epoch))
    for model_id, reservations in held.items():
        try:
            with unavailable():
                await limiter.release(model_id, reservations)
        except UnavailableError as error:
            log.warning("reservations are left to expire", model=model_id, count=len(reservations), error=str(error))
