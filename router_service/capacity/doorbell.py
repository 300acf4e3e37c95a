"""Wakes the router: a message in the `route` queue, at most one at a time. A lost one is replaced by the router's tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.capacity.connection import unavailable
from router_service.capacity.scripts import PREFIX
from router_service.tickets import ROUTE_QUEUE, ROUTE_TASK, Message

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from router_service.tickets import Publisher

KEY = f"{PREFIX}:doorbell"
FORGET_MS = 1000


class Doorbell:
    """Rung by whoever made work for the router."""

    def __init__(self, redis: Redis, publisher: Publisher) -> None:
        self._redis = redis
        self._publisher = publisher

    async def ring(self) -> None:
        """Send a message unless one is on its way. Raises UnavailableError where Redis or the broker is down."""
        with unavailable():
            first = await self._redis.set(KEY, "1", nx=True, px=FORGET_MS)
        if first:
            await self._publisher.publish([Message(queue=ROUTE_QUEUE, task=ROUTE_TASK)])

    async def heard(self) -> None:
        """Called before the router looks for work: what is rung for from now on needs a new message."""
        with unavailable():
            await self._redis.delete(KEY)
