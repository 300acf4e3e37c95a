"""Summaries off the event loop, in a few processes of their own.

Ranking is pure Python and holds the interpreter lock: in a thread it would stall the calls in flight.
The processes are spawned and never forked, since the parent is a Celery worker with threads.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from router_service.errors import UnavailableError
from workers.providers.local.child import prepare
from workers.providers.local.summarize import summarize

if TYPE_CHECKING:
    from workers.providers.local.ranking import Tier


class SummaryProcessError(UnavailableError):
    """The summary's process died twice in a row; the text, or the machine's memory, is the likely cause."""

    def __init__(self) -> None:
        super().__init__("local", "a summarizer process died, and so did the one that took over the same text")


class SummaryProcesses:
    """A pool of at most `processes` children, started with the first call. To be used from one event loop."""

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise ValueError(f"processes is {processes}; at least 1 is needed")
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None
        self._closed = False

    async def summarize(self, text: str, *, tier: Tier, max_words: int, timeout_s: float) -> str:
        """See summarize.summarize. Raises TimeoutError, SummaryProcessError, RuntimeError after close()."""
        async with asyncio.timeout(timeout_s):
            try:
                return await self._run(text, tier=tier, max_words=max_words)
            except BrokenProcessPool:
                return await self._run_once_more(text, tier=tier, max_words=max_words)

    async def _run_once_more(self, text: str, *, tier: Tier, max_words: int) -> str:
        try:
            return await self._run(text, tier=tier, max_words=max_words)
        except BrokenProcessPool as error:
            raise SummaryProcessError from error

    async def _run(self, text: str, *, tier: Tier, max_words: int) -> str:
        pool = self._open()
        try:
            future = pool.submit(summarize, text, tier=tier, max_words=max_words)
            return await asyncio.wrap_future(future)
        except BrokenProcessPool:
            self._discard(pool)
            raise

    def _open(self) -> ProcessPoolExecutor:
        if self._closed:
            raise RuntimeError("the summary processes are closed")
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                max_workers=self._processes,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=prepare,
            )
        return self._pool

    def _discard(self, pool: ProcessPoolExecutor) -> None:
        """Forget a broken pool once, however many calls were in it."""
        if self._pool is pool:
            self._pool = None
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Start nothing more and let the children end after what they are at. May be called twice."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
