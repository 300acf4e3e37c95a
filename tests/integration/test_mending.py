"""The live counters after Redis lost them: whatever runs or was begun of late counts again before anything more may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from router_service.jobs.states import JobState
from router_service.store.calls import Finish
from tests.support.catalogs import catalog_of, entry
from tests.support.steps import answered, gone_wrong
from workers.mending import has_day_limits

if TYPE_CHECKING:
    import redis

    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

LIMITED = entry(
    "alpha",
    params={"max_parallel_requests": 5, "rpm": 600, "rpd": 1000, "tpd": 100_000},
    router={"limit_group": "account"},
)
CAPPED = {"tenants": {"acme": {"max_parallel_requests": 4, "rpm": 300, "tpd": 50_000}}}


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
    live = await workers.live()
    assert (live.in_flight, live.waiting) == (3, 0)
    assert await steps.claim([(ids[ticket[0]], ticket[1]) for ticket in tickets[3:]]) == []
    await workers.route()
    live = await workers.live()
    assert (live.in_flight, live.waiting) == (3, 7)
    assert len([ticket for message in workers.pull("model.alpha") for ticket in message]) == 7
    await steps.finish(*(answered(claim) for claim in claims))
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 3


async def test_counters_that_are_whole_are_left_alone(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=2)
    await workers.route()
    await workers.janitor.mend_counters()
    assert (await workers.live()).waiting == 2
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
    await one.runtime.tallies.flush()
    await other.runtime.tallies.flush()
    assert (await one.runtime.tallies.read())["recovered", (("what", "counters"),)] == 1


async def test_a_rate_that_redis_forgot_is_busy_for_what_was_given_of_late(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 1}))
    await steps.accept(count=1)
    await workers.work("alpha")
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 1
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    live = await workers.live()
    assert (live.in_flight, live.rate, live.rate_wait_s > 50) == (0, "rpm", True)
    await steps.accept(count=1)
    await workers.route()
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'queued'") == 1


def slots(admin_redis: redis.Redis, scope: str) -> int:
    return int(admin_redis.zcard(f"waybill:slots:{scope}"))


def given(admin_redis: redis.Redis, scope: str, rate: str) -> float:
    return float(admin_redis.hget(f"waybill:state:{scope}", f"{rate}:sum") or 0)


async def test_calls_count_again_for_their_model_its_group_their_tenant_and_their_batch(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(LIMITED, router=CAPPED)
    batch_id, (_line,) = await steps.batch(1)
    await sql.rows("UPDATE batches SET max_parallel_requests = 2")
    await steps.run_on()
    await steps.running(count=1)
    (done,) = await steps.running(count=1)
    await steps.finish(answered(done, tokens_in=7, tokens_out=3))
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    scopes = ("model:alpha", "group:account", "tenant:acme")
    assert [slots(admin_redis, scope) for scope in (*scopes, f"batch:{batch_id.hex}")] == [2, 2, 2, 1]
    assert [given(admin_redis, scope, "rpm") for scope in scopes] == [3, 3, 3]
    assert [given(admin_redis, scope, "rpd") for scope in scopes] == [3, 3, 0]
    assert [given(admin_redis, scope, "tpd") for scope in scopes] == [38, 38, 38], (
        "10 counted, and two estimates of 10, of which each was 7: a tenth more than that"
    )


async def test_what_was_begun_minutes_ago_counts_for_the_day_alone(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(LIMITED)
    (done,) = await steps.running(count=1)
    await steps.finish(answered(done))
    await sql.rows("UPDATE attempts SET started_at = now() - interval '5 min'")
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    assert [given(admin_redis, "model:alpha", rate) for rate in ("rpm", "rpd", "tpd")] == [0, 1, 10]


async def test_a_claim_that_led_to_no_call_counts_as_none(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(LIMITED)
    (claim,) = await steps.running(count=1)
    await steps.finish(Finish(id=claim.id, attempt=claim.attempt, state=JobState.QUEUED, outcome="uncalled"))
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    assert slots(admin_redis, "model:alpha") == 0
    assert [given(admin_redis, "model:alpha", rate) for rate in ("rpm", "rpd", "tpd")] == [0, 0, 0]


async def test_a_call_of_a_model_that_left_the_catalog_does_not_stop_the_mending(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("beta"))
    await steps.running(count=1)
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    assert await workers.runtime.limiter.is_open()
    assert slots(admin_redis, "model:alpha") == 1


@pytest.mark.parametrize(
    ("entries", "settings", "has"),
    [
        ([entry("a", params={"rpm": 1, "tpm": 1})], {}, False),
        ([entry("a"), entry("b", params={"rpd": 1})], {}, True),
        ([entry("a", params={"tpd": 1})], {}, True),
        ([entry("a")], {"router": {"tenants": {"*": {"tpd": 5}}}}, True),
        ([entry("a")], {"router": {"tenants": {"*": {"tpm": 5}}}}, False),
    ],
)
def test_a_day_is_looked_back_only_where_something_is_limited_by_the_day(
    entries: list[dict[str, Any]], settings: dict[str, Any], *, has: bool
) -> None:
    assert has_day_limits(catalog_of(*entries, **settings)) is has


async def test_answers_without_a_limit_count_as_a_worker_reserves_them(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    """By the mean of those that were told, and somewhat more; before any was told by what is typical."""
    workers = await open_workers(entry("alpha", params={"otpm": 100_000, "itpm": 100_000}))
    await steps.running(count=3, tokens_in=10)
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    assert given(admin_redis, "model:alpha", "otpm") == 3 * 512
    assert given(admin_redis, "model:alpha", "itpm") == 30
    (told,) = await steps.running(tokens_in=10)
    await steps.finish(answered(told, tokens_in=20, tokens_out=100))
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    assert given(admin_redis, "model:alpha", "otpm") == 3 * (150 + 1) + 100
    assert given(admin_redis, "model:alpha", "itpm") == 3 * 22 + 20, (
        "its prompts have twice as many as was estimated, and a tenth"
    )
    assert (await workers.live()).measures.real_out == 100


async def test_a_model_that_said_wait_is_waited_for_after_redis_forgot_it(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(LIMITED, entry("beta", router={"limit_group": "account"}))
    (claim,) = await steps.running()
    throttled = gone_wrong(
        claim, JobState.RETRY_WAIT, outcome="throttled", status_code=429, counted=False, delay_s=40.0
    )
    await steps.finish(throttled)
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    for model in ("alpha", "beta"):
        assert 38 < (await workers.live(model)).paused_s <= 40


async def test_what_workers_count_is_not_corrected_by_how_far_off_estimates_were(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha", router={"tokenizer": "o200k_base"}))
    (told,) = await steps.running(tokens_in=10)
    await steps.finish(answered(told, tokens_in=20, tokens_out=100))
    admin_redis.flushall()
    await workers.janitor.mend_counters()
    assert (await workers.live()).measures.tokens_in(1000, is_counted=True) == 1000
