"""The way of a job through the store: accept, take, route, claim, finish; and what a late or doubled step does: nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from router_service.jobs.spec import lane_of
from router_service.jobs.states import JobState
from router_service.store import calls, dispatch, jobs
from router_service.store.calls import Fate
from router_service.store.decisions import Routed
from tests.support.steps import ANSWER, BODY, TENANT, answered, decision, gone_wrong, new_job

if TYPE_CHECKING:
    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps


async def test_a_job_goes_its_way_from_accepted_to_succeeded(steps: Steps, sql: Sql, database: Database) -> None:
    (job,) = await steps.accept(count=1, tokens_out=5, features=("tools",), metadata={"k": "v"})
    assert await sql.state(job.id) == "queued"
    (ticket,) = await steps.route()
    assert ticket == (job.id, 1)
    (claim,) = await steps.claim([ticket])
    assert (claim.epoch, claim.attempt, claim.tries, claim.model_id) == (1, 1, 0, "alpha")
    assert (claim.body, claim.tokens_in, claim.tokens_out, claim.left_s) == (BODY, 10, 5, None)
    assert await steps.finish(answered(claim)) == [Fate.MOVED]
    async with database.transaction() as session:
        row = await jobs.get(session, job.id, tenant_id=TENANT)
        why = await jobs.explain(session, job.id)
    assert row is not None
    assert (row.state, row.body, row.status_code, row.result_model) == ("succeeded", ANSWER, 200, "alpha")
    assert (row.result_tokens_in, row.result_tokens_out, float(row.cost_usd)) == (7, 3, 0.5)
    assert [each["epoch"] for each in why.decisions] == [1]
    assert [(each["attempt"], each["outcome"]) for each in why.attempts] == [(1, "answered")]


async def test_another_tenants_job_is_not_there(steps: Steps, database: Database) -> None:
    (job,) = await steps.accept(count=1)
    async with database.transaction() as session:
        assert await jobs.get(session, job.id, tenant_id="other") is None
        assert await jobs.is_terminal(session, job.id, tenant_id="other") is None
        assert await jobs.cancel(session, job.id, tenant_id="other") is None


async def test_a_claim_of_an_old_epoch_changes_nothing(steps: Steps, sql: Sql) -> None:
    (job,) = await steps.accept(count=1)
    await steps.route()
    before = await sql.job(job.id)
    assert await steps.claim([(job.id, 0), (job.id, 2)]) == []
    assert await sql.job(job.id) == before
    assert await sql.rows("SELECT * FROM attempts") == []


async def test_a_ticket_is_good_once(steps: Steps, sql: Sql) -> None:
    (job,) = await steps.accept(count=1)
    tickets = await steps.route()
    claims = await asyncio.gather(*(steps.claim(tickets, worker=f"w{number}") for number in range(4)))
    assert sum(map(len, claims)) == 1
    assert (await sql.job(job.id))["attempt"] == 1


async def test_a_job_is_not_claimed_after_its_deadline(steps: Steps, sql: Sql) -> None:
    await steps.accept(count=1)
    tickets = await steps.route()
    await sql.rows("UPDATE jobs SET deadline = now() - interval '1 s'")
    assert await steps.claim(tickets) == []


async def test_a_decision_on_a_job_that_moved_meanwhile_is_not_stored(
    steps: Steps, sql: Sql, database: Database
) -> None:
    (job,) = await steps.accept(count=1)
    (taken,) = await steps.take()
    await steps.route()
    async with database.transaction() as session:
        assert await dispatch.store_routed(session, [Routed(job=taken.job, decision=decision("beta"))]) == []
    row = await sql.job(job.id)
    assert (row["model_id"], row["epoch"]) == ("alpha", 1)
    assert await sql.value("SELECT count(*) FROM decisions") == 1


async def test_a_late_finish_does_not_overwrite_a_rescued_job_and_is_recorded(
    steps: Steps, sql: Sql, database: Database
) -> None:
    (late,) = await steps.running()
    await sql.rows("UPDATE jobs SET lease_until = now() - interval '1 s'")
    await sql.rows("SELECT pg_sleep(0.01)")
    async with database.transaction() as session:
        await session.rows("sweep_leases", lease_s=0.0, most=10, poison=3)
        await session.rows("sweep_due", most=10)
    (second,) = await steps.run_on()
    assert await steps.finish(answered(late, body='{"late":1}', cost_usd=0.25)) == [Fate.STALE]
    assert await sql.state(late.id) == "running"
    assert await steps.finish(answered(second)) == [Fate.MOVED]
    assert await sql.value("SELECT body FROM job_results") == ANSWER
    records = await sql.rows("SELECT attempt, outcome, cost_usd::float8 FROM attempts ORDER BY attempt")
    assert [tuple(record.values()) for record in records] == [(1, "late", 0.25), (2, "answered", 0.5)]


async def test_a_late_finish_after_the_second_answer_changes_nothing(
    steps: Steps, sql: Sql, database: Database
) -> None:
    (late,) = await steps.running(lease_s=-1.0)
    async with database.transaction() as session:
        await session.rows("sweep_leases", lease_s=0.0, most=10, poison=3)
        await session.rows("sweep_due", most=10)
    (second,) = await steps.run_on()
    await steps.finish(answered(second))
    before = await sql.job(late.id)
    assert await steps.finish(gone_wrong(late, JobState.DEAD)) == [Fate.STALE]
    assert await sql.job(late.id) == before
    assert await sql.rows("SELECT * FROM dead_letters") == []


async def test_the_same_finish_twice_is_repeated_and_stores_one_result(steps: Steps, sql: Sql) -> None:
    (claim,) = await steps.running()
    assert await steps.finish(answered(claim)) == [Fate.MOVED]
    before = await sql.job(claim.id)
    assert await steps.finish(answered(claim)) == [Fate.REPEATED]
    assert await sql.job(claim.id) == before
    assert await sql.value("SELECT count(*) FROM job_results") == 1


async def test_a_dead_letter_is_written_once_however_often_its_finish_is(steps: Steps, sql: Sql) -> None:
    (claim,) = await steps.running()
    dead = gone_wrong(claim, JobState.DEAD)
    assert [await steps.finish(dead), await steps.finish(dead)] == [[Fate.MOVED], [Fate.REPEATED]]
    letter = await sql.one("SELECT * FROM dead_letters")
    assert (letter["job_id"], letter["model_id"], letter["attempt"], letter["state"]) == (claim.id, "alpha", 1, "open")
    assert (letter["error_code"], letter["status_code"]) == ("provider_error", 500)


@pytest.mark.parametrize(
    ("state", "changes", "wanted"),
    [
        (JobState.RETRY_WAIT, {"delay_s": 60.0}, {"tries": 1}),
        (JobState.RETRY_WAIT, {"counted": False, "outcome": "throttled"}, {"tries": 0}),
        (JobState.QUEUED, {"counted": False, "outcome": "returned"}, {"tries": 0, "epoch": 1}),
        (JobState.FAILED, {"body": '{"error":{}}', "status_code": 400}, {"tries": 1}),
        (JobState.DEAD, {}, {"tries": 1}),
    ],
)
async def test_a_call_that_ends_otherwise_moves_its_job_there(
    steps: Steps, sql: Sql, state: JobState, changes: dict[str, object], wanted: dict[str, int]
) -> None:
    (claim,) = await steps.running()
    assert await steps.finish(gone_wrong(claim, state, **changes)) == [Fate.MOVED]
    row = await sql.job(claim.id)
    assert row | wanted == row
    assert (row["state"], row["lease_until"], row["worker"]) == (state, None, None)
    if state is JobState.RETRY_WAIT and "delay_s" in changes:
        assert await sql.value("SELECT available_at - now() BETWEEN interval '50 s' AND interval '60 s' FROM jobs")
    assert await sql.value("SELECT count(*) FROM job_results") == (1 if state is JobState.FAILED else 0)


async def test_a_group_of_finishes_is_all_or_nothing(steps: Steps, sql: Sql) -> None:
    one, two = await steps.running(count=2)
    with pytest.raises(Exception, match="status_code"):
        await steps.finish(answered(one), answered(two, status_code=None))
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'running'") == 2
    assert await sql.value("SELECT count(*) FROM job_results") == 0


async def test_finishes_of_different_ends_go_in_one_statement(steps: Steps, sql: Sql) -> None:
    one, two, three = await steps.running(count=3)
    fates = await steps.finish(answered(three), gone_wrong(one, JobState.RETRY_WAIT), answered(replace(two, attempt=9)))
    assert fates == [Fate.MOVED, Fate.MOVED, Fate.STALE]
    assert [await sql.state(each.id) for each in (one, two, three)] == ["retry_wait", "running", "succeeded"]


async def test_a_late_finish_beside_the_good_one_of_the_same_job_stores_the_good_one(
    steps: Steps, sql: Sql, database: Database
) -> None:
    (late,) = await steps.running(lease_s=-1.0)
    async with database.transaction() as session:
        await session.rows("sweep_leases", lease_s=0.0, most=10, poison=3)
        await session.rows("sweep_due", most=10)
    (good,) = await steps.run_on()
    fates = await steps.finish(gone_wrong(late, JobState.DEAD), answered(good))
    assert fates == [Fate.STALE, Fate.MOVED]
    assert await sql.state(good.id) == "succeeded"
    assert await sql.value("SELECT attempt FROM job_results") == 2
    assert await sql.rows("SELECT * FROM dead_letters") == []


async def test_text_that_is_hard_to_store_is_stored_as_it_came(steps: Steps, sql: Sql) -> None:
    (claim,) = await steps.running()
    body = json.dumps({"choices": ["\u0000 \ud800 '\"\\ \u2028 \U0001f6a2 : :id %s {0}"]})
    await steps.finish(answered(claim, body=body))
    assert await sql.value("SELECT body FROM job_results") == body


async def test_two_takers_never_take_the_same_job(steps: Steps, database: Database) -> None:
    await steps.accept(count=40)
    async with database.transaction() as one, database.transaction() as other:
        first = await dispatch.take(one, most=15, blocked=())
        second = await dispatch.take(other, most=500, blocked=())
    assert len(first) == 15
    assert len(second) == 25
    assert not {each.job.id for each in first} & {each.job.id for each in second}


async def test_many_routers_at_once_route_each_job_once(steps: Steps, sql: Sql) -> None:
    await steps.accept(count=60)
    routed = [ticket for each in await asyncio.gather(*(steps.route(most=20) for _ in range(5))) for ticket in each]
    while more := await steps.route(most=20):
        routed += more
    assert len(routed) == len(set(routed)) == 60
    assert await sql.value("SELECT count(*) FROM decisions") == 60


async def test_a_blocked_lane_does_not_hide_another(steps: Steps) -> None:
    crowd = await steps.accept(count=30, model="busy")
    (lonely,) = await steps.accept(count=1, model="idle")
    taken = await steps.take(most=10)
    assert lonely.id in {each.job.id for each in taken}
    blocked = [lane_of(crowd[0].spec, tenant_id=TENANT)]
    assert [each.job.id for each in await steps.take(most=10, blocked=blocked)] == [lonely.id]


async def test_each_tenant_gets_its_share(steps: Steps) -> None:
    await steps.accept(count=50, tenant_id="big")
    small = {job.id for job in await steps.accept(count=5, tenant_id="small")}
    assert small <= {each.job.id for each in await steps.take(most=10)}


async def test_priority_comes_before_age(steps: Steps) -> None:
    await steps.accept(count=3)
    (urgent,) = await steps.accept(count=1, priority=5)
    assert [each.job.id for each in await steps.take(most=1)] == [urgent.id]


async def test_a_job_past_its_deadline_is_not_taken(steps: Steps, sql: Sql) -> None:
    await steps.accept(count=2)
    (late, good) = await steps.take()
    await sql.rows("UPDATE jobs SET deadline = now() - interval '1 s' WHERE id = %s", late.job.id)
    assert [each.job.id for each in await steps.take()] == [good.job.id]


async def test_renewing_prolongs_only_calls_that_are_still_the_workers_own(
    steps: Steps, sql: Sql, database: Database
) -> None:
    mine, lost = await steps.running(count=2, lease_s=1.0)
    await steps.finish(gone_wrong(lost, JobState.RETRY_WAIT))
    async with database.transaction() as session:
        held = await calls.renew(session, [(mine.id, 1), (lost.id, 1), (mine.id, 2)], lease_s=100.0)
    assert held == {(mine.id, 1)}
    assert await sql.value("SELECT lease_until > now() + interval '90 s' FROM jobs WHERE id = %s", mine.id)


async def test_renewing_an_old_call_does_not_prolong_the_lease_of_its_successor(
    steps: Steps, sql: Sql, database: Database
) -> None:
    (late,) = await steps.running(lease_s=-1.0)
    async with database.transaction() as session:
        await session.rows("sweep_leases", lease_s=0.0, most=10, poison=3)
        await session.rows("sweep_due", most=10)
    (second,) = await steps.run_on(lease_s=1.0)
    async with database.transaction() as session:
        assert await calls.renew(session, [(late.id, late.attempt)], lease_s=100.0) == set()
    assert await sql.value("SELECT lease_until < now() + interval '2 s' FROM jobs WHERE id = %s", second.id)


@pytest.mark.parametrize("state", ["queued", "routed", "retry_wait", "dead", "running"])
async def test_a_live_job_is_cancelled_wherever_it_stands(
    steps: Steps, sql: Sql, database: Database, state: str
) -> None:
    (job,) = await steps.accept(count=1)
    if state != "queued":
        tickets = await steps.route()
    if state in {"retry_wait", "dead", "running"}:
        (claim,) = await steps.claim(tickets)
    if state in {"retry_wait", "dead"}:
        await steps.finish(gone_wrong(claim, JobState(state)))
    async with database.transaction() as session:
        moved = await jobs.cancel(session, job.id, tenant_id=TENANT)
        again = await jobs.cancel(session, job.id, tenant_id=TENANT)
    assert moved is not None
    assert moved.left == state
    assert again is None
    assert await sql.state(job.id) == "cancelled"
    assert await sql.value("SELECT count(*) FROM dead_letters WHERE state = 'open'") == 0


async def test_the_answer_to_a_cancelled_call_is_late_and_stores_no_result(
    steps: Steps, sql: Sql, database: Database
) -> None:
    (claim,) = await steps.running()
    async with database.transaction() as session:
        await jobs.cancel(session, claim.id, tenant_id=TENANT)
    assert await steps.finish(answered(claim)) == [Fate.STALE]
    assert await sql.state(claim.id) == "cancelled"
    assert await sql.value("SELECT count(*) FROM job_results") == 0
    record = await sql.one("SELECT attempt, outcome, cost_usd::float8 FROM attempts")
    assert tuple(record.values()) == (1, "late", 0.5)


async def test_a_list_is_newest_first_and_filtered(steps: Steps, database: Database) -> None:
    made = await steps.accept(count=5)
    await steps.accept(count=1, tenant_id="other")
    (beta,) = await steps.accept(new_job(model="beta"))

    async def listed(**changes: object) -> list[object]:
        asked = {"most": 10, "before": None, "state": None, "batch_id": None, "model": None} | changes
        async with database.transaction() as session:
            return [row.id for row in await jobs.listed(session, tenant_id=TENANT, **asked)]  # type: ignore[arg-type]

    newest_first = [beta.id, *(job.id for job in reversed(made))]
    assert await listed() == newest_first
    assert await listed(most=2) == newest_first[:2]
    assert await listed(before=made[2].id) == [made[1].id, made[0].id]
    assert await listed(model="beta") == [beta.id]
    assert await listed(state="succeeded") == []


async def test_a_transaction_that_raises_leaves_nothing(steps: Steps, database: Database, sql: Sql) -> None:
    async def broken() -> None:
        async with database.transaction() as session:
            await jobs.accept(session, [new_job()])
            raise LookupError

    with pytest.raises(LookupError):
        await broken()
    assert await sql.value("SELECT count(*) FROM jobs") == 0
    assert await sql.value("SELECT count(*) FROM job_inputs") == 0
