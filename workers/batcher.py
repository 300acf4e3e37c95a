"""Group commit: work that arrives while the last group is under way goes out together as the next one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from router_service.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Calls `run` with at most `most` items at a time, one call after the other; each submitter gets its own answer.

    `run` returns one answer per item, in order. Where it raises UnavailableError every submitter of the group gets that; on
    any other error the items are run one by one, so that one that cannot be done does not take the others along.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]], *, most: int = 200) -> None:
        self._run = run
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            await asyncio.sleep(0)  # what became ready in this turn of the loop goes into the first group
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._flush(group)
        finally:
            self._worker = None

    async def _flush(self, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answered = list(zip(group, await self._run([item for item, _future in group]), strict=True))
        except Exception as error:  # noqa: BLE001 # handed to whoever waits for it
            if len(group) == 1 or isinstance(error, UnavailableError):
                _fail(group, error)
                return
        else:
            for (_item, future), answer in answered:
                if not future.done():
                    future.set_result(answer)
            return
        for pair in group:
            await self._flush([pair])


def _fail(group: Sequence[tuple[Item, asyncio.Future[Answer]]], error: Exception) -> None:
    for _item, future in group:
        if not future.done():
            future.set_exception(error)
