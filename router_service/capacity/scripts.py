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


@cache
def source(action: str) -> str:
    """The text of an action, with what all share before it."""
    folder = resources.files("router_service.capacity")
    return "".join(folder.joinpath(f"{name}.lua").read_text() for name in ("scope", action))


@cache
def digest(action: str) -> str:
    """Redis' name for the text."""
    return hashlib.sha1(source(action).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """The actions over one Redis. Raises UnavailableError where it cannot be asked."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def run(self, *asked: tuple[str, Mapping[str, Any]]) -> Sequence[Any]:
        """Run actions in order, in one round trip. A server that does not know a text yet is given it, and asked again."""
        with unavailable():
            replies = await self._ask(asked)
            missing = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
            if missing:
                for index in missing:
                    await self._redis.script_load(source(asked[index][0]))
                again = await self._ask([asked[index] for index in missing])
                for index, reply in zip(missing, again, strict=True):
                    replies[index] = reply
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    async def _ask(self, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for action, question in asked:
                pipe.evalsha(digest(action), 1, GATE, json.dumps(question, separators=(",", ":")))
            return await pipe.execute(raise_on_error=False)
