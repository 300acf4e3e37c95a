"""What becomes of a job by how its call ends, against a provider that does what each test says."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

import pytest

from router_service.policy.outcomes import Failed, ModelUnfit, Outcome, Refused
from router_service.tickets import Ticket, decode, encode
from tests.support.catalogs import entry
from tests.support.polling import until
from tests.support.steps import BODY
from tests.support.workers import GOOD, HeldProvider, ScriptedProvider, always

if TYPE_CHECKING:
    import redis

    from router_service.catalog.models import Model
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps


async def test_a_job_is_answered_by_the_simulated_model_from_end_to_end(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", cost=0.5))
    await steps.accept(count=20)
    await workers.work("alpha")
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 20
    bodies = await sql.rows("SELECT body, tokens_in, tokens_out, cost_usd::float8 AS cost FROM job_results")
    for row in bodies:
        assert json.loads(row["body"])["usage"]["completion_tokens"] == row["tokens_out"] == 16
        assert row["cost"] == 0.5 * (row["tokens_in"] + row["tokens_out"])
    await workers.idle()


async def test_the_provider_gets_the_body_as_it_was_accepted(open_workers: OpenWorkers, steps: Steps) -> None:
    seen: list[str] = []

    class Listening(ScriptedProvider):
        async def complete(self, model: Model, body: str, *, key: str | None, attempt: int) -> Outcome:
            seen.append(body)
            return await super().complete(model, body, key=key, attempt=attempt)

    async def good(_model: Model, _attempt: int) -> Outcome:
        return GOOD

    workers = await open_workers(entry("alpha"), adapter=Listening(good))
    await steps.accept(count=1)
    await workers.work("alpha")
    assert seen == [BODY]


async def test_a_ticket_taken_twice_makes_one_call(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    await asyncio.gather(*(workers.provider.call(*message) for _ in range(5)))
    assert provider.calls == [("alpha", 1)]
    assert await sql.value("SELECT count(*) FROM attempts") == 1


async def test_a_stale_ticket_beside_the_good_one_makes_one_call(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (old,) = await workers.routed(steps)
    await sql.rows("UPDATE jobs SET state = 'queued', epoch = epoch + 1")
    await workers.route()
    (new,) = workers.messages("model.alpha")
    await asyncio.gather(workers.provider.call(*old), workers.provider.call(*new))
    assert provider.calls == [("alpha", 1)]


async def test_a_forged_or_foreign_ticket_makes_no_call(open_workers: OpenWorkers) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    with pytest.raises(ValueError, match="ticket"):
        await workers.provider.call([["x", 1]], "alpha")
    with pytest.raises(ValueError, match="model"):
        await workers.provider.call(encode([Ticket(job_id=uuid4(), epoch=1)]), 7)
    await workers.provider.call(encode([Ticket(job_id=uuid4(), epoch=1)]), "alpha")
    await workers.provider.call([], "alpha")
    assert provider.calls == []


async def test_a_failure_is_tried_again_as_often_as_allowed_and_then_dead(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(Failed(code="http_500", message="it broke", status_code=500))
    workers = await open_workers(entry("alpha"), adapter=provider, num_retries=1)
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    assert (await sql.one("SELECT state, tries FROM jobs")) == {"state": "retry_wait", "tries": 1}
    await sql.rows("UPDATE jobs SET available_at = now()")
    await workers.janitor.queue_due_retries()
    await workers.route()
    await workers.call()
    assert (await sql.one("SELECT state, tries FROM jobs")) == {"state": "dead", "tries": 2}
    assert provider.calls == [("alpha", 1), ("alpha", 2)]
    assert len(workers.pull("dlq.alpha")) == 1


@pytest.mark.parametrize(
    ("outcome", "state", "code"),
    [
        (ModelUnfit(code="http_401", message="no", status_code=401), "dead", "http_401"),
        (Refused(code="bad", message="no", status_code=400, body='{"error":{}}'), "failed", "bad"),
    ],
)
async def test_a_fatal_outcome_is_not_tried_again(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, outcome: Outcome, state: str, code: str
) -> None:
    workers = await open_workers(entry("alpha"), adapter=always(outcome))
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    assert await sql.one("SELECT state, error_code FROM jobs") == {"state": state, "error_code": code}
    await workers.idle()


async def test_an_adapter_that_raises_does_not_lose_the_job(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    async def broken(_model: Model, _attempt: int) -> NoReturn:
        raise LookupError("canary-4711")

    workers = await open_workers(entry("alpha"), adapter=ScriptedProvider(broken))
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    job = await sql.one("SELECT state, error_code, error_message FROM jobs")
    assert (job["state"], job["error_code"]) == ("retry_wait", "adapter_error")
    assert "canary" not in job["error_message"]
    await workers.idle()


async def test_a_failure_waits_for_its_backoff_and_gives_its_slot_back_meanwhile(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"), adapter=always(Failed(code="http_503", message="no", status_code=503)))
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    row = await sql.one(
        "SELECT extract(epoch FROM j.available_at - a.ended_at)::float8 AS wait_s, a.outcome, a.status_code"
        " FROM jobs j JOIN attempts a ON a.job_id = j.id"
    )
    assert 0 <= row["wait_s"] <= 0.5
    assert (row["outcome"], row["status_code"]) == ("failed", 503)
    await workers.idle()


async def test_a_refusal_keeps_the_providers_own_answer(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    body = '{"error":{"message":"too long","code":"bad"}}'
    refused = Refused(code="bad", message="no", status_code=400, body=body)
    workers = await open_workers(entry("alpha"), adapter=always(refused))
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    assert await sql.one("SELECT body, status_code FROM job_results") == {"body": body, "status_code": 400}
    assert workers.pull("dlq.alpha") == []
    assert await sql.rows("SELECT * FROM dead_letters") == []


@pytest.mark.parametrize("status", [401, 404])
async def test_a_model_that_will_never_do_it_is_given_up_at_once_with_a_ticket_for_its_dead_letters(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, status: int
) -> None:
    provider = always(ModelUnfit(code=f"http_{status}", message="no", status_code=status))
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    job_id = await sql.value("SELECT id FROM jobs WHERE state = 'dead'")
    (letter,) = workers.pull("dlq.alpha")
    assert decode(letter) == [Ticket(job_id=job_id, epoch=1, attempt=1)]
    assert provider.calls == [("alpha", 1)]


async def test_a_call_that_timed_out_keeps_its_slot_until_its_lease_runs_out(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params={"timeout": 0.05}), adapter=provider)
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 1.0})
    (message,) = await workers.routed(steps)
    async with asyncio.timeout(10):
        await workers.provider.call(*message)
    assert (await sql.one("SELECT state, error_code FROM jobs")) == {"state": "retry_wait", "error_code": "timeout"}
    await workers.settled()
    assert await workers.in_flight() == 1, "the provider may be at it still"
    await workers.idle()


async def test_a_call_ends_at_its_jobs_deadline_and_the_job_expires(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    await sql.rows("UPDATE jobs SET deadline = now() + interval '200 ms'")
    async with asyncio.timeout(10):
        await workers.provider.call(*message)
    assert provider.calls == [("alpha", 1)]
    assert await sql.one("SELECT state, error_code FROM jobs") == {
        "state": "retry_wait",
        "error_code": "deadline_exceeded",
    }
    await workers.settled()
    assert await workers.in_flight() == 1

    async def expired() -> bool:
        await workers.janitor.expire()
        return bool(await sql.value("SELECT state = 'expired' FROM jobs"))

    await until(expired)


async def test_a_job_that_cannot_be_answered_in_time_is_given_back_uncalled_and_expires_with_the_reason(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    admin_redis.hset("waybill:state:model:alpha", "least_ms", "60000")
    admin_redis.hset("waybill:state:model:alpha", "measured_at", str(time.time_ns() // 1_000_000))
    await sql.rows("UPDATE jobs SET deadline = now() + interval '20 s'")
    await workers.provider.call(*message)
    assert provider.calls == []
    assert await sql.one("SELECT state, tries FROM jobs") == {"state": "queued", "tries": 0}
    assert await sql.value("SELECT outcome FROM attempts") == "uncalled"
    await workers.idle()
    await workers.route()
    job = await sql.one("SELECT state, error_code, error_message FROM jobs")
    assert (job["state"], job["error_code"]) == ("expired", "deadline_exceeded")
    assert "the fastest needs 60 s" in job["error_message"]


async def test_a_ticket_of_a_finished_job_changes_nothing(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    before = [await sql.rows(f"SELECT * FROM {table}") for table in ("jobs", "job_results", "attempts")]
    await workers.provider.call(*message)
    assert [await sql.rows(f"SELECT * FROM {table}") for table in ("jobs", "job_results", "attempts")] == before
    assert provider.calls == [("alpha", 1)]
    await workers.idle()


async def test_the_calls_of_one_ticket_end_each_by_itself(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    ends: list[Outcome | Exception] = [GOOD, Refused(code="bad", message="no", status_code=400, body="{}"), OSError()]
    left = iter(ends)

    async def one_after_the_other(_model: Model, _attempt: int) -> Outcome:
        end = next(left)
        if isinstance(end, Exception):
            raise end
        return end

    workers = await open_workers(entry("alpha"), adapter=ScriptedProvider(one_after_the_other))
    await steps.batch(3)
    await workers.route()
    assert await workers.call() == 1
    states = await sql.rows("SELECT state FROM jobs ORDER BY state")
    assert [row["state"] for row in states] == ["failed", "retry_wait", "succeeded"]
    await workers.idle()
