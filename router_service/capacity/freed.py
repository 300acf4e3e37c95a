"""Hears of slots that came free: settle.lua announces them where somebody was told to wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import FREED_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

SILENCE_S = 1.0


async def listen(redis: Redis, heard: Callable[[str], None]) -> None:
    """Call `heard` with the name of each scope, without end. Raises UnavailableError where the connection is lost."""
    with unavailable():
        async with redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(FREED_CHANNEL)
            while True:
                message = await channel.get_message(timeout=SILENCE_S)
                if message is not None:
                    heard(message["data"].decode())
