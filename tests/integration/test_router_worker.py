"""The routing worker's pass over real rows and counters: what fits is routed, the rest stays queued."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest
from pydantic import SecretStr

from router_service.errors import UnavailableError
from router_service.jobs.spec import JobSpec, lane_of
from router_service.policy.outcomes import ModelUnfit, Refused
from router_service.routing.policy import RoutingPolicy
from router_service.tickets import decode, model_queue
from tests.support.catalogs import entry
from tests.support.polling import until
from tests.support.steps import TENANT
from tests.support.workers import ScriptedProvider
from workers.router import JOBS_PER_TICKET, Router
from workers.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path

    import redis

    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from router_service.settings import Settings
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

QUEUE = model_queue("alpha")


async def count(sql: Sql, state: str) -> int:
    return int(await sql.value("SELECT count(*) FROM jobs WHERE state = %s", state))


async def test_what_fits_is_routed_and_the_rest_stays_queued(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 3}))
    await steps.accept(count=10)
    await workers.router.route_all()
    assert (await count(sql, "routed"), await count(sql, "queued")) == (3, 7)
    assert await workers.in_flight() == 3
    await workers.router.route_all()
    assert await count(sql, "routed") == 3


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


async def test_a_batchs_jobs_share_tickets_and_interactive_ones_go_alone(
    open_workers: OpenWorkers, steps: Steps
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 200}))
    await steps.batch(JOBS_PER_TICKET + 8)
    await steps.accept(count=2)
    await workers.router.route_all()
    sizes = sorted(len(message) for message in workers.pull(QUEUE))
    assert sizes == [1, 1, 8, JOBS_PER_TICKET]


async def test_a_full_model_does_not_hide_work_for_an_idle_one(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}), entry("beta"))
    await steps.accept(count=700)
    (beta,) = await steps.accept(count=1, model="beta")
    await workers.router.route_all()
    assert await sql.state(beta.id) == "routed"
    assert await workers.in_flight("alpha") == 1


async def test_what_finds_the_cheap_model_full_goes_to_the_next_one(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(
        entry("alpha", cost=1e-9, params={"max_parallel_requests": 2}), entry("beta", cost=1.1e-9)
    )
    await steps.accept(count=6, model="auto")
    await workers.router.route_all()
    rows = await sql.rows("SELECT model_id, count(*) AS jobs FROM jobs GROUP BY 1")
    assert {row["model_id"]: row["jobs"] for row in rows} == {"alpha": 2, "beta": 4}


async def test_a_rate_is_reserved_ahead_and_never_beyond(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 600}))
    await steps.accept(count=50)
    await workers.router.route_all()
    routed = await count(sql, "routed")
    assert 1 <= routed <= 12
    starts = sorted(ticket.start_ms for message in workers.pull(QUEUE) for ticket in decode(message))
    assert len(starts) == routed
    assert all(later - earlier >= 100 for earlier, later in pairwise(starts))


async def test_a_paused_model_gets_nothing_until_its_pause_is_over(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha"))
    await workers.runtime.limiter.pause("alpha", pause_s=60)
    await steps.accept(count=2)
    await workers.route()
    assert await count(sql, "queued") == 2
    admin_redis.delete("waybill:pause:alpha")
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


async def test_two_routers_at_once_keep_the_slots_and_route_each_job_once(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    entries = [entry("alpha", params={"max_parallel_requests": 30})]
    one, other = await open_workers(*entries), await open_workers(*entries)
    await steps.accept(count=100)
    await asyncio.gather(one.router.route_all(), other.router.route_all())
    routed = await count(sql, "routed")
    assert routed == 30
    tickets = [ticket.job_id for message in one.pull(QUEUE) for ticket in decode(message)]
    assert len(tickets) == len(set(tickets)) == routed
    assert await one.in_flight() == routed


async def test_a_pass_that_fails_gives_its_reservations_back(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=3)
    # The commit fails: the decision of one job is there already.
    await sql.rows(
        "INSERT INTO decisions (job_id, epoch, reason, policy, catalog, candidates)"
        " SELECT id, 1, '', '', '', '[]' FROM jobs LIMIT 1"
    )
    with pytest.raises(Exception, match="decisions_pk"):
        await workers.router.route_all()
    assert await workers.in_flight() == 0
    assert await count(sql, "queued") == 3


async def test_a_message_tells_ids_and_numbers_and_no_content(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha"))
    (job,) = await steps.accept(count=1, body='{"messages":[{"role":"user","content":"canary-4711"}]}')
    await workers.router.route_all()
    raw = admin_redis.lindex(QUEUE, 0)
    assert isinstance(raw, bytes)
    assert b"canary" not in raw
    assert job.id.hex.encode() in raw
    (ticket,) = decode(workers.pull(QUEUE)[0])
    assert (ticket.job_id, ticket.epoch) == (job.id, 1)


async def test_a_router_without_redis_leaves_the_jobs_queued(
    settings: Settings, catalog: object, steps: Steps, sql: Sql, tmp_path: Path
) -> None:
    nowhere = settings.model_copy(update={"redis_url": SecretStr(f"unix://{tmp_path}/nobody.sock")})
    runtime = Runtime(nowhere, role="test", name="test-1")
    await runtime.open()
    await steps.accept(count=1)
    with pytest.raises(UnavailableError, match="Redis"):
        await Router(runtime, policy=RoutingPolicy()).route_all()
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
    await steps.accept(count=3, model="auto", residency="eu")
    await workers.router.route_all()
    await steps.accept(count=3, model="eu", residency="eu")
    await workers.router.route_all()
    rows = await sql.rows("SELECT state, model_id, count(*) AS jobs FROM jobs GROUP BY 1, 2 ORDER BY 1")
    assert [tuple(row.values()) for row in rows] == [("queued", None, 4), ("routed", "eu", 2)]
    candidates = await sql.value("SELECT candidates FROM decisions LIMIT 1")
    assert {each["model"]: each.get("reason") for each in candidates} == {
        "eu": None,
        "us": "residency",
        "half": "residency",
        "silent": "residency_unknown",
    }
    assert all("reason" in each or "score" in each for each in candidates)


async def test_a_lane_that_waits_for_a_rate_is_held_and_looked_at_again_when_its_wait_is_over(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 300}), entry("beta"))
    await steps.accept(count=10)
    await workers.router.route_all()
    first = await count(sql, "routed")
    assert 1 <= first < 10
    ((lane, held_until),) = workers.router._held.items()
    assert lane == lane_of(JobSpec(model="alpha", tokens_in=10), tenant_id=TENANT)
    assert held_until <= time.monotonic() + 0.25

    async def everything_is_routed() -> bool:
        await workers.router.route_all()  # never clears what is held
        return await count(sql, "queued") == 0

    await until(everything_is_routed)


async def test_a_held_lane_does_not_keep_others_waiting(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 6}), entry("beta"))
    await steps.accept(count=5)
    await workers.router.route_all()
    (held_until,) = workers.router._held.values()
    assert 4 < held_until - time.monotonic() <= 5
    (beta,) = await steps.accept(count=1, model="beta")
    await workers.router.route_all()
    assert await sql.state(beta.id) == "routed"
    assert await count(sql, "queued") == 4


async def test_a_lane_that_waits_for_a_slot_is_not_held(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}))
    await steps.accept(count=2)
    await workers.router.route_all()
    assert (await count(sql, "routed"), workers.router._held) == (1, {})
    await workers.call()
    await workers.router.route_all()
    assert (await count(sql, "succeeded"), await count(sql, "routed")) == (1, 1)


async def test_a_job_cancelled_while_it_waits_is_not_routed_and_holds_nothing(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    gone, stays = await steps.accept(count=2)
    await sql.rows("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = %s", gone.id)
    await workers.router.route_all()
    (ticket,) = decode(workers.pull(QUEUE)[0])
    assert ticket.job_id == stays.id
    assert await workers.in_flight() == 1


def everything_in(admin_redis: redis.Redis) -> bytes:
    """Every key and value, and the bodies of messages as they were before they were encoded."""
    found = []
    for key in cast("list[bytes]", admin_redis.keys("*")):
        kind = cast("bytes", admin_redis.type(key))
        match kind:
            case b"string":
                found += [key, cast("bytes", admin_redis.get(key))]
            case b"hash":
                found += [key, repr(admin_redis.hgetall(key)).encode()]
            case b"zset":
                found += [key, repr(admin_redis.zrange(key, 0, -1)).encode()]
            case b"set":
                found += [key, repr(admin_redis.smembers(key)).encode()]
            case b"list":
                messages = cast("list[bytes]", admin_redis.lrange(key, 0, -1))
                found += [key, *messages, *(base64.b64decode(json.loads(each)["body"]) for each in messages)]
            case _:
                raise AssertionError(f"{key!r} is a {kind!r}, which this look does not know")
    return b"\n".join(found)


async def test_neither_prompts_nor_answers_are_anywhere_in_redis(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    async def quote_the_prompt(model: Model, _attempt: int) -> Outcome:
        if model.id == "alpha":
            return ModelUnfit(code="canary-code", message="canary-message", status_code=401)
        return Refused(code="bad", message="canary-refusal", status_code=400, body='{"error":"canary-answer"}')

    workers = await open_workers(
        entry("alpha"), entry("beta"), default_fallbacks=["beta"], adapter=ScriptedProvider(quote_the_prompt)
    )
    await steps.batch(3, body='{"messages":[{"role":"user","content":"canary-prompt"}]}', metadata={"k": "canary-data"})
    await workers.route()
    on_the_way = everything_in(admin_redis)
    await workers.call()
    given_up = everything_in(admin_redis)
    await workers.settle_dead()
    await workers.route()
    once_more = everything_in(admin_redis)
    await workers.call("beta")
    for seen, queue in ((on_the_way, b"model.alpha"), (given_up, b"dlq.alpha"), (once_more, b"model.beta")):
        assert queue in seen
        assert b"canary" not in seen
    assert b"canary" not in everything_in(admin_redis)
    assert await sql.value("SELECT count(*) FROM job_results WHERE body LIKE '%%canary-answer%%'") == 3
