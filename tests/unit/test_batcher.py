from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from workers.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence


class Doubling:
    """Doubles numbers and remembers its groups; waits at the gate before each."""

    def __init__(self, *, fails: bool = False) -> None:
        self.groups: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._fails = fails

    async def run(self, items: Sequence[int]) -> Sequence[int]:
        self.groups.append(list(items))
        await self.gate.wait()
        if self._fails:
            raise OSError("the group is lost")
        return [item * 2 for item in items]


async def test_each_submitter_gets_its_own_answer() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.run)
    assert await asyncio.gather(*map(batcher.submit, range(50))) == [number * 2 for number in range(50)]


async def test_what_is_submitted_together_goes_out_together() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.run)
    await asyncio.gather(*map(batcher.submit, [3, 1, 2]))
    assert doubling.groups == [[3, 1, 2]]


async def test_what_arrives_during_a_group_is_the_next_group() -> None:
    doubling = Doubling()
    doubling.gate.clear()
    batcher = Batcher(doubling.run)
    first = asyncio.create_task(batcher.submit(1))
    while not doubling.groups:
        await asyncio.sleep(0)
    later = [asyncio.create_task(batcher.submit(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    doubling.gate.set()
    assert await asyncio.gather(first, *later) == [2, 4, 6]
    assert doubling.groups == [[1], [2, 3]]


async def test_a_group_is_never_larger_than_allowed() -> None:
    doubling = Doubling()
    batcher = Batcher(doubling.run, most=2)
    await asyncio.gather(*map(batcher.submit, range(5)))
    assert doubling.groups == [[0, 1], [2, 3], [4]]


async def test_an_error_reaches_every_submitter_of_its_group_and_no_later_one() -> None:
    doubling = Doubling(fails=True)
    batcher = Batcher(doubling.run)
    errors = await asyncio.gather(*map(batcher.submit, [1, 2]), return_exceptions=True)
    assert [type(error) for error in errors] == [OSError, OSError]
    doubling._fails = False
    assert await batcher.submit(4) == 8


async def test_a_submitter_that_gave_up_does_not_hold_up_the_others() -> None:
    doubling = Doubling()
    doubling.gate.clear()
    batcher = Batcher(doubling.run)
    gone, stays = (asyncio.create_task(batcher.submit(number)) for number in (1, 2))
    while not doubling.groups:
        await asyncio.sleep(0)
    gone.cancel()
    doubling.gate.set()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_an_error_after_a_submitter_gave_up_reaches_the_others() -> None:
    doubling = Doubling(fails=True)
    doubling.gate.clear()
    batcher = Batcher(doubling.run)
    gone, stays = (asyncio.create_task(batcher.submit(number)) for number in (1, 2))
    while not doubling.groups:
        await asyncio.sleep(0)
    gone.cancel()
    doubling.gate.set()
    with pytest.raises(OSError, match="lost"):
        await stays


async def test_answers_that_do_not_match_the_items_reach_the_submitters_as_an_error() -> None:
    async def forgetful(items: Sequence[int]) -> Sequence[int]:
        return items[:0]

    batcher = Batcher(forgetful)
    answers = asyncio.gather(*map(batcher.submit, [1, 2]), return_exceptions=True)
    async with asyncio.timeout(5):
        assert [type(answer) for answer in await answers] == [ValueError, ValueError]
