"""A worker's hold on its calls: the lease of the row and the slot in Redis, each renewed by itself, and what ends them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import psycopg

from router_service.capacity.limiter import reservation
from router_service.jobs.states import JobState
from router_service.policy.outcomes import ModelUnfit
from router_service.store import jobs
from tests.support.catalogs import entry
from tests.support.polling import until
from tests.support.steps import TENANT
from tests.support.workers import HeldProvider, ScriptedProvider

if TYPE_CHECKING:
    import redis

    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers

SLOTS = "waybill:slots:model:alpha"


async def test_renewing_keeps_a_long_call_alive(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    await provider.called()
    await sql.rows("UPDATE jobs SET lease_until = now() + interval '10 ms'")
    await workers.provider._renew()
    assert await sql.value("SELECT lease_until > now() + interval '10 s' FROM jobs")
    provider.let_go()
    await call
    assert await sql.value("SELECT state FROM jobs") == "succeeded"


async def expiry(admin_redis: redis.Redis, sql: Sql) -> float:
    """When the slot of the one job expires, ms of Redis time."""
    name = reservation((await sql.value("SELECT id FROM jobs")).hex, 1)
    return cast("float", admin_redis.zscore(SLOTS, name))


async def test_renewing_prolongs_the_slot_of_a_call_and_not_its_row(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    await provider.called()
    granted = await expiry(admin_redis, sql)
    soon_ms = granted - 15_000
    admin_redis.zadd(SLOTS, {reservation((await sql.value("SELECT id FROM jobs")).hex, 1): soon_ms})
    lease = await sql.value("SELECT lease_until FROM jobs")
    await workers.provider._renew_slots()
    assert await expiry(admin_redis, sql) >= granted
    assert await sql.value("SELECT lease_until FROM jobs") == lease
    provider.let_go()
    await call


async def test_a_call_of_a_cancelled_job_is_stopped_at_the_next_renewal_and_keeps_its_slot_for_its_lease(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 1.0})
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    await provider.called()
    job_id = await sql.value("SELECT id FROM jobs")
    async with database.transaction() as session:
        await jobs.cancel(session, job_id, tenant_id=TENANT)
    await workers.provider._renew()
    async with asyncio.timeout(10):
        await call
    assert await sql.state(job_id) == "cancelled"
    await workers.settled()
    assert await workers.in_flight() == 1
    await workers.idle()


async def test_a_ready_job_that_was_cancelled_is_let_go_at_the_next_renewal(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}), adapter=provider)
    tasks = workers.calling(*await workers.routed(steps, count=2))
    await until(lambda: _is(sql, "count(*) = 2 FROM jobs WHERE state = 'running'"))
    await provider.called()
    called = await sql.value("SELECT id FROM jobs WHERE NOT id = ANY (%s)", [each.claim.id for each in ready(workers)])
    (waiting,) = [each.claim.id for each in ready(workers)]
    async with database.transaction() as session:
        await jobs.cancel(session, waiting, tenant_id=TENANT)
    await workers.provider._renew()
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    provider.let_go()
    await asyncio.gather(*tasks)
    assert len(provider.calls) == 1
    assert [await sql.state(each) for each in (called, waiting)] == ["succeeded", "cancelled"]
    await workers.idle()


def ready(workers: Workers) -> list[Any]:
    return workers.provider._desks["alpha"]._ready


async def _is(sql: Sql, fact: str) -> bool:
    return bool(await sql.value(f"SELECT {fact}"))


async def test_a_call_whose_slot_is_gone_is_cut_off_and_its_job_queued_again(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    await provider.called()
    admin_redis.delete(SLOTS)
    await workers.provider._renew_slots()
    async with asyncio.timeout(10):
        await call
    assert await sql.one("SELECT state, tries FROM jobs") == {"state": "queued", "tries": 0}
    assert await sql.value("SELECT outcome FROM attempts") == "returned"


async def test_a_call_goes_on_while_the_counters_are_lost_and_keeps_its_slot_when_they_are_back(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    await provider.called()
    admin_redis.flushall()
    await workers.provider._renew_slots()
    await workers.janitor.mend_counters()
    await workers.provider._renew_slots()
    assert await workers.in_flight() == 1
    provider.let_go()
    await call
    assert await sql.value("SELECT state FROM jobs") == "succeeded"
    await workers.idle()


async def test_only_calls_that_could_not_be_renewed_for_nearly_a_lease_are_cut_off(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 0.6})
    tasks = workers.calling(*await workers.routed(steps, count=2))
    await provider.called(2)
    old, young = workers.provider._jobs.values()
    kept_at = young.kept_at = young.kept_at + 60
    admin_redis.client_pause(20_000, all=False)
    try:
        for _renewal in range(5):
            await workers.provider._renew_slots()
    finally:
        admin_redis.client_unpause()
    assert (old.cut, young.cut, young.kept_at) == (True, False, kept_at)
    await old.done.wait()
    provider.let_go()
    await asyncio.gather(*tasks)
    states = await sql.rows("SELECT state, count(*) AS jobs FROM jobs GROUP BY 1")
    assert {row["state"]: row["jobs"] for row in states} == {"queued": 1, "succeeded": 1}


async def test_a_worker_that_slept_past_its_lease_overwrites_nothing(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    late = asyncio.create_task(workers.provider.call(*message))
    await provider.called()
    await sql.rows("UPDATE jobs SET state = 'retry_wait', available_at = now(), lease_until = NULL")
    await sql.rows("UPDATE attempts SET ended_at = now(), outcome = 'lost'")
    await workers.janitor.queue_due_retries()
    await workers.route()
    (second,) = workers.messages("model.alpha")
    rescue = asyncio.create_task(workers.provider.call(*second))
    await provider.called(2)
    provider.let_go()
    await asyncio.gather(late, rescue)
    assert await sql.value("SELECT count(*) FROM job_results") == 1
    assert await sql.value("SELECT state FROM jobs") == JobState.SUCCEEDED
    outcomes = await sql.rows("SELECT outcome FROM attempts ORDER BY attempt")
    assert [row["outcome"] for row in outcomes] == ["late", "answered"]
    await workers.idle()


async def test_the_answer_of_a_job_cancelled_meanwhile_is_paid_for_and_not_stored(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", cost=0.5), adapter=provider)
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    await provider.called()
    async with database.transaction() as session:
        await jobs.cancel(session, await sql.value("SELECT id FROM jobs"), tenant_id=TENANT)
    provider.let_go()
    await call
    assert await sql.value("SELECT state FROM jobs") == "cancelled"
    assert await sql.rows("SELECT * FROM job_results") == []
    assert await sql.one("SELECT outcome, cost_usd::float8 FROM attempts") == {"outcome": "late", "cost_usd": 6.0}
    await workers.idle()


async def test_finishes_are_written_while_redis_is_away_and_settled_when_it_is_back(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    tasks = workers.calling(*await workers.routed(steps, count=3))
    await provider.called(3)
    admin_redis.client_pause(20_000, all=False)
    try:
        provider.let_go()
        async with asyncio.timeout(3):
            await asyncio.gather(*tasks)
        assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 3
    finally:
        admin_redis.client_unpause()
    await workers.idle()


async def test_a_renewal_does_not_cut_off_a_finish_that_waits_for_the_database(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database_url: str
) -> None:
    answered = asyncio.Event()

    async def unfit(_model: Model, _attempt: int) -> Outcome:
        await answered.wait()
        return ModelUnfit(code="http_401", message="no", status_code=401)

    provider = ScriptedProvider(unfit)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)
    await until(lambda: _is(sql, "state = 'running' FROM jobs"))
    (job,) = workers.provider._jobs.values()
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("SELECT 1 FROM jobs FOR UPDATE")
        answered.set()
        await workers.idle()
        assert not call.done()
        await workers.provider._renew_slots()
        await other.rollback()
    await call
    assert (job.ended, job.cut) == (True, False)
    assert len(workers.pull("dlq.alpha")) == 1
