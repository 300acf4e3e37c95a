"""Which queued jobs are taken: some of every tenant and lane, in the order of their ranks; and what stands aside."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from router_service.jobs.ranks import POINT_S
from router_service.jobs.spec import TYPICAL_TOKENS_OUT
from router_service.store import dispatch
from tests.support.steps import Steps, make_id, new_job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from router_service.store.dispatch import Taken
    from router_service.store.jobs import NewJob
    from router_service.store.session import Database
    from tests.support.steps import Sql

SOON = datetime.now(UTC) + timedelta(hours=1)


def ids(taken: Sequence[Taken]) -> list[UUID]:
    return [each.job.id for each in taken]


def in_batch(count: int, **changes: object) -> list[NewJob]:
    batch_id = make_id()
    return [new_job(batch_id=batch_id, line=line, custom_id=f"c{line}", **changes) for line in range(1, count + 1)]


async def test_a_taken_job_says_whose_it_is_what_it_may_cost_and_how_long_it_has(steps: Steps) -> None:
    single, (line,) = new_job(tokens_in=7, tokens_out=5, deadline=SOON), in_batch(1, tokens_in=7, tenant_id="big")
    await steps.accept(single, line)
    taken = {each.job.id: each for each in await steps.take()}
    one, other = taken[single.id], taken[line.id]
    assert (one.tenant_id, one.batch_id, one.interactive, one.tokens) == ("acme", None, True, 12)
    assert one.rank == pytest.approx(SOON.timestamp())
    assert one.job.left_s == pytest.approx((SOON - datetime.now(UTC)).total_seconds(), abs=60)
    assert (other.tenant_id, other.batch_id, other.interactive) == ("big", line.batch_id, False)
    assert (other.tokens, other.job.left_s) == (7 + TYPICAL_TOKENS_OUT, None)
    assert one.lane < 0 <= other.lane


async def test_the_earliest_deadline_goes_first_and_priority_brings_forward(steps: Steps) -> None:
    last = new_job(deadline=SOON + timedelta(minutes=20))
    first = new_job(deadline=SOON)
    brought = new_job(deadline=SOON + timedelta(minutes=10), priority=1)
    await steps.accept(last, first, brought)
    assert ids(await steps.take()) == [brought.id, first.id, last.id]


async def test_a_job_that_has_waited_long_goes_before_a_new_one_of_higher_priority(steps: Steps, sql: Sql) -> None:
    (old,) = await steps.accept(count=1)
    (urgent,) = await steps.accept(count=1, priority=2)
    assert ids(await steps.take()) == [urgent.id, old.id]
    await sql.rows("UPDATE jobs SET rank = rank - %s WHERE id = %s", 2 * POINT_S + 60, old.id)
    assert ids(await steps.take()) == [old.id, urgent.id]


async def test_every_tenant_is_represented_however_large_another_ones_batch_is(steps: Steps) -> None:
    await steps.accept(*in_batch(400, tenant_id="huge"))
    for number in range(9):
        await steps.accept(count=30, tenant_id=f"t{number}")
    taken = await steps.take(most=20)
    assert Counter(each.tenant_id for each in taken) == {"huge": 2, **{f"t{number}": 2 for number in range(9)}}


async def test_a_tenant_whose_jobs_are_small_is_represented_by_more_of_them(steps: Steps) -> None:
    await steps.accept(count=100, tenant_id="small", tokens_in=10, tokens_out=10)
    await steps.accept(count=100, tenant_id="large", tokens_in=1000, tokens_out=1000)
    of = Counter(each.tenant_id for each in await steps.take(most=40))
    assert of["small"] > 2 * of["large"] > 0


async def test_a_tenants_interactive_jobs_come_before_its_batches(steps: Steps) -> None:
    await steps.accept(*in_batch(50, priority=100))
    singles = await steps.accept(count=3)
    taken = ids(await steps.take(most=10))
    assert taken[:3] == [job.id for job in singles]
    assert len(taken) > 3


async def test_only_interactive_jobs_are_taken_where_only_urgent_ones_are_asked_for(
    steps: Steps, database: Database
) -> None:
    await steps.accept(*in_batch(5))
    (single,) = await steps.accept(count=1)
    async with database.transaction() as session:
        assert ids(await dispatch.take(session, most=10, blocked=(), only_urgent=True)) == [single.id]


async def test_an_interactive_job_is_found_however_many_lanes_of_batches_there_are(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MOST_LANES", 4)
    await steps.accept(*(job for number in range(40) for job in in_batch(1, tenant_id=f"t{number}")))
    (single,) = await steps.accept(count=1)
    for _look in range(5):
        assert single.id in ids(await steps.take(most=2))


async def test_lanes_beyond_one_look_are_reached_from_another_lane_on(
    steps: Steps, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "MOST_LANES", 4)
    made = await steps.accept(*(job for number in range(30) for job in in_batch(1, tenant_id=f"t{number}")))
    seen: set[UUID] = set()
    lane = 0
    for _look in range(8):
        async with database.transaction() as session:
            taken = await dispatch.take(session, most=100, blocked=(), first_lane=lane)
        assert len(taken) == 4
        seen |= set(ids(taken))
        lanes = [each.lane for each in taken]
        lane = max([each for each in lanes if each < lane] or lanes) + 1
    assert seen == {job.id for job in made}


async def test_blocked_lanes_do_not_count_among_those_that_are_looked_at(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    await steps.accept(*(job for number in range(30) for job in in_batch(1, tenant_id=f"t{number}")))
    lanes = [each.lane for each in await steps.take()]
    monkeypatch.setattr(dispatch, "MOST_LANES", 2)
    (left,) = await steps.take(blocked=lanes[1:])
    assert left.lane == lanes[0]


async def test_a_held_job_is_passed_over_until_its_time_and_hides_nothing(
    steps: Steps, sql: Sql, database: Database
) -> None:
    held, free = await steps.accept(count=2)
    async with database.transaction() as session:
        await dispatch.hold(session, [held.id], hold_s=60.0)
    assert ids(await steps.take()) == [free.id]
    await sql.rows("UPDATE jobs SET held_until = now() WHERE held_until IS NOT NULL")
    assert ids(await steps.take()) == [free.id]  # lets it go
    assert ids(await steps.take()) == [held.id, free.id]


async def test_held_jobs_are_let_go_when_the_catalog_changes(steps: Steps, database: Database) -> None:
    made = await steps.accept(count=3)
    async with database.transaction() as session:
        await dispatch.hold(session, [job.id for job in made], hold_s=600.0)
    assert await steps.take() == []
    async with database.transaction() as session:
        assert await dispatch.release(session) == 3
    assert ids(await steps.take()) == [job.id for job in made]


async def test_a_job_that_is_given_back_waits_anew_and_its_ticket_is_stale(
    steps: Steps, sql: Sql, database: Database
) -> None:
    (job,) = await steps.accept(count=1)
    (ticket,) = await steps.route()
    async with database.transaction() as session:
        (returned,) = await dispatch.give_back(session, [ticket, (make_id(), 1)])
        assert await dispatch.give_back(session, [ticket]) == []
    assert (returned.id, returned.model_id, returned.tenant_id) == (job.id, "alpha", job.tenant_id)
    assert await steps.claim([ticket]) == []
    row = await sql.job(job.id)
    assert (row["state"], row["epoch"], row["routed_at"]) == ("queued", 2, None)
    assert [each.job.epoch for each in await steps.take()] == [2]


async def test_a_job_that_is_called_already_is_not_given_back(steps: Steps, sql: Sql, database: Database) -> None:
    (claim,) = await steps.running()
    async with database.transaction() as session:
        assert await dispatch.give_back(session, [(claim.id, claim.epoch)]) == []
    assert await sql.state(claim.id) == "running"


async def test_a_job_that_cannot_be_done_in_time_ends_with_its_reason(
    steps: Steps, sql: Sql, database: Database
) -> None:
    late, moved = await steps.accept(count=2)
    why = "no model can answer in time: needs 2.1 s, 0.8 s are left"
    async with database.transaction() as session:
        assert await dispatch.expire(session, [(moved.id, 7, why), (late.id, 0, why)]) == [late.id]
    row = await sql.job(late.id)
    assert (row["state"], row["error_code"], row["error_message"]) == ("expired", "deadline_exceeded", why)
    assert row["finished_at"] is not None
    assert await sql.state(moved.id) == "queued"
