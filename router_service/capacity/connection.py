"""The one way to Redis: bounded waits, so that a silent server is an error and not a hang."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from router_service.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MOST_CONNECTIONS = 20
CANCEL_AGAIN_S = 0.1


def connect(redis_url: str, *, name: str) -> Redis:
    """A client for a `redis://`, `rediss://` or `unix://` URL. Raises SettingsError on any other kind."""
    if not redis_url:
        raise SettingsError("WAYBILL_REDIS_URL is not set; give redis://:password@host/0, or use `waybill up`")
    try:
        pool = BlockingConnectionPool.from_url(
            redis_url,
            max_connections=MOST_CONNECTIONS,
            timeout=5,
            client_name=name,
            socket_timeout=5,
            socket_connect_timeout=5,
            health_check_interval=15,
            retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), retries=2),
            retry_on_error=[RedisConnectionError],
        )
        return Redis.from_pool(pool)
    except ValueError as error:
        raise SettingsError(f"WAYBILL_REDIS_URL: {error}") from error


@contextmanager
def unavailable() -> Iterator[None]:
    """Map redis-py's errors to ours. Raises UnavailableError."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise UnavailableError("redis", f"Redis is not available: {error}") from error


async def end_loops(loops: Collection[asyncio.Task[None]]) -> None:
    """Cancel the endless tasks of a process and wait for their end, asking again where that was not heard.

    redis-py sends with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that comes as it returns
    (python/cpython#86296).
    """
    left = set(loops)
    while left:
        for loop in left:
            loop.cancel()
        _ended, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*loops, return_exceptions=True)
