"""How a provider worker stops: what waits goes back at once, calls may end for a while, nothing is lost or counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.catalogs import entry
from tests.support.polling import until
from tests.support.workers import GOOD, HeldProvider, always

if TYPE_CHECKING:
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers


def with_settings(workers: Workers, **changes: float) -> None:
    workers.runtime.settings = workers.runtime.settings.model_copy(update=changes)


async def test_draining_cuts_calls_off_and_gives_them_back_uncounted(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    with_settings(workers, lease_s=1.0)
    tasks = workers.calling(*await workers.routed(steps, count=3))
    await provider.called(3)
    async with asyncio.timeout(10):
        await workers.provider.drain()
        await asyncio.gather(*tasks)
    rows = await sql.rows("SELECT state, tries, lost_leases FROM jobs")
    assert rows == [{"state": "queued", "tries": 0, "lost_leases": 0}] * 3
    assert {row["outcome"] for row in await sql.rows("SELECT outcome FROM attempts")} == {"returned"}
    await workers.settled()
    assert await workers.in_flight() == 3, "the provider may be at them still"
    await workers.idle()
    provider.let_go()
    await workers.work("alpha")
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 3


async def test_a_drain_gives_back_at_once_what_waits_and_lets_end_what_ends_in_time(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}), adapter=provider)
    with_settings(workers, drain_s=60.0)
    tasks = workers.calling(*await workers.routed(steps, count=4))
    await provider.called()
    drain = asyncio.create_task(workers.provider.drain())

    async def all_others_are_back() -> bool:
        return bool(await sql.value("SELECT count(*) = 3 FROM jobs WHERE state = 'queued'"))

    await until(all_others_are_back)
    assert not drain.done()

    async def their_places_are_free() -> bool:
        return (await workers.live()).waiting == 0

    await until(their_places_are_free)
    assert await sql.value("SELECT count(*) FROM attempts WHERE outcome = 'uncalled'") <= 1
    provider.let_go()
    async with asyncio.timeout(10):
        await asyncio.gather(drain, *tasks)
    assert len(provider.calls) == 1
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 1
    await workers.idle()


async def test_a_ticket_that_comes_during_the_drain_goes_back_too(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}), adapter=provider)
    with_settings(workers, drain_s=60.0)
    first, second = await workers.routed(steps, count=2)
    (call,) = workers.calling(first)
    await provider.called()
    drain = asyncio.create_task(workers.provider.drain())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await workers.provider.call(*second)
    provider.let_go()
    await asyncio.gather(drain, call)
    assert {row["state"] for row in await sql.rows("SELECT state FROM jobs")} == {"succeeded", "queued"}


async def test_a_call_granted_in_the_very_moment_of_the_drain_is_given_back_uncalled(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    async with asyncio.timeout(10):
        while not any(job.task for job in workers.provider._jobs.values()):
            await asyncio.sleep(0)  # turn by turn, so that the call's task is there and has not begun
        await workers.provider.drain()
        await call
    assert provider.calls == []
    assert await sql.one("SELECT state, tries, lost_leases FROM jobs") == {
        "state": "queued",
        "tries": 0,
        "lost_leases": 0,
    }
    assert await sql.value("SELECT outcome FROM attempts") == "uncalled"
    assert workers.provider._jobs == {}
    await workers.idle()


async def test_closing_settles_what_has_just_ended(open_workers: OpenWorkers, steps: Steps) -> None:
    workers = await open_workers(entry("alpha"), adapter=always(GOOD))
    tasks = workers.calling(*await workers.routed(steps, count=20))
    await asyncio.gather(*tasks)
    await workers.close()
    assert await workers.in_flight() == 0
