"""The provider worker from ticket to settlement, against a provider that does what each test says."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, cast
from uuid import uuid4

import pytest

from router_service.capacity.limiter import reservation
from router_service.jobs.states import JobState
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused, Throttled
from router_service.store import jobs
from router_service.tickets import Ticket, decode, encode
from tests.conftest import publish
from tests.support.catalogs import document, entry
from tests.support.polling import until
from tests.support.steps import ANSWER, BODY, TENANT
from tests.support.workers import ScriptedProvider

if TYPE_CHECKING:
    import redis

    from router_service.catalog.models import Model
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers

GOOD = Answered(body=ANSWER, tokens_in=8, tokens_out=4)


def always(outcome: Outcome) -> ScriptedProvider:
    async def behave(_model: Model, _attempt: int) -> Outcome:
        return outcome

    return ScriptedProvider(behave)


class Gate:
    """A provider that answers when the gate is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.provider = ScriptedProvider(self._behave)

    async def _behave(self, _model: Model, _attempt: int) -> Outcome:
        await self.opened.wait()
        return GOOD

    async def called(self, times: int = 1) -> None:
        async def is_called() -> bool:
            return len(self.provider.calls) >= times

        await until(is_called)


async def routed(workers: Workers, steps: Steps, *, count: int = 1) -> list[object]:
    """The messages of jobs that were accepted and routed."""
    await steps.accept(count=count)
    await workers.route()
    return workers.messages("model.alpha")


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
    assert await workers.in_flight() == 0


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
    (message,) = await routed(workers, steps)
    await asyncio.gather(*(workers.provider.call(*message) for _ in range(5)))
    assert provider.calls == [("alpha", 1)]
    assert await sql.value("SELECT count(*) FROM attempts") == 1


async def test_a_stale_ticket_beside_the_good_one_makes_one_call(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (old,) = await routed(workers, steps)
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
    await workers.provider.call(encode([Ticket(job_id=uuid4(), epoch=1)]), "alpha")
    assert provider.calls == []


async def test_a_throttle_consumes_no_try_and_pauses_the_model(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(Throttled(retry_after_s=60.0))
    workers = await open_workers(entry("alpha"), adapter=provider, num_retries=0)
    (message,) = await routed(workers, steps)
    await workers.provider.call(*message)
    job = await sql.one("SELECT * FROM jobs")
    assert (job["state"], job["tries"], job["attempt"]) == ("retry_wait", 0, 1)
    assert await sql.value("SELECT available_at > now() + interval '50 s' FROM jobs")
    assert await sql.value("SELECT outcome FROM attempts") == "throttled"
    live = (await workers.runtime.limiter.snapshot(["alpha"]))["alpha"]
    assert (live.in_flight, live.paused_s > 50) == (0, True)


async def test_a_failure_is_tried_again_as_often_as_allowed_and_then_dead(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(Failed(code="http_500", message="it broke", status_code=500))
    workers = await open_workers(entry("alpha"), adapter=provider, num_retries=1)
    (message,) = await routed(workers, steps)
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
    (message,) = await routed(workers, steps)
    await workers.provider.call(*message)
    assert await sql.one("SELECT state, error_code FROM jobs") == {"state": state, "error_code": code}
    assert await workers.in_flight() == 0


async def test_an_adapter_that_raises_does_not_lose_the_job(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    async def broken(_model: Model, _attempt: int) -> NoReturn:
        raise LookupError("canary-4711")

    workers = await open_workers(entry("alpha"), adapter=ScriptedProvider(broken))
    (message,) = await routed(workers, steps)
    await workers.provider.call(*message)
    job = await sql.one("SELECT state, error_code, error_message FROM jobs")
    assert (job["state"], job["error_code"]) == ("retry_wait", "adapter_error")
    assert "canary" not in job["error_message"]
    assert await workers.in_flight() == 0


async def test_a_call_is_bounded_by_the_models_timeout_and_by_the_deadline(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha", params={"timeout": 0.05}), adapter=gate.provider)
    (message,) = await routed(workers, steps)
    async with asyncio.timeout(10):
        await workers.provider.call(*message)
    assert (await sql.one("SELECT state, error_code FROM jobs")) == {"state": "retry_wait", "error_code": "timeout"}


async def test_a_job_of_a_model_that_left_the_catalog_goes_to_the_dead_letters(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=1)
    ((job_id, epoch),) = await steps.route(model_id="gone")
    await workers.provider.call(encode([Ticket(job_id=job_id, epoch=epoch)]), "gone")
    assert (await sql.one("SELECT state, error_code FROM jobs")) == {"state": "dead", "error_code": "model_removed"}


async def test_a_start_that_lies_ahead_is_waited_for(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await routed(workers, steps)
    ahead_ms = int(await workers.runtime.limiter.now_s() * 1000) + 300
    await workers.provider.call(encode([replace(ticket, start_ms=ahead_ms) for ticket in decode(message)]))
    assert await sql.value("SELECT extract(epoch FROM ended_at) * 1000 FROM attempts") >= ahead_ms


async def test_a_ticket_too_late_for_its_rate_is_given_back_uncalled(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha", params={"rpm": 600}), adapter=provider)
    (message,) = await routed(workers, steps)
    late = [replace(ticket, start_ms=ticket.start_ms - 60_000) for ticket in decode(message)]
    await workers.provider.call(encode(late))
    assert provider.calls == []
    assert (await sql.one("SELECT state, tries FROM jobs")) == {"state": "queued", "tries": 0}
    assert await workers.in_flight() == 0


async def test_draining_gives_calls_back_to_the_queue_uncounted(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha"), adapter=gate.provider)
    messages = await routed(workers, steps, count=3)
    tasks = [asyncio.create_task(workers.provider.call(*message)) for message in messages]
    await gate.called(3)
    async with asyncio.timeout(10):
        await workers.provider.drain()
        await asyncio.gather(*tasks)
    rows = await sql.rows("SELECT state, tries, lost_leases FROM jobs")
    assert rows == [{"state": "queued", "tries": 0, "lost_leases": 0}] * 3
    assert {row["outcome"] for row in await sql.rows("SELECT outcome FROM attempts")} == {"returned"}
    assert await workers.in_flight() == 0
    gate.opened.set()
    await workers.work("alpha")
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 3


async def test_a_call_of_a_cancelled_job_is_stopped_at_the_next_renewal(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha"), adapter=gate.provider)
    (message,) = await routed(workers, steps)
    call = asyncio.create_task(workers.provider.call(*message))
    await gate.called()
    job_id = await sql.value("SELECT id FROM jobs")
    async with database.transaction() as session:
        await jobs.cancel(session, job_id, tenant_id=TENANT)
    await workers.provider._renew()
    async with asyncio.timeout(10):
        await call
    assert await sql.state(job_id) == "cancelled"
    assert await workers.in_flight() == 0


async def test_renewing_keeps_a_long_call_alive(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha"), adapter=gate.provider)
    (message,) = await routed(workers, steps)
    call = asyncio.create_task(workers.provider.call(*message))
    await gate.called()
    await sql.rows("UPDATE jobs SET lease_until = now() + interval '10 ms'")
    await workers.provider._renew()
    assert await sql.value("SELECT lease_until > now() + interval '10 s' FROM jobs")
    gate.opened.set()
    await call
    assert await sql.value("SELECT state FROM jobs") == "succeeded"


async def test_what_was_not_used_of_a_reservation_is_paid_back(open_workers: OpenWorkers, steps: Steps) -> None:
    workers = await open_workers(
        entry("alpha", params={"tpm": 100_000}), adapter=always(Answered(body=ANSWER, tokens_in=1, tokens_out=1))
    )
    await steps.accept(count=1, tokens_in=40_000, tokens_out=40_000)

    async def busy_s() -> float:
        return (await workers.runtime.limiter.snapshot(["alpha"]))["alpha"].busy_s

    await until(lambda: _routes(workers))
    before_s = await busy_s()
    await workers.call()
    assert await busy_s() < before_s - 40


async def _routes(workers: Workers) -> bool:
    await workers.route()
    return await workers.in_flight() == 1


async def test_a_worker_that_slept_past_its_lease_overwrites_nothing(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha"), adapter=gate.provider)
    (message,) = await routed(workers, steps)
    late = asyncio.create_task(workers.provider.call(*message))
    await gate.called()
    await sql.rows("UPDATE jobs SET state = 'retry_wait', available_at = now(), lease_until = NULL")
    await sql.rows("UPDATE attempts SET ended_at = now(), outcome = 'lost'")
    await workers.janitor.queue_due_retries()
    await workers.route()
    (second,) = workers.messages("model.alpha")
    rescue = asyncio.create_task(workers.provider.call(*second))
    await gate.called(2)
    gate.opened.set()
    await asyncio.gather(late, rescue)
    assert await sql.value("SELECT count(*) FROM job_results") == 1
    assert await sql.value("SELECT state FROM jobs") == JobState.SUCCEEDED
    outcomes = await sql.rows("SELECT outcome FROM attempts ORDER BY attempt")
    assert [row["outcome"] for row in outcomes] == ["late", "answered"]
    assert await workers.in_flight() == 0


async def test_what_throttles_wait_for_is_over_at_last_and_the_job_has_used_no_try(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    async def busy_at_first(_model: Model, attempt: int) -> Outcome:
        return Throttled(retry_after_s=0.05) if attempt <= 3 else GOOD

    workers = await open_workers(entry("alpha"), adapter=ScriptedProvider(busy_at_first), num_retries=0)
    await steps.accept(count=1)

    async def done() -> bool:
        await workers.janitor.queue_due_retries()
        await workers.work("alpha")
        return bool(await sql.value("SELECT state = 'succeeded' FROM jobs"))

    await until(done)
    assert await sql.one("SELECT attempt, tries FROM jobs") == {"attempt": 4, "tries": 0}
    assert await workers.in_flight() == 0


async def test_a_failure_waits_for_its_backoff_and_gives_its_slot_back_meanwhile(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"), adapter=always(Failed(code="http_503", message="no", status_code=503)))
    (message,) = await routed(workers, steps)
    await workers.provider.call(*message)
    row = await sql.one(
        "SELECT extract(epoch FROM j.available_at - a.ended_at)::float8 AS wait_s, a.outcome, a.status_code"
        " FROM jobs j JOIN attempts a ON a.job_id = j.id"
    )
    assert 0 <= row["wait_s"] <= 0.5
    assert (row["outcome"], row["status_code"]) == ("failed", 503)
    assert await workers.in_flight() == 0


async def test_a_refusal_keeps_the_providers_own_answer(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    body = '{"error":{"message":"too long","code":"bad"}}'
    refused = Refused(code="bad", message="no", status_code=400, body=body)
    workers = await open_workers(entry("alpha"), adapter=always(refused))
    (message,) = await routed(workers, steps)
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
    (message,) = await routed(workers, steps)
    await workers.provider.call(*message)
    job_id = await sql.value("SELECT id FROM jobs WHERE state = 'dead'")
    (letter,) = workers.pull("dlq.alpha")
    assert decode(letter) == [Ticket(job_id=job_id, epoch=1, attempt=1)]
    assert provider.calls == [("alpha", 1)]


async def test_a_call_ends_at_its_jobs_deadline_and_the_job_expires(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha"), adapter=gate.provider)
    (message,) = await routed(workers, steps)
    await sql.rows("UPDATE jobs SET deadline = now() + interval '200 ms'")
    async with asyncio.timeout(10):
        await workers.provider.call(*message)
    assert gate.provider.calls == [("alpha", 1)]
    assert await sql.one("SELECT state, error_code FROM jobs") == {
        "state": "retry_wait",
        "error_code": "deadline_exceeded",
    }

    async def expired() -> bool:
        await workers.janitor.expire()
        return bool(await sql.value("SELECT state = 'expired' FROM jobs"))

    await until(expired)


async def test_a_ticket_of_a_finished_job_changes_nothing(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await routed(workers, steps)
    await workers.provider.call(*message)
    before = [await sql.rows(f"SELECT * FROM {table}") for table in ("jobs", "job_results", "attempts")]
    await workers.provider.call(*message)
    assert [await sql.rows(f"SELECT * FROM {table}") for table in ("jobs", "job_results", "attempts")] == before
    assert provider.calls == [("alpha", 1)]
    assert await workers.in_flight() == 0


async def test_the_answer_of_a_job_cancelled_meanwhile_is_paid_for_and_not_stored(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha", cost=0.5), adapter=gate.provider)
    (message,) = await routed(workers, steps)
    call = asyncio.create_task(workers.provider.call(*message))
    await gate.called()
    async with database.transaction() as session:
        await jobs.cancel(session, await sql.value("SELECT id FROM jobs"), tenant_id=TENANT)
    gate.opened.set()
    await call
    assert await sql.value("SELECT state FROM jobs") == "cancelled"
    assert await sql.rows("SELECT * FROM job_results") == []
    assert await sql.one("SELECT outcome, cost_usd::float8 FROM attempts") == {"outcome": "late", "cost_usd": 6.0}
    assert await workers.in_flight() == 0


async def test_a_renewal_does_not_cut_off_a_finish_that_is_committed_and_not_yet_told(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    unfit = ModelUnfit(code="http_401", message="no", status_code=401)
    workers = await open_workers(entry("alpha"), adapter=always(unfit))
    (message,) = await routed(workers, steps)
    # Redis takes no writes for a while, so the call stands between its finish and its settlement.
    admin_redis.client_pause(20_000, all=False)
    call = asyncio.create_task(workers.provider.call(*message))

    async def is_dead() -> bool:
        return bool(await sql.value("SELECT state = 'dead' FROM jobs"))

    try:
        await until(is_dead)
        for _renewal in range(3):
            await workers.provider._renew()
        assert not call.done()
    finally:
        admin_redis.client_unpause()
    await call
    assert len(workers.pull("dlq.alpha")) == 1
    assert await workers.in_flight() == 0


async def test_renewing_prolongs_the_slot_of_a_call_too(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha"), adapter=gate.provider)
    (message,) = await routed(workers, steps)
    call = asyncio.create_task(workers.provider.call(*message))
    await gate.called()
    name, slots = reservation((await sql.value("SELECT id FROM jobs")).hex, 1), "waybill:slots:alpha"
    soon_ms = int(await workers.runtime.limiter.now_s() * 1000) + 5_000
    admin_redis.zadd(slots, {name: soon_ms})
    await workers.provider._renew()
    assert cast("float", admin_redis.zscore(slots, name)) > soon_ms + 5_000
    gate.opened.set()
    await call


async def test_a_call_claimed_in_the_very_moment_of_the_drain_is_given_back(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await routed(workers, steps)
    call = asyncio.create_task(workers.provider.call(*message))
    async with asyncio.timeout(10):
        while not workers.provider._in_flight:
            await asyncio.sleep(0)  # turn by turn, so that the call's task is there and has not begun
        await workers.provider.drain()
        await call
    assert provider.calls == []
    assert await sql.one("SELECT state, tries, lost_leases FROM jobs") == {
        "state": "queued",
        "tries": 0,
        "lost_leases": 0,
    }
    assert workers.provider._in_flight == {}
    assert await workers.in_flight() == 0


async def test_a_drain_waits_for_what_ends_in_time(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    gate = Gate()
    workers = await open_workers(entry("alpha"), adapter=gate.provider)
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"drain_s": 60.0})
    (message,) = await routed(workers, steps)
    call = asyncio.create_task(workers.provider.call(*message))
    await gate.called()
    drain = asyncio.create_task(workers.provider.drain())
    gate.opened.set()
    async with asyncio.timeout(10):
        await asyncio.gather(drain, call)
    assert await sql.value("SELECT state FROM jobs") == "succeeded"


async def test_a_late_ticket_of_a_model_without_rates_is_used(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), adapter=provider)
    (message,) = await routed(workers, steps)
    late = [replace(ticket, start_ms=int(time.time() * 1000) - 60_000) for ticket in decode(message)]
    await workers.provider.call(encode(late))
    assert provider.calls == [("alpha", 1)]
    assert await sql.value("SELECT state FROM jobs") == "succeeded"


async def test_a_ticket_given_back_as_too_late_is_routed_again_and_answered(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 6000}), adapter=always(GOOD))
    (message,) = await routed(workers, steps)
    late = [replace(ticket, start_ms=ticket.start_ms - 60_000) for ticket in decode(message)]
    await workers.provider.call(encode(late))
    assert await sql.value("SELECT outcome FROM attempts") == "returned"
    await workers.work("alpha")
    assert await sql.one("SELECT state, epoch, attempt FROM jobs") == {"state": "succeeded", "epoch": 2, "attempt": 2}


@pytest.mark.parametrize(("asked", "state", "model_id"), [("auto", "succeeded", "beta"), ("alpha", "failed", "alpha")])
async def test_a_job_whose_model_is_removed_while_its_ticket_waits_is_not_lost(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database, asked: str, state: str, model_id: str
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), entry("beta", cost=1.0), adapter=provider)
    await steps.accept(count=1, model=asked)
    await workers.route()
    await publish(database, document(entry("beta")))
    await workers.runtime._follow_catalog()
    await workers.work("alpha", "beta")
    assert await sql.one("SELECT state, model_id FROM jobs") == {"state": state, "model_id": model_id}
    assert provider.calls == ([("beta", 2)] if state == "succeeded" else [])
    wanted = "rerouted" if state == "succeeded" else "parked"
    assert await sql.one("SELECT state, error_code FROM dead_letters") == {
        "state": wanted,
        "error_code": "model_removed",
    }


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
    assert await workers.in_flight() == 0
