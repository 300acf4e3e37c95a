"""Desks of two workers over one Redis and one database: who gets a slot, who overtakes, and what goes back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from router_service.tickets import model_queue
from tests.support.catalogs import entry
from tests.support.polling import until
from tests.support.workers import GOOD, HeldProvider, always
from workers import desk as desk_module
from workers import starts as starts_module

if TYPE_CHECKING:
    import redis

    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers

ONE_SLOT = {"max_parallel_requests": 1}


async def pair(open_workers: OpenWorkers, *entries: dict[str, Any], adapter: Any, **settings: Any) -> list[Workers]:
    return [await open_workers(*entries, adapter=adapter, **settings) for _worker in range(2)]


async def work_off(sql: Sql, workers: list[Workers], *model_ids: str, patience_s: float = 20.0) -> None:
    """Route and hand tickets over in turn, as the broker would, until every job is done."""
    tasks: list[asyncio.Task[None]] = []

    async def all_done() -> bool:
        await workers[0].route()
        for model_id in model_ids:
            for number, message in enumerate(workers[0].messages(model_queue(model_id))):
                tasks.extend(workers[number % 2].calling(message))
        return not await sql.value("SELECT count(*) FROM jobs WHERE finished_at IS NULL")

    await until(all_done, patience_s=patience_s)
    await asyncio.gather(*tasks)


def body(word: str) -> str:
    return json.dumps({"model": "alpha", "messages": [{"role": "user", "content": word}]})


class Crowded(HeldProvider):
    """Answers a little later. `crowds` has the most calls at once of each word in their bodies."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.crowds = dict.fromkeys(words, 0)

    async def _answer(self, *_call: Any) -> Any:
        for word in self.crowds:
            self.crowds[word] = max(self.crowds[word], sum(word in each for each in self.under_way))
        await asyncio.sleep(0.01)
        return GOOD


async def test_a_slot_is_handed_on_to_another_worker_when_it_is_announced(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "LOOK_AGAIN_S", 60.0)
    provider = HeldProvider()
    one, other = await pair(open_workers, entry("alpha", params=ONE_SLOT), adapter=provider)
    first, second = await one.routed(steps, count=2)
    tasks = one.calling(first)
    await provider.called()
    listening = asyncio.create_task(other.provider._listen())
    tasks += other.calling(second)
    await until(lambda: _is_told(other))
    provider.let_go()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)
    assert (len(provider.calls), provider.most) == (2, 1)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def _is_told(workers: Workers) -> bool:
    """It has asked, and was told to wait for a call to end."""
    desk = workers.provider._desks.get("alpha")
    return desk is not None and desk._held_by == "slots"


async def test_a_slot_whose_announcement_is_lost_is_found_by_looking_again(
    open_workers: OpenWorkers, steps: Steps
) -> None:
    provider = HeldProvider()
    one, other = await pair(open_workers, entry("alpha", params=ONE_SLOT), adapter=provider)
    first, second = await one.routed(steps, count=2)
    tasks = one.calling(first)
    await provider.called()
    tasks += other.calling(second)
    await until(lambda: _is_told(other))
    provider.let_go()
    async with asyncio.timeout(5):
        await asyncio.gather(*tasks)
    assert provider.most == 1


async def test_two_workers_never_use_more_slots_than_the_model_has(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = Crowded("harbour")
    workers = await pair(open_workers, entry("alpha", params={"max_parallel_requests": 3}), adapter=provider)
    await steps.accept(count=40)
    await work_off(sql, workers, "alpha")
    assert (len(provider.calls), provider.most) == (40, 3)
    await workers[0].idle()


async def test_the_cap_of_a_tenant_holds_across_workers_and_holds_nobody_else_up(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = Crowded("capped", "free")
    workers = await pair(
        open_workers,
        entry("alpha", params={"max_parallel_requests": 6}),
        adapter=provider,
        router={"tenants": {"capped": {"max_parallel_requests": 2}}},
    )
    await steps.accept(count=20, tenant_id="capped", body=body("capped"))
    await steps.accept(count=20, tenant_id="free", body=body("free"))
    await work_off(sql, workers, "alpha")
    assert provider.crowds["capped"] == 2
    assert provider.crowds["free"] >= 4
    last = [
        next(index for index, each in enumerate(reversed(provider.bodies)) if word in each) for word in provider.crowds
    ]
    assert last[0] < last[1], "the capped tenant's jobs were the last"


async def test_the_cap_of_a_batch_holds_across_workers_and_holds_no_other_batch_up(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = Crowded("capped", "free")
    workers = await pair(open_workers, entry("alpha", params={"max_parallel_requests": 6}), adapter=provider)
    capped, _jobs = await steps.batch(12, body=body("capped"))
    await sql.rows("UPDATE batches SET max_parallel_requests = 1 WHERE id = %s", capped)
    await steps.batch(12, body=body("free"))
    await work_off(sql, workers, "alpha")
    assert provider.crowds["capped"] == 1
    assert provider.crowds["free"] >= 4


async def test_models_of_one_group_share_its_slots(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    provider = Crowded("harbour")
    shared: Any = {"params": {"max_parallel_requests": 2}, "router": {"limit_group": "account"}}
    workers = await pair(open_workers, entry("alpha", **shared), entry("beta", **shared), adapter=provider)
    await steps.accept(count=12, model="alpha")
    await steps.accept(count=12, model="beta")
    await work_off(sql, workers, "alpha", "beta")
    assert provider.most == 2
    assert {model_id for model_id, _attempt in provider.calls} == {"alpha", "beta"}
    await workers[0].idle("alpha", "beta")


async def test_interactive_jobs_overtake_what_waits_of_a_batch(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params=ONE_SLOT), adapter=provider)
    await steps.batch(3, body=body("batch"))
    await workers.route()
    tasks = workers.calling(*workers.messages("model.alpha"))
    await provider.called()
    tasks += workers.calling(*await workers.routed(steps, body=body("somebody waits")))
    await until(lambda: _is_ready(workers))
    for called in (2, 3):
        provider.let_go(1)
        await provider.called(called)
    provider.let_go()
    await asyncio.gather(*tasks)
    assert ["waits" in each for each in provider.bodies] == [False, True, False]


async def _is_ready(workers: Workers) -> bool:
    return any(job.ticket.urgent for job in workers.provider._desks["alpha"]._ready)


async def test_tickets_that_waited_too_long_go_back_as_they_came(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params=ONE_SLOT), adapter=provider)
    tasks = workers.calling(*await workers.routed(steps, count=3))
    await provider.called()
    desk = workers.provider._desks["alpha"]
    await until(lambda: _claimed(sql, 2))
    for _urgent, _number, job in desk._waiting:
        job.since -= desk_module.WAIT_MOST_S + 1
    await workers.provider._sort_out()
    rows = await sql.rows("SELECT state, epoch, attempt FROM jobs ORDER BY state")
    assert [tuple(row.values()) for row in rows] == [("queued", 2, 0), ("running", 1, 1), ("running", 1, 1)]
    (ready,) = desk._ready
    ready.ready_at -= desk_module.READY_MOST_S + 1
    await workers.provider._sort_out()
    assert await sql.value("SELECT outcome FROM attempts WHERE ended_at IS NOT NULL") == "uncalled"
    assert (await workers.live()).waiting == 0
    provider.let_go()
    await asyncio.gather(*tasks)
    await workers.work("alpha")
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 3
    assert await sql.value("SELECT max(tries) FROM jobs") == 0


async def _claimed(sql: Sql, count: int) -> bool:
    return bool(await sql.value("SELECT count(*) = %s FROM attempts", count))


async def test_what_waits_behind_a_long_call_stays_a_ticket(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts_module, "BUSY_S", 0.05)
    monkeypatch.setattr(desk_module, "LOOK_AGAIN_S", 0.02)
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params=ONE_SLOT), adapter=provider)
    tasks = workers.calling(*await workers.routed(steps, count=3))
    await provider.called()
    desk = workers.provider._desks["alpha"]
    await until(lambda: _target_is(workers, 0))
    for _turn in range(5):
        for job in desk._ready:
            job.ready_at -= desk_module.READY_MOST_S + 1
        await workers.provider._sort_out()
        await until(lambda: _target_is(workers, 0))
        await workers.route()
        tasks += workers.calling(*workers.messages("model.alpha"))
    assert await sql.value("SELECT max(attempt) FROM jobs") == 1
    assert await sql.value("SELECT count(*) FROM attempts") <= 2
    assert await sql.value("SELECT count(*) >= 2 FROM jobs WHERE state = 'routed'")
    provider.let_go()
    await asyncio.gather(*tasks)
    await workers.idle()


async def _target_is(workers: Workers, target: int) -> bool:
    return workers.provider._desks["alpha"]._target == target


@pytest.mark.parametrize("stop", ["pause", "shut"])
async def test_what_a_stopped_model_cannot_do_goes_back_at_once_and_its_places_with_it(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, stop: str
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    messages = await workers.routed(steps, count=5)
    limiter, model = workers.runtime.limiter, workers.runtime.offer.catalog.by_id["alpha"]
    await (limiter.pause(model, pause_s=60.0) if stop == "pause" else limiter.shut())
    async with asyncio.timeout(5):
        await asyncio.gather(*workers.calling(*messages))
    assert provider.calls == []
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'queued' AND tries = 0") == 5
    assert await sql.value("SELECT count(*) FROM attempts") == 1, "the one that was there to ask"
    live = await workers.live()
    assert (live.in_flight, live.waiting) == (0, 0)


async def test_a_breaker_that_opens_gives_back_what_waits(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    messages = await workers.routed(steps, count=5)
    seconds, _micros = admin_redis.time()
    admin_redis.hset("waybill:state:model:alpha", "broken_until", str(seconds * 1000 + 60_000))
    async with asyncio.timeout(5):
        await asyncio.gather(*workers.calling(*messages))
    assert provider.calls == []
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'queued' AND tries = 0") == 5


async def test_counters_lost_and_rebuilt_in_the_middle_of_calls_never_let_more_run_than_there_are_slots(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    workers = await pair(open_workers, entry("alpha", params={"max_parallel_requests": 3}), adapter=provider)
    await steps.accept(count=12)
    tasks: list[asyncio.Task[None]] = []

    async def hand_out() -> None:
        await workers[0].route()
        for number, message in enumerate(workers[0].messages("model.alpha")):
            tasks.extend(workers[number % 2].calling(message))

    await hand_out()
    await provider.called(3)
    for _loss in range(3):
        admin_redis.flushall()
        await hand_out()
        await workers[0].janitor.mend_counters()
        await hand_out()
        called = len(provider.calls)
        provider.let_go(1)
        await provider.called(called + 1)
        await hand_out()
    assert provider.most == 3
    provider.let_go()
    await work_off(sql, workers, "alpha")
    await asyncio.gather(*tasks)
    assert provider.most == 3
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 12
    assert await sql.value("SELECT count(*) FROM attempts WHERE outcome <> 'uncalled'") == 12
