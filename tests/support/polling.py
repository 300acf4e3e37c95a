"""Waiting for a fact with a bound, where a step cannot be called."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

POLL_S = 0.01


async def until(fact: Callable[[], Awaitable[bool]], *, patience_s: float = 10.0) -> None:
    """Raises AssertionError where it does not become true in time."""
    deadline = time.monotonic() + patience_s
    while not await fact():
        assert time.monotonic() < deadline, f"it did not become true within {patience_s:g} s"
        await asyncio.sleep(POLL_S)
