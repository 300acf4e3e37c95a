"""The tags of fair queueing that all routers share, in Redis. Their loss makes all tenants even again, and nothing worse."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from router_service.capacity.connection import unavailable
from router_service.routing.fairness import Tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis.asyncio import Redis

    from router_service.routing.fairness import Charge

KEY = "waybill:fair"
MOST_TENANTS = 10_000
TIME = "v"


class Fair:
    """Read the tags before a pass; after it add what was really routed. Two routers at once add up.

    Raises UnavailableError where Redis cannot be asked.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._charge = redis.register_script(
            resources.files("router_service.capacity").joinpath("charge.lua").read_text()
        )

    async def read(self, tenants: Iterable[str]) -> Tags:
        """The virtual time and the finish tags of these tenants."""
        names = sorted(set(tenants))
        with unavailable():
            now, *finish = await self._redis.hmget(KEY, [TIME, *map(_field, names)])
        return Tags(
            virtual_time=float(now or 0.0),
            finish={name: float(tag) for name, tag in zip(names, finish, strict=True) if tag is not None},
        )

    async def charge(self, owed: Mapping[str, Charge]) -> None:
        """Add what tenants were served."""
        if not owed:
            return
        arguments: list[str | float] = [MOST_TENANTS]
        for tenant_id, charge in sorted(owed.items()):
            arguments += [tenant_id, charge.amount, charge.last]
        with unavailable():
            await self._charge(keys=[KEY], args=arguments)


def _field(tenant_id: str) -> str:
    return f"t:{tenant_id}"
