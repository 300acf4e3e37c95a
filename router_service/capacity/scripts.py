"""Runs the Lua files: one atomic action each, a JSON object in, a value out."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from router_service.capacity.connection import unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

PREFIX = "waybill"
GATE = f"{PREFIX}:gate"
LOSS = f"{PREFIX}:loss"
LOSS_KEPT_S = 3600
ACTIONS = ("place", "leave", "reserve", "settle", "renew", "learn", "snapshot", "rebuild")


@cache
def source(action: str) -> str:
    """The text of an action, with what all share before it."""
    folder = resources.files("router_service.capacity")
    return "".join(folder.joinpath(f"{name}.lua").read_text() for name in ("scope", action))


@cache
def digest(action: str) -> str:
    """Redis' name for the text."""
    return hashlib.sha1(source(action).encode(), usedforsecurity=False).hexdigest()


async def run_id(redis: Redis) -> str:
    """What a server calls its life from its start to its end."""
    return str((await redis.info("server"))["run_id"])


class Scripts:
    """The actions over one Redis. Raises UnavailableError where it cannot be asked."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._is_loaded = False

    async def run(self, *asked: tuple[str, Mapping[str, Any]]) -> Sequence[Any]:
        """Run actions in order, in one round trip. A server that does not know a text yet is given it, and asked again."""
        with unavailable():
            if not self._is_loaded:
                await self._load()
            replies = await self._ask(asked)
            missing = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if missing:
                await self._load()
                again = await self._ask([asked[index] for index in missing])
                for index, reply in zip(missing, again, strict=True):
                    replies[index] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    async def _load(self) -> None:
        """Give the server all texts.

        No server keeps them over its end: one that has none may have come back with counters of an earlier moment. So the gate
        is looked at before, and nothing is reserved of those even until somebody rebuilds them.
        """
        gate = await self._redis.get(GATE)
        if gate is not None and gate != (await run_id(self._redis)).encode():
            await self._redis.delete(GATE)
        async with self._redis.pipeline(transaction=False) as pipe:
            for action in ACTIONS:
                pipe.script_load(source(action))
            await pipe.execute()
        self._is_loaded = True

    async def _ask(self, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for action, question in asked:
                pipe.evalsha(digest(action), 1, GATE, json.dumps(question, separators=(",", ":")))
            return await pipe.execute(raise_on_error=False)
