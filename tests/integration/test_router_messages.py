"""What the router sends: tickets and nothing else, and that no content is ever in Redis."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, cast

from router_service.policy.outcomes import ModelUnfit, Refused
from router_service.tickets import decode, model_queue
from tests.support.catalogs import entry
from tests.support.workers import ScriptedProvider
from workers.router import JOBS_PER_TICKET

if TYPE_CHECKING:
    import redis

    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

QUEUE = model_queue("alpha")


async def test_a_batchs_jobs_share_tickets_and_interactive_ones_go_alone(
    open_workers: OpenWorkers, steps: Steps
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 200}))
    await steps.batch(JOBS_PER_TICKET + 8)
    await steps.accept(count=2)
    await workers.router.route_all()
    messages = workers.messages(QUEUE)
    assert sorted(len(tickets) for tickets, _model_id in messages) == [1, 1, 8, JOBS_PER_TICKET]
    assert {model_id for _tickets, model_id in messages} == {"alpha"}
    urgent = {len(tickets): {ticket.urgent for ticket in decode(tickets)} for tickets, _model_id in messages}
    assert urgent == {1: {True}, 8: {False}, JOBS_PER_TICKET: {False}}


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
    assert (ticket.job_id, ticket.epoch, ticket.attempt) == (job.id, 1, 1)


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
