"""The routing worker's pass over real rows and counters: what fits is routed, the rest stays queued."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from router_service.errors import UnavailableError
from router_service.tickets import decode, model_queue
from tests.support.catalogs import entry
from tests.support.polling import until
from workers.insights import Insights
from workers.router import Router
from workers.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from router_service.settings import Settings
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

QUEUE = model_queue("alpha")


async def count(sql: Sql, state: str) -> int:
    return int(await sql.value("SELECT count(*) FROM jobs WHERE state = %s", state))


async def test_about_a_second_of_work_beyond_the_slots_is_routed_and_the_rest_stays_queued(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 3}))
    await steps.batch(10)
    await workers.router.route_all()
    assert (await count(sql, "routed"), await count(sql, "queued")) == (6, 4)
    live = await workers.live()
    assert (live.in_flight, live.waiting) == (0, 6)
    await workers.router.route_all()
    assert await count(sql, "routed") == 6


async def test_interactive_jobs_find_a_place_where_the_queue_is_full(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 3}))
    await steps.batch(10)
    await workers.router.route_all()
    made = await steps.accept(count=8)
    await workers.router.route_all()
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'routed' AND batch_id IS NULL") == 6
    assert await sql.state(made[0].id) == "routed"
    assert await count(sql, "routed") == 12


async def test_a_model_whose_breaker_is_half_open_gets_one_job(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha"))
    admin_redis.hset("waybill:state:model:alpha", "broken_until", "1")
    await steps.batch(10)
    await workers.router.route_all()
    assert await count(sql, "routed") == 1


async def test_the_places_of_a_capped_tenant_hold_nobody_else_up(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"), router={"tenants": {"capped": {"max_parallel_requests": 1}}})
    await steps.accept(count=30, tenant_id="capped")
    await steps.accept(count=10, tenant_id="free")
    await workers.router.route_all()
    rows = await sql.rows("SELECT tenant_id, count(*) AS jobs FROM jobs WHERE state = 'routed' GROUP BY 1")
    assert {row["tenant_id"]: row["jobs"] for row in rows} == {"capped": 6, "free": 10}


async def test_every_routed_job_has_one_ticket_and_one_decision(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"), entry("beta", cost=1.0))
    made = await steps.accept(count=5, model="auto")
    await workers.router.route_all()
    tickets = [ticket for message in workers.pull(QUEUE) for ticket in decode(message)]
    assert sorted(ticket.job_id for ticket in tickets) == sorted(job.id for job in made)
    assert {ticket.epoch for ticket in tickets} == {1}
    decisions = await sql.rows("SELECT model_id, reason, candidates FROM decisions")
    assert len(decisions) == 5
    assert {decision["model_id"] for decision in decisions} == {"alpha"}
    assert [each["model"] for each in decisions[0]["candidates"]] == ["alpha", "beta"]


async def test_a_full_model_does_not_hide_work_for_an_idle_one(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}), entry("beta"))
    await steps.batch(700)
    (beta,) = await steps.accept(count=1, model="beta")
    await workers.router.route_all()
    assert await sql.state(beta.id) == "routed"
    assert (await workers.live("alpha")).waiting == 2


async def test_what_finds_the_cheap_model_full_goes_to_the_next_one(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(
        entry("alpha", cost=1e-9, params={"max_parallel_requests": 2}), entry("beta", cost=1.1e-9)
    )
    await steps.batch(6, model="auto")
    await workers.router.route_all()
    rows = await sql.rows("SELECT model_id, count(*) AS jobs FROM jobs GROUP BY 1")
    assert {row["model_id"]: row["jobs"] for row in rows} == {"alpha": 4, "beta": 2}


async def test_a_model_with_a_rate_has_a_second_of_it_in_its_queue(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 600}))
    await steps.batch(50)
    await workers.router.route_all()
    assert await count(sql, "routed") == 10


async def test_a_paused_model_gets_nothing_until_its_pause_is_over(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha"))
    await workers.runtime.limiter.pause(workers.runtime.offer.catalog.by_id["alpha"], pause_s=60)
    await steps.accept(count=2)
    await workers.route()
    assert await count(sql, "queued") == 2
    admin_redis.hdel("waybill:state:model:alpha", "paused_until")
    await workers.route()
    assert await count(sql, "routed") == 2


async def test_nothing_is_routed_while_the_gate_is_shut(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=3)
    admin_redis.flushall()
    await workers.route()
    assert await count(sql, "queued") == 3
    assert workers.pull(QUEUE) == []
    await workers.janitor.mend_counters()
    await workers.route()
    assert await count(sql, "routed") == 3


async def test_a_job_that_no_model_may_take_waits_and_holds_nothing_up(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    (lost,) = await steps.accept(count=1, model="gone-from-the-catalog")
    (homeless,) = await steps.accept(count=1, residency="eu")
    (good,) = await steps.accept(count=1)
    await workers.router.route_all()
    assert [await sql.state(job.id) for job in (lost, homeless, good)] == ["queued", "queued", "routed"]
    await workers.runtime.tallies.flush()
    waits = {dict(labels)["model"]: dict(labels)["reason"] for _name, labels in await workers.runtime.tallies.read()}
    assert waits == {"gone-from-the-catalog": "no_model", "alpha": "no_model"}


async def test_two_routers_at_once_keep_the_places_and_route_each_job_once(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    entries = [entry("alpha", params={"max_parallel_requests": 30})]
    one, other = await open_workers(*entries), await open_workers(*entries)
    await steps.batch(100)
    await asyncio.gather(one.router.route_all(), other.router.route_all())
    routed = await count(sql, "routed")
    assert routed == 30 + 16
    tickets = [ticket.job_id for message in one.pull(QUEUE) for ticket in decode(message)]
    assert len(tickets) == len(set(tickets)) == routed
    assert (await one.live()).waiting == routed


async def test_a_pass_that_fails_gives_its_places_back(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=3)
    # The commit fails: the decision of one job is there already.
    await sql.rows(
        "INSERT INTO decisions (job_id, epoch, reason, policy, catalog, candidates)"
        " SELECT id, 1, '', '', '', '[]' FROM jobs LIMIT 1"
    )
    with pytest.raises(Exception, match="decisions_pk"):
        await workers.router.route_all()
    assert (await workers.live()).waiting == 0
    assert await count(sql, "queued") == 3


async def test_a_router_without_redis_leaves_the_jobs_queued(
    settings: Settings, catalog: object, steps: Steps, sql: Sql, tmp_path: Path
) -> None:
    nowhere = settings.model_copy(update={"redis_url": SecretStr(f"unix://{tmp_path}/nobody.sock")})
    runtime = Runtime(nowhere, role="test", name="test-1")
    await runtime.open()
    await steps.accept(count=1)
    with pytest.raises(UnavailableError, match="Redis"):
        await Router(runtime, Insights()).route_all()
    assert await count(sql, "queued") == 1
    await runtime.close()


def places(inference: str, storage: str) -> dict[str, dict[str, str]]:
    return {"data_residency": {"inference": inference, "storage": storage}}


async def test_a_job_with_a_residency_waits_rather_than_go_to_a_model_without_it(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(
        entry("eu", cost=1.0, params={"max_parallel_requests": 2}, router=places("eu", "eu")),
        entry("us", router=places("us", "us")),
        entry("half", router=places("eu", "us")),
        entry("silent"),
        default_fallbacks=["us", "silent"],
    )
    await steps.batch(6, model="auto", residency="eu")
    await workers.router.route_all()
    await steps.batch(6, model="eu", residency="eu")
    await workers.router.route_all()
    rows = await sql.rows("SELECT state, model_id, count(*) AS jobs FROM jobs GROUP BY 1, 2 ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("queued", None, 8), ("routed", "eu", 4)]
    candidates = await sql.value("SELECT candidates FROM decisions LIMIT 1")
    assert {each["model"]: each.get("reason") for each in candidates} == {
        "eu": None,
        "us": "residency",
        "half": "residency",
        "silent": "residency_unknown",
    }
    assert all("reason" in each or "score" in each for each in candidates)


async def test_a_lane_that_waits_for_a_known_moment_is_held_and_looked_at_again_then(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"), entry("beta"))
    await workers.runtime.limiter.pause(workers.runtime.offer.catalog.by_id["alpha"], pause_s=0.7)
    await steps.batch(10)
    await workers.router.route_all()
    assert await count(sql, "routed") == 0
    ((lane, held_until),) = workers.router._held.items()
    assert lane == await sql.value("SELECT DISTINCT lane FROM jobs")
    assert 0.3 < held_until - time.monotonic() <= 0.7

    async def everything_is_routed() -> bool:
        await workers.router.route_all()  # never clears what is held
        return await count(sql, "queued") == 0

    await until(everything_is_routed)


async def test_a_rate_that_lets_nothing_start_for_long_keeps_its_lane_in_the_database_and_no_other(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 6}), entry("beta"))
    await steps.accept(count=1)
    await workers.work("alpha")
    await workers.settled()
    await steps.batch(5)
    await workers.router.route_all()
    (held_until,) = workers.router._held.values()
    assert 4 < held_until - time.monotonic() <= 5
    (beta,) = await steps.accept(count=1, model="beta")
    await workers.router.route_all()
    assert await sql.state(beta.id) == "routed"
    assert await count(sql, "queued") == 5


async def test_a_lane_that_waits_for_a_place_is_not_held(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}))
    await steps.batch(4)
    await workers.router.route_all()
    assert (await count(sql, "routed"), workers.router._held) == (2, {})
    await workers.call()
    await workers.idle()
    await workers.router.route_all()
    assert (await count(sql, "succeeded"), await count(sql, "routed")) == (2, 2)


async def test_a_job_cancelled_while_it_waits_is_not_routed_and_holds_nothing(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    gone, stays = await steps.accept(count=2)
    await sql.rows("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = %s", gone.id)
    await workers.router.route_all()
    (ticket,) = decode(workers.pull(QUEUE)[0])
    assert ticket.job_id == stays.id
    assert (await workers.live()).waiting == 1
