"""Which workers are alive: each tells Redis every second; one that falls silent is gone after three."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from router_service.capacity.scripts import PREFIX

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEY = f"{PREFIX}:workers"
SILENT_S = 3


class Presence:
    """A sorted set `<role>/<name>` -> last word (Redis time, seconds)."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def tell(self, *, role: str, name: str) -> None:
        now = await self._now()
        await self._redis.zadd(KEY, {f"{role}/{name}": now})
        await self._redis.zremrangebyscore(KEY, "-inf", now - 60)

    async def leave(self, *, role: str, name: str) -> None:
        await self._redis.zrem(KEY, f"{role}/{name}")

    async def alive(self) -> Counter[str]:
        """How many workers of each role spoke within the last seconds."""
        members = await self._redis.zrangebyscore(KEY, await self._now() - SILENT_S, "+inf")
        return Counter(str(member, "utf-8").partition("/")[0] for member in members if isinstance(member, bytes))

    async def _now(self) -> float:
        seconds, microseconds = await self._redis.time()
        return float(seconds) + microseconds / 1e6
