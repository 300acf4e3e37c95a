"""What a crash leaves behind, and that one pass of the janitor mends it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from router_service.jobs.states import JobState
from tests.support.catalogs import entry
from tests.support.steps import answered, gone_wrong

if TYPE_CHECKING:
    import redis

    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps


async def test_after_redis_lost_everything_admission_is_shut_until_the_counters_are_back(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 5}))
    await steps.accept(count=10)
    await workers.route()
    tickets = [ticket for message in workers.pull("model.alpha") for ticket in message]
    ids = {row["id"].hex: row["id"] for row in await sql.rows("SELECT id FROM jobs")}
    claims = await steps.claim([(ids[ticket[0]], ticket[1]) for ticket in tickets[:3]])
    admin_redis.flushall()
    await workers.route()
    assert workers.pull("model.alpha") == []
    await workers.janitor.mend_counters()
    assert await workers.in_flight() == 3
    assert await steps.claim([(ids[ticket[0]], ticket[1]) for ticket in tickets[3:]]) == []
    await workers.route()
    assert await workers.in_flight() == 5
    assert len([ticket for message in workers.pull("model.alpha") for ticket in message]) == 2
    await steps.finish(*(answered(claim) for claim in claims))
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 3


async def test_counters_that_are_whole_are_left_alone(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=2)
    await workers.route()
    await workers.janitor.mend_counters()
    assert await workers.in_flight() == 2
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'routed'") == 2


async def test_two_janitors_mend_the_counters_once(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    one, other = await open_workers(entry("alpha")), await open_workers(entry("alpha"))
    await steps.running(count=4)
    admin_redis.flushall()
    await asyncio.gather(one.janitor.mend_counters(), other.janitor.mend_counters())
    assert await one.in_flight() == 4
    assert await one.runtime.limiter.is_open()


async def test_a_ticket_that_nobody_took_is_issued_anew_and_its_slot_comes_back(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=1)
    await workers.route()
    (old,) = workers.pull("model.alpha")
    await sql.rows("UPDATE jobs SET routed_at = now() - interval '1 h'")
    await workers.janitor.reissue_tickets()
    assert await workers.in_flight() == 0
    await workers.route()
    (new,) = workers.pull("model.alpha")
    assert (old[0][1], new[0][1]) == (1, 3)
    await workers.provider.call(old)
    assert await sql.value("SELECT state FROM jobs") == "routed"
    await workers.provider.call(new)
    assert await sql.value("SELECT state FROM jobs") == "succeeded"


async def test_a_dead_workers_call_is_taken_over_and_its_slot_comes_back(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 1e-6})
    await steps.accept(count=1)
    await workers.route()
    ((ticket,),) = workers.pull("model.alpha")
    await steps.claim([(await sql.value("SELECT id FROM jobs"), ticket[1])], lease_s=-1)
    assert await workers.in_flight() == 1
    await workers.janitor.take_over_leases()
    assert await workers.in_flight() == 0
    await workers.janitor.queue_due_retries()
    await workers.work("alpha")
    assert await sql.one("SELECT state, attempt FROM jobs") == {"state": "succeeded", "attempt": 2}


async def test_a_deadline_expires_a_waiting_job_and_frees_its_slot(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=1)
    await workers.route()
    await sql.rows("UPDATE jobs SET deadline = now()")
    await workers.janitor.expire()
    assert await sql.value("SELECT state FROM jobs") == "expired"
    assert await workers.in_flight() == 0
    await workers.call()
    assert await sql.value("SELECT count(*) FROM attempts") == 0


async def test_a_cancelled_batch_is_swept_and_ends(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 2}))
    batch_id, _ = await steps.batch(5)
    await workers.route()
    await sql.rows("UPDATE batches SET cancelling_at = now()")
    await workers.janitor.cancel()
    await workers.janitor.end_batches()
    assert await workers.in_flight() == 0
    ended = await sql.one("SELECT cancelled, ended_at IS NOT NULL AS ended FROM batches WHERE id = %s", batch_id)
    assert ended == {"cancelled": 5, "ended": True}


async def test_every_batch_that_is_done_ends_in_one_pass(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha"))
    for _batch in range(3):
        await steps.batch(2)
    claims = await steps.run_on(6)
    await steps.finish(*(answered(claim) for claim in claims[:5]), gone_wrong(claims[5], JobState.FAILED))
    await workers.janitor.end_batches()
    assert await sql.value("SELECT count(*) FROM batches WHERE ended_at IS NOT NULL") == 3
    assert await sql.value("SELECT count(*) FROM files") == 4


async def test_every_sweep_does_nothing_on_an_empty_house(open_workers: OpenWorkers) -> None:
    workers = await open_workers(entry("alpha"))
    janitor = workers.janitor
    for step in (
        janitor.mend_counters,
        janitor.take_over_leases,
        janitor.reissue_tickets,
        janitor.queue_due_retries,
        janitor.resend_dead_letters,
        janitor.expire,
        janitor.cancel,
        janitor.end_batches,
    ):
        await step()
