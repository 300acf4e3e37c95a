from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from router_service.jobs.spec import lane_of
from router_service.jobs.states import JobState
from router_service.store import dead_letters
from router_service.store.dead_letters import Selection
from router_service.store.decisions import Routed
from tests.support.steps import TENANT, answered, decision, gone_wrong

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps


class Letters:
    """The dead-letter worker's transactions, and the operator's."""

    def __init__(self, database: Database, steps: Steps) -> None:
        self._database = database
        self._steps = steps

    async def dead(self, count: int = 1, **changes: Any) -> list[tuple[UUID, int]]:
        claims = await self._steps.running(count=count, **changes)
        await self._steps.finish(*(gone_wrong(claim, JobState.DEAD) for claim in claims))
        return [(claim.id, claim.epoch) for claim in claims]

    async def settle(self, tickets: Sequence[tuple[UUID, int]], *, to: str | None) -> int:
        async with self._database.transaction() as session:
            dead = await dead_letters.load(session, tickets)
            return await dead_letters.settle(
                session, [(each, Routed(job=each.job, decision=decision(to))) for each in dead]
            )

    async def parked(self, count: int = 1, **changes: Any) -> list[tuple[UUID, int]]:
        tickets = await self.dead(count, **changes)
        assert await self.settle(tickets, to=None) == 0
        return tickets

    async def replay(self, *, most: int = 100, to_model: str | None = None, tenant: str = TENANT, **chosen: Any) -> int:
        async with self._database.transaction() as session:
            return await dead_letters.replay(
                session, tenant_id=tenant, selection=Selection(**chosen), to_model=to_model, most=most
            )

    async def discard(self, *, tenant: str = TENANT, **chosen: Any) -> int:
        async with self._database.transaction() as session:
            return await dead_letters.discard(session, tenant_id=tenant, selection=Selection(**chosen), most=100)

    async def listed(self, *, most: int = 100, after: UUID | None = None, state: str | None = None) -> list[Any]:
        async with self._database.transaction() as session:
            return list(
                await dead_letters.listed(
                    session, tenant_id=TENANT, most=most, selection=Selection(), after=after, state=state
                )
            )


@pytest.fixture
def letters(database: Database, steps: Steps) -> Letters:
    return Letters(database, steps)


async def test_a_dead_job_is_queued_for_the_next_model_with_the_old_one_excluded(
    letters: Letters, sql: Sql, steps: Steps
) -> None:
    (ticket,) = await letters.dead()
    assert await letters.settle([ticket], to="beta") == 1
    row = await sql.job(ticket[0])
    assert (row["state"], row["excluded"], row["tries"], row["epoch"]) == ("queued", ["alpha"], 0, 1)
    assert await sql.value("SELECT state FROM dead_letters") == "rerouted"
    (taken,) = await steps.take()
    assert taken.job.spec.excluded == ("alpha",)
    assert taken.lane == lane_of(taken.job.spec, tenant_id=TENANT)


async def test_a_second_model_that_gives_up_is_excluded_too(letters: Letters, sql: Sql, steps: Steps) -> None:
    (ticket,) = await letters.dead()
    await letters.settle([ticket], to="beta")
    (claim,) = await steps.run_on(model_id="beta")
    await steps.finish(gone_wrong(claim, JobState.DEAD))
    await letters.settle([(claim.id, claim.epoch)], to="gamma")
    assert (await sql.job(claim.id))["excluded"] == ["alpha", "beta"]
    rows = await sql.rows("SELECT model_id, attempt, state FROM dead_letters ORDER BY attempt")
    assert [tuple(row.values()) for row in rows] == [("alpha", 1, "rerouted"), ("beta", 2, "rerouted")]


async def test_a_dead_job_without_another_model_fails_and_is_parked(letters: Letters, sql: Sql) -> None:
    ((job_id, _epoch),) = await letters.parked()
    row = await sql.job(job_id)
    assert (row["state"], row["error_code"]) == ("failed", "provider_error")
    assert await sql.value("SELECT state FROM dead_letters") == "parked"
    assert await sql.value("SELECT reason FROM decisions ORDER BY epoch DESC LIMIT 1") == "test"


async def test_a_stale_or_doubled_ticket_settles_nothing(letters: Letters, sql: Sql) -> None:
    ((job_id, epoch),) = await letters.dead()
    assert await letters.settle([(job_id, epoch + 1), (uuid4(), epoch)], to="beta") == 0
    assert await sql.state(job_id) == "dead"
    assert await letters.settle([(job_id, epoch)], to="beta") == 1
    before = await sql.job(job_id)
    assert await letters.settle([(job_id, epoch)], to="gamma") == 0
    assert await sql.job(job_id) == before


async def test_two_workers_never_hold_the_same_dead_job(letters: Letters, database: Database) -> None:
    tickets = await letters.dead(3)
    async with database.transaction() as one, database.transaction() as other:
        assert len(await dead_letters.load(one, tickets)) == 3
        assert await dead_letters.load(other, tickets) == []


async def test_a_replay_queues_the_job_again_with_every_model_allowed(letters: Letters, sql: Sql, steps: Steps) -> None:
    ((job_id, epoch),) = await letters.parked()
    assert await letters.replay() == 1
    row = await sql.job(job_id)
    assert (row["state"], row["epoch"], row["excluded"], row["tries"]) == ("queued", epoch + 1, [], 0)
    assert (row["finished_at"], row["error_code"]) == (None, None)
    assert await sql.value("SELECT state FROM dead_letters") == "replayed"
    assert await letters.replay() == 0
    (claim,) = await steps.run_on()
    assert claim.attempt == 2
    await steps.finish(answered(claim))
    assert await sql.state(job_id) == "succeeded"


async def test_a_replay_may_name_another_model(letters: Letters, sql: Sql, steps: Steps) -> None:
    await letters.parked()
    await letters.replay(to_model="beta")
    (taken,) = await steps.take()
    assert (taken.job.spec.model, taken.lane) == ("beta", lane_of(taken.job.spec, tenant_id=TENANT))


async def test_a_deadline_that_has_passed_does_not_bind_a_replay(letters: Letters, sql: Sql, steps: Steps) -> None:
    ((job_id, _epoch),) = await letters.parked()
    await sql.rows("UPDATE jobs SET deadline = now() - interval '1 s'")
    await letters.replay()
    assert (await sql.job(job_id))["deadline"] is None
    assert len(await steps.take()) == 1


async def test_a_replay_takes_only_what_was_chosen(letters: Letters, sql: Sql) -> None:
    await letters.parked(4)
    first, *_others = await letters.listed()
    assert await letters.replay(ids=(first.id,), tenant="other") == 0
    assert await letters.replay(ids=()) == 0
    assert await letters.replay(model="beta") == 0
    assert await letters.replay(code="poison") == 0
    assert await letters.replay(batch_id=uuid4()) == 0
    assert await letters.replay(ids=(first.id,)) == 1
    assert await sql.state(first.job_id) == "queued"
    assert await letters.replay(model="alpha", code="provider_error", most=2) == 2
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'failed'") == 1


async def test_a_discarded_letter_leaves_its_job_failed_for_good(letters: Letters, sql: Sql) -> None:
    ((job_id, _epoch),) = await letters.parked()
    assert await letters.discard(tenant="other") == 0
    assert await letters.discard() == 1
    assert await letters.discard() == 0
    assert await letters.replay() == 0
    assert await sql.state(job_id) == "failed"
    assert await sql.value("SELECT state FROM dead_letters") == "discarded"


async def test_an_open_letter_can_be_neither_replayed_nor_discarded(letters: Letters, sql: Sql) -> None:
    await letters.dead()
    assert await letters.replay() == 0
    assert await letters.discard() == 0
    assert await sql.value("SELECT state FROM dead_letters") == "open"


async def test_letters_are_listed_newest_first_in_pages(letters: Letters) -> None:
    await letters.dead(3)
    await letters.parked(2)
    everything = await letters.listed()
    assert [row.state for row in everything] == ["parked"] * 2 + ["open"] * 3
    first = await letters.listed(most=2)
    rest = await letters.listed(after=first[-1].id)
    assert [row.id for row in (*first, *rest)] == [row.id for row in everything]
    assert len(await letters.listed(state="parked")) == 2


async def test_a_poison_job_keeps_its_count_of_lost_leases_on_the_next_model(
    letters: Letters, sql: Sql, database: Database, steps: Steps
) -> None:
    (claim,) = await steps.running(lease_s=-1.0)
    await sql.rows("UPDATE jobs SET lost_leases = 2")
    async with database.transaction() as session:
        await session.rows("sweep_leases", lease_s=0.0, most=10, poison=3)
    assert await letters.settle([(claim.id, claim.epoch)], to="beta") == 1
    assert await sql.value("SELECT state FROM dead_letters") == "rerouted"
    assert (await sql.job(claim.id))["lost_leases"] == 3, "one more, and it is given up at once"


async def test_the_oldest_letters_are_replayed_first(letters: Letters, sql: Sql) -> None:
    await letters.parked(3)
    newest, *older = await letters.listed()
    assert await letters.replay(most=2) == 2
    assert await sql.state(newest.job_id) == "failed"
    assert {await sql.state(each.job_id) for each in older} == {"queued"}


async def test_two_operators_get_different_letters_and_wait_for_nobody(letters: Letters, database: Database) -> None:
    await letters.parked(3)
    async with database.transaction() as session:
        first = await dead_letters.replay(session, tenant_id=TENANT, selection=Selection(), to_model=None, most=2)
        assert (first, await letters.discard(), await letters.replay()) == (2, 1, 0)
    assert sorted(row.state for row in await letters.listed()) == ["discarded", "replayed", "replayed"]


async def test_letters_are_chosen_by_job_and_time(letters: Letters, sql: Sql, database: Database) -> None:
    await letters.parked(3)
    one, other, *_rest = await letters.listed()
    await sql.rows("UPDATE dead_letters SET created_at = now() - interval '1 h' WHERE id = %s", one.id)
    async with database.transaction() as session:
        count, now = await dead_letters.count_parked(session, tenant_id=TENANT, selection=Selection())
        of_nobody, _now = await dead_letters.count_parked(session, tenant_id="other", selection=Selection())
    assert (count, of_nobody) == (3, 0)
    recently = now - timedelta(minutes=30)
    assert await letters.replay(job_id=other.job_id, until=recently) == 0
    assert await letters.replay(until=recently) == 1
    assert await sql.state(one.job_id) == "queued"
    assert await letters.discard(since=recently, job_id=other.job_id) == 1
    assert await letters.discard(since=now + timedelta(minutes=1)) == 0


async def test_the_calls_behind_a_letter_end_with_the_one_it_was_given_up_with(
    letters: Letters, steps: Steps, sql: Sql, database: Database
) -> None:
    await letters.parked()
    await letters.replay()
    (claim,) = await steps.run_on()
    await steps.finish(gone_wrong(claim, JobState.DEAD))
    second, first = await letters.listed()
    async with database.transaction() as session:
        behind = [await dead_letters.calls_behind(session, letter) for letter in (first, second)]
    assert [[call.attempt for call in calls] for calls in behind] == [[1], [1, 2]]
    assert all(call.latency_ms >= 0 and call.outcome == "failed" for calls in behind for call in calls)
