"""What the janitor's statements mend, and that two janitors at once do no harm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from router_service.jobs.states import JobState
from router_service.store import jobs, sweeps
from router_service.store.calls import Finish
from tests.support.steps import answered, gone_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps

    Swept = Callable[..., Awaitable[Any]]


@pytest.fixture
def swept(database: Database) -> Swept:
    """Run one sweep in a transaction of its own."""

    async def run(sweep: Callable[..., Awaitable[Any]], **arguments: Any) -> Any:
        async with database.transaction() as session:
            return await sweep(session, **arguments)

    return run


async def test_an_expired_lease_is_taken_over_and_tried_again(steps: Steps, sql: Sql, swept: Swept) -> None:
    (claim,) = await steps.running(lease_s=-1.0)
    (moved,) = await swept(sweeps.expired_leases, lease_s=0.0)
    assert (moved.id, moved.epoch, moved.model_id, moved.left) == (claim.id, 1, "alpha", JobState.RETRY_WAIT)
    row = await sql.job(claim.id)
    assert (row["state"], row["lost_leases"], row["tries"], row["error_code"]) == ("retry_wait", 1, 0, "lease_expired")
    assert await sql.value("SELECT outcome FROM attempts") == "lost"
    assert await swept(sweeps.due_retries) == 1
    assert await sql.state(claim.id) == "queued"


async def test_a_lease_that_holds_is_left_alone(steps: Steps, sql: Sql, swept: Swept) -> None:
    (claim,) = await steps.running(lease_s=60.0)
    assert await swept(sweeps.expired_leases, lease_s=0.0) == []
    assert await sql.state(claim.id) == "running"


async def test_nothing_is_taken_over_in_the_first_lease_after_the_database_started(
    steps: Steps, sql: Sql, swept: Swept
) -> None:
    await steps.running(lease_s=-1.0)
    assert await swept(sweeps.expired_leases, lease_s=86_400.0) == []


async def test_the_third_lost_lease_is_poison_and_writes_one_dead_letter(steps: Steps, sql: Sql, swept: Swept) -> None:
    (claim,) = await steps.running(lease_s=-1.0)
    for _lease in range(2):
        await swept(sweeps.expired_leases, lease_s=0.0)
        await sql.rows("UPDATE jobs SET available_at = now()")  # retries are spread over some seconds
        await swept(sweeps.due_retries)
        await steps.run_on(lease_s=-1.0)
    (moved,) = await swept(sweeps.expired_leases, lease_s=0.0)
    assert moved.left is JobState.DEAD
    assert (await sql.job(claim.id))["lost_leases"] == 3
    letter = await sql.one("SELECT * FROM dead_letters")
    assert (letter["job_id"], letter["attempt"], letter["error_code"]) == (claim.id, 3, "poison")


async def test_a_ticket_that_was_not_taken_is_stale_from_then_on(steps: Steps, sql: Sql, swept: Swept) -> None:
    await steps.accept(count=1)
    tickets = await steps.route()
    assert await swept(sweeps.stale_routed, stale_s=60.0) == []
    await sql.rows("UPDATE jobs SET routed_at = now() - interval '61 s'")
    (moved,) = await swept(sweeps.stale_routed, stale_s=60.0)
    assert (moved.id, moved.epoch, moved.model_id) == (tickets[0][0], 1, "alpha")
    assert (await sql.job(moved.id))["epoch"] == 2
    assert await steps.claim(tickets) == []


async def test_after_the_brokers_loss_every_ticket_is_stale(steps: Steps, sql: Sql, swept: Swept) -> None:
    await steps.accept(count=3)
    tickets = await steps.route()
    await steps.claim(tickets[:1])
    assert await swept(sweeps.unticketed) == 2
    assert await steps.claim(tickets) == []
    assert sorted(row["state"] for row in await sql.rows("SELECT state FROM jobs")) == ["queued", "queued", "running"]


async def test_a_retry_waits_until_it_is_due(steps: Steps, sql: Sql, swept: Swept) -> None:
    (claim,) = await steps.running()
    await steps.finish(gone_wrong(claim, JobState.RETRY_WAIT, delay_s=60.0))
    assert await swept(sweeps.due_retries) == 0
    await sql.rows("UPDATE jobs SET available_at = now()")
    assert await swept(sweeps.due_retries) == 1


@pytest.mark.parametrize("state", ["queued", "routed", "retry_wait", "dead"])
async def test_a_job_past_its_deadline_expires_wherever_it_waits(
    steps: Steps, sql: Sql, swept: Swept, state: str
) -> None:
    (job,) = await steps.accept(count=1)
    if state != "queued":
        tickets = await steps.route()
    if state in {"retry_wait", "dead"}:
        (claim,) = await steps.claim(tickets)
        await steps.finish(gone_wrong(claim, JobState(state)))
    assert await swept(sweeps.passed_deadlines) == []
    await sql.rows("UPDATE jobs SET deadline = now()")
    (moved,) = await swept(sweeps.passed_deadlines)
    assert moved.left == state
    row = await sql.job(job.id)
    assert (row["state"], row["error_code"]) == ("expired", "deadline_exceeded")
    assert await sql.value("SELECT count(*) FROM dead_letters WHERE state = 'open'") == 0


async def test_a_job_that_no_model_might_take_is_told_so_when_its_deadline_has_passed(
    steps: Steps, sql: Sql, swept: Swept
) -> None:
    (job,) = await steps.accept(count=1)
    await sql.rows("UPDATE jobs SET deadline = now(), held_until = now() + interval '1 s'")
    await swept(sweeps.passed_deadlines)
    row = await sql.job(job.id)
    assert row["error_message"] == "the deadline passed while the job was queued: no model on offer might take it"


async def test_a_running_job_does_not_expire(steps: Steps, sql: Sql, swept: Swept) -> None:
    (claim,) = await steps.running()
    await sql.rows("UPDATE jobs SET deadline = now() - interval '1 s'")
    assert await swept(sweeps.passed_deadlines) == []
    assert await sql.state(claim.id) == "running"


async def test_a_dead_job_whose_ticket_was_lost_is_found_again(steps: Steps, sql: Sql, swept: Swept) -> None:
    (claim,) = await steps.running()
    await steps.finish(gone_wrong(claim, JobState.DEAD))
    assert await swept(sweeps.lost_dead_letters, stale_s=10.0) == []
    await sql.rows("UPDATE dead_letters SET sent_at = now() - interval '11 s'")
    (lost,) = await swept(sweeps.lost_dead_letters, stale_s=10.0)
    assert (lost.id, lost.epoch, lost.model_id) == (claim.id, 1, "alpha")
    assert await swept(sweeps.lost_dead_letters, stale_s=10.0) == [], "it has just been sent"


async def test_what_is_in_flight_is_told_with_the_time_it_has_left(steps: Steps, swept: Swept) -> None:
    held, gone = [(await steps.running(lease_s=lease_s))[0] for lease_s in (60.0, -60.0)]
    calls = {call.id: call for call in await swept(sweeps.held_calls, lease_s=20.0)}
    assert (calls[held.id].model_id, calls[held.id].epoch) == ("alpha", 1)
    assert 70 < calls[held.id].left_s <= 80, (
        "what is left of its lease, and one more: its slot was perhaps prolonged later"
    )
    assert calls[gone.id].left_s == 20


@pytest.mark.parametrize("end", ["lost", "cancelled", "timeout", "answered"])
async def test_a_call_that_nobody_waits_for_any_more_holds_its_slot_for_a_lease(
    steps: Steps, sql: Sql, swept: Swept, end: str
) -> None:
    (claim,) = await steps.running(lease_s=-1.0 if end == "lost" else 20.0)
    match end:
        case "lost":
            await swept(sweeps.expired_leases, lease_s=0.0)
        case "cancelled":
            await swept(jobs.cancel, job_id=claim.id, tenant_id="acme")
        case "timeout":
            await steps.finish(gone_wrong(claim, JobState.RETRY_WAIT, error_code="timeout"))
        case _:
            await steps.finish(answered(claim))
    held = await swept(sweeps.held_calls, lease_s=20.0)
    assert [(call.id, call.epoch) for call in held] == ([] if end == "answered" else [(claim.id, 1)])
    assert all(19 < call.left_s <= 20 for call in held)
    await sql.rows("UPDATE attempts SET ended_at = ended_at - interval '20 s'")
    assert await swept(sweeps.held_calls, lease_s=20.0) == []


async def test_what_is_in_flight_is_told_with_its_tenant_and_the_cap_of_its_batch(
    steps: Steps, sql: Sql, swept: Swept
) -> None:
    batch_id, (line,) = await steps.batch(1)
    await sql.rows("UPDATE batches SET max_parallel_requests = 7")
    await steps.run_on()
    (alone,) = await steps.running(tenant_id="other")
    told = {
        call.id: (call.tenant_id, call.batch_id, call.batch_slots)
        for call in await swept(sweeps.held_calls, lease_s=20.0)
    }
    assert told == {line.id: ("acme", batch_id, 7), alone.id: ("other", None, None)}


async def test_what_was_given_of_late_is_told_by_model_tenant_and_age(steps: Steps, sql: Sql, swept: Swept) -> None:
    for tenant_id in ("acme", "acme", "other"):
        (claim,) = await steps.running(tenant_id=tenant_id)
        await steps.finish(answered(claim, tokens_in=100, tokens_out=20))
    await sql.rows("UPDATE attempts SET started_at = now() - interval '7.5 s'")
    (long_ago,) = await steps.running()
    await steps.finish(answered(long_ago))
    await sql.rows("UPDATE attempts SET started_at = now() - interval '2 min' WHERE job_id = %s", long_ago.id)
    (uncalled,) = await steps.running()
    await steps.finish(Finish(id=uncalled.id, attempt=1, state=JobState.QUEUED, outcome="uncalled"))
    await sql.rows("UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE state = 'queued'")
    await steps.running(count=1)
    found = await swept(sweeps.given_of_late, within_s=60.0, grain_s=5.0)
    given = {(each.tenant_id, each.ago_s): each for each in found}
    assert given.keys() == {("acme", 0.0), ("acme", 5.0), ("other", 5.0)}
    two, one = given["acme", 5.0], given["other", 5.0]
    assert (two.requests, two.told, two.tokens_in, two.tokens_out, two.estimated_in) == (2, 2, 200, 40, 20)
    assert (one.requests, one.told, one.tokens_in, one.tokens_out, one.estimated_in) == (1, 1, 100, 20, 10)
    assert (two.untold_in, two.untold_out, two.unlimited) == (0, 0, 0)
    assert {each.model_id for each in found} == {"alpha"}


async def test_a_call_whose_tokens_are_not_told_counts_by_its_estimates(steps: Steps, swept: Swept) -> None:
    await steps.running(tokens_in=30, tokens_out=70)
    await steps.running(tokens_in=12)
    (failed,) = await steps.running(tokens_in=5, tokens_out=9)
    await steps.finish(gone_wrong(failed, JobState.RETRY_WAIT))
    (given,) = await swept(sweeps.given_of_late, within_s=60.0, grain_s=60.0)
    assert (given.requests, given.told, given.tokens_in, given.tokens_out) == (3, 0, 0, 0)
    assert (given.untold_in, given.untold_out, given.unlimited) == (47, 79, 1)


async def test_a_call_that_waited_for_its_start_longer_than_the_window_counts_all_the_same(
    steps: Steps, sql: Sql, swept: Swept
) -> None:
    """It was claimed before the window and may have been called a moment ago, also where it was given up since."""
    for lease_s in (60.0, -1.0):
        await steps.running(lease_s=lease_s)
    await swept(sweeps.expired_leases, lease_s=0.0)
    await sql.rows("UPDATE attempts SET started_at = now() - interval '100 s'")
    (given,) = await swept(sweeps.given_of_late, within_s=60.0, grain_s=60.0)
    assert (given.requests, given.ago_s) == (2, 0.0)


async def test_models_that_said_wait_are_told_as_long_as_their_jobs_wait(steps: Steps, sql: Sql, swept: Swept) -> None:
    for delay_s in (30.0, 50.0):
        (claim,) = await steps.running()
        await steps.finish(gone_wrong(claim, JobState.RETRY_WAIT, outcome="throttled", counted=False, delay_s=delay_s))
    (failed,) = await steps.running()
    await steps.finish(gone_wrong(failed, JobState.RETRY_WAIT, delay_s=90.0))
    assert await swept(sweeps.throttled_models) == {"alpha": pytest.approx(50.0, abs=2.0)}
    await sql.rows("UPDATE jobs SET available_at = now() - interval '1 s'")
    assert await swept(sweeps.throttled_models) == {}


async def test_two_janitors_at_once_take_each_call_over_once(steps: Steps, sql: Sql, swept: Swept) -> None:
    await steps.running(count=20, lease_s=-1.0)
    both = await asyncio.gather(*(swept(sweeps.expired_leases, lease_s=0.0) for _ in range(2)))
    assert sum(map(len, both)) == 20
    assert await sql.value("SELECT sum(lost_leases) FROM jobs") == 20
