"""How many messages wait in each queue, for metrics and `waybill models`. Only where the broker is a Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router_service.capacity.connection import connect, unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


class QueueLengths(Protocol):
    """Reads lengths of queues by name."""

    async def read(self, queues: Sequence[str]) -> dict[str, int]: ...

    async def close(self) -> None: ...


class RedisQueueLengths:
    """A kombu queue on Redis is a list of the queue's name."""

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url, name="waybill-queues")

    async def read(self, queues: Sequence[str]) -> dict[str, int]:
        with unavailable():
            async with self._redis.pipeline(transaction=False) as pipe:
                for queue in queues:
                    pipe.llen(queue)
                return dict(zip(queues, await pipe.execute(), strict=True))

    async def close(self) -> None:
        await self._redis.aclose()


def redis_url_of(broker_url: str) -> str | None:
    """redis-py's form of kombu's broker URL, None where the broker is no Redis."""
    scheme, separator, rest = broker_url.partition("://")
    if not separator:
        return None
    if scheme in {"redis", "rediss", "unix"}:
        return broker_url
    if scheme == "redis+socket":
        return f"unix://{rest.replace('virtual_host=', 'db=')}"
    return None
