"""A desk on a clock of its own, against a worker that each test plays: when it claims, asks, calls and gives back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from router_service.capacity.limiter import BREAKER, PAUSED, SHUT, SLOTS, Hindrance
from router_service.errors import UnavailableError
from tests.support.leaping import LeapingLoop
from tests.support.office import Office, Pace, Slots, clock, grants, now_ms
from workers.desk import GONE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router_service.capacity.limiter import Ended, Grants, Need

TURN_S = 1e-3


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "asyncio", {"loop_factory": LeapingLoop}


async def test_a_slot_is_handed_on_in_the_very_exchange_that_settles_it() -> None:
    office = Office(Slots(1))
    first, second = office.add(2)
    await office.done([first, second])
    assert office.starts == [0.0, 1.0]
    (moment, ended, asked) = office.asked[-1] if office.asked[-1][2] else office.asked[-2]
    assert (round(moment, 3), len(ended), asked) == (1.0, 1, [second.ticket.job_id.hex])
    await office.close()


async def test_all_slots_are_used_at_once_and_all_the_time() -> None:
    office = Office(Slots(5))
    await office.done(office.add(50))
    assert office.starts == [moment for turn in range(10) for moment in [float(turn)] * 5]
    await office.close()


async def test_no_more_is_claimed_than_the_slots_and_what_starts_within_a_tenth_of_a_second() -> None:
    office = Office(Slots(5))
    await office.done(office.add(50))
    assert office.most_running == 5 + 5
    await office.close()


async def test_a_model_of_short_calls_has_few_jobs_claimed_ahead() -> None:
    pace = Pace(0.05)
    office = Office(pace, rates=True, call_s=0.01)
    await office.done(office.add(100))
    assert office.starts[-1] == pytest.approx(99 * 0.05, abs=0.1)
    assert office.most_running <= 8
    await office.close()


async def test_a_job_is_claimed_a_tenth_of_a_second_before_its_start() -> None:
    office = Office(Pace(1.0), rates=True, call_s=0.1)
    await office.done(office.add(5))
    assert office.starts == [0.0, 1.0, 2.0, 3.0, 4.0]
    claimed = [round(moment, 3) for moment, _job in office.claimed]
    assert claimed == [0.0, 0.9, 1.9, 2.9, 3.9]
    await office.close()


async def test_a_start_that_lies_ahead_is_waited_for() -> None:
    office = Office(lambda _ended, needs: grants(*(now_ms() + 200 for _need in needs)))
    await office.done(office.add())
    assert office.starts == [0.2]
    await office.close()


async def test_a_start_that_was_missed_is_given_back_for_another_one() -> None:
    office = Office(lambda _ended, needs: grants(*(now_ms() for _need in needs)), rates=True, slow_s=0.2)
    (job,) = office.add()
    await office.done([job])
    assert (office.exchanges, office.starts) == (["alpha"], [0.2])
    moment, (unused,), asked = office.asked[1]
    assert (round(moment, 3), asked) == (0.2, [job.ticket.job_id.hex])
    assert (unused.start_ms, unused.requests, unused.tokens_in, unused.tokens_out) == (0, 0, 0, 0)
    await office.close()


async def test_a_start_after_the_lease_has_run_out_is_given_back() -> None:
    """The process was stopped meanwhile: job and slot may be another worker's. It calls once its lease is prolonged."""
    office = Office(Slots(1), slow_s=6.0)
    office.lease_s = 5.0
    (job,) = office.add()
    await asyncio.sleep(8.0)
    assert (office.exchanges, office.starts) == (["alpha"], [])
    job.held_at = clock()
    await office.done([job])
    assert office.starts == [pytest.approx(8.0, abs=0.3)]
    assert sum(len(ends) for _moment, ends, _asked in office.asked) == 2, (
        "the slot was given back, and the call settled"
    )
    await office.close()


@pytest.mark.parametrize(("rates", "slow_s"), [(False, 0.2), (True, 0.09)])
async def test_a_start_is_kept_where_no_rate_is_told_by_it_or_it_is_hardly_late(*, rates: bool, slow_s: float) -> None:
    office = Office(Slots(1), rates=rates, slow_s=slow_s)
    await office.done(office.add())
    assert (office.exchanges, office.starts) == ([], [slow_s])
    await office.close()


async def test_urgent_jobs_overtake_what_waits_and_what_is_ready() -> None:
    office = Office(Slots(1))
    others = office.add(3)
    await asyncio.sleep(0.5)
    assert len(office.claimed) == 2, "one is called and one is ready"
    urgent = office.add(2, urgent=True)
    await office.done([*others, *urgent])
    assert [job for _moment, job in office.called] == [others[0], *urgent, *others[1:]]
    await office.close()


async def test_a_slot_that_comes_free_elsewhere_is_taken_when_it_is_announced() -> None:
    slots = Slots(0)
    office = Office(slots)
    jobs = office.add()
    await asyncio.sleep(0.2)
    slots.slots = 1
    office.desk.wake()
    await office.done(jobs)
    assert office.starts == [0.2]
    await office.close()


async def test_a_slot_whose_announcement_was_lost_is_found_after_half_a_second() -> None:
    slots = Slots(0)
    office = Office(slots)
    jobs = office.add()
    await asyncio.sleep(0.2)
    slots.slots = 1
    await office.done(jobs)
    assert office.starts == [0.5]
    await office.close()


@pytest.mark.parametrize(("why", "wait_s"), [(PAUSED, 5.0), (BREAKER, 5.0), (SHUT, 0.0), (GONE, 1.0)])
async def test_what_stops_a_model_for_long_gives_everything_back_at_once(why: str, wait_s: float) -> None:
    office = Office(lambda _ended, _needs: grants(stopped=Hindrance(why=why, wait_s=wait_s)))
    await office.done(office.add(4))
    assert [(round(moment, 3), how, said) for moment, how, said, _job in office.back] == [
        (0.0, "uncalled", why),
        *[(0.0, "waiting", why)] * 3,
    ]
    assert office.moves, "the router hears of it"
    (later,) = office.add()
    await office.done([later])
    assert office.back[-1][1:3] == ("waiting", why), "nothing is claimed while it lasts"
    await office.close()


async def test_a_pause_that_is_soon_over_is_waited_for() -> None:
    def paused_at_first(ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        left_s = 0.6 - clock()
        if left_s > 0:
            return grants(stopped=Hindrance(why=PAUSED, wait_s=left_s))
        return grants(*(now_ms() for _need in needs))

    office = Office(paused_at_first)
    await office.done(office.add(2))
    assert office.starts == [pytest.approx(0.6, abs=0.01)] * 2
    assert office.back == []
    await office.close()


async def repeat(step: Callable[[], Awaitable[None]]) -> None:
    """As the worker's loop does, every second."""
    while True:
        await asyncio.sleep(1.0)
        await step()


async def test_what_waits_for_long_is_given_back_and_nothing_is_claimed_in_vain() -> None:
    office = Office(Slots(1), call_s=60.0)
    sorting = asyncio.create_task(repeat(office.desk.sort_out))
    first, ready, *waiting = office.add(4)
    await office.done([ready, *waiting])
    assert [(job, how) for _moment, how, _why, job in office.back] == [
        (ready, "uncalled"),
        *((job, "waiting") for job in waiting),
    ]
    assert [5 <= moment <= 7 for moment, how, _why, _job in office.back if how == "uncalled"] == [True]
    assert [10 <= moment <= 12 for moment, how, _why, _job in office.back if how == "waiting"] == [True, True]
    assert {why for _moment, _how, why, _job in office.back} <= {SLOTS, "slow"}
    sorting.cancel()
    await office.done([first])
    await office.close()


async def test_jobs_behind_a_long_call_stay_tickets_however_often_they_come() -> None:
    office = Office(Slots(1), call_s=120.0)
    sorting = asyncio.create_task(repeat(office.desk.sort_out))
    jobs = office.add()
    while clock() < 119:
        if not office.desk._waiting:
            office.add(3)  # the router sends them again
        await asyncio.sleep(0.5)
    assert len(office.claimed) == 2, "the one that is called, and one that was ready for a while"
    sorting.cancel()
    await office.done(jobs)
    await office.close()


async def test_a_job_that_its_own_tenant_holds_up_does_not_hold_up_others() -> None:
    held: set[str] = set()

    def answer(_ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        return grants(
            *(
                Hindrance(why="tenant", wait_s=0.0) if need.reservation in held and clock() < 3 else now_ms()
                for need in needs
            )
        )

    office = Office(answer, rates=True)
    capped = office.add(3)
    held |= {job.ticket.job_id.hex for job in capped}
    others = office.add(5)
    await office.done([*capped, *others])
    began = {job.ticket.job_id: moment for moment, job in office.called}
    assert max(began[job.ticket.job_id] for job in others) < 0.1
    assert min(began[job.ticket.job_id] for job in capped) >= 3
    await office.close()


@pytest.mark.parametrize("error", [UnavailableError("redis", "away"), LookupError("a bug")])
async def test_an_error_in_an_exchange_loses_neither_settlements_nor_jobs(error: Exception) -> None:
    office = Office(Slots(1), call_s=0.9)
    first, second = office.add(2)
    await asyncio.sleep(0.7)
    office.broken = error
    await office.done([first, second])
    assert office.starts == [0.0, pytest.approx(1.1, abs=0.01)]
    settled = [ended.need.reservation for _moment, ends, _asked in office.asked for ended in ends]
    assert settled.count(first.ticket.job_id.hex) == 2, "once in vain"
    await office.close()


async def test_what_ended_while_capacity_could_not_be_asked_for_is_settled_later() -> None:
    office = Office(Slots(2), call_s=1.0)
    jobs = office.add(2)
    await asyncio.sleep(0.5)
    answer = office.answer

    def away(_ended: Sequence[Ended], _needs: Sequence[Need]) -> Grants:
        raise UnavailableError("redis", "away")

    office.answer = away
    await office.done(jobs)
    await asyncio.sleep(3.0)
    office.answer = answer
    await asyncio.sleep(0.3)
    assert isinstance(answer, Slots)
    assert answer.free == 2
    await office.close()


async def test_what_ended_while_the_counters_were_made_anew_is_settled_again_when_they_are_there() -> None:
    slots = Slots(1)

    def shut_for_a_while(ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        if 0.5 < clock() < 3:
            return grants(stopped=Hindrance(why=SHUT, wait_s=0.0))
        return slots(ended, needs)

    office = Office(shut_for_a_while)
    await office.done(office.add())
    assert slots.free == 0, "the rebuilt counters hold it still"
    await asyncio.sleep(3)
    assert slots.free == 1
    settled = [(round(moment), ended.start_ms) for moment, ends, _asked in office.asked for ended in ends]
    assert settled[0] == (1, 0)
    assert settled[-1] == (3, 0)
    asked = len(office.asked)
    await asyncio.sleep(5)
    assert len(office.asked) == asked
    await office.close()


async def test_a_job_given_back_while_it_is_asked_for_gives_its_start_back() -> None:
    slots = Slots(1)
    office = Office(slots, slow_s=0.1)
    jobs = office.add()
    await asyncio.sleep(0.05)
    await office.desk.clear(why="shutdown")
    await office.done(jobs)
    await asyncio.sleep(0.1)
    assert office.called == []
    (unused,) = office.asked[-1][1]
    assert (unused.requests, slots.free) == (0, 1)
    await office.close()


async def test_a_call_cut_before_its_task_had_a_turn_is_not_made() -> None:
    slots = Slots(1)
    office = Office(slots)
    (job,) = office.add()
    while job.task is None:
        await asyncio.sleep(0)
    job.cut = True
    await office.done([job])
    await asyncio.sleep(TURN_S)
    assert (office.called, [how for _moment, how, _why, _job in office.back]) == ([], ["uncalled"])
    assert slots.free == 1
    await office.close()


async def test_a_job_taken_away_while_it_waits_for_its_start_frees_it() -> None:
    slots = Slots(1)
    office = Office(lambda ended, needs: _ahead(slots(ended, needs), 0.2))
    (job,) = office.add()
    await asyncio.sleep(0.1)
    assert job.task is not None
    job.task.cancel()
    await office.done([job])
    await asyncio.sleep(TURN_S)
    assert (office.called, slots.free) == ([], 1)
    await office.close()


def _ahead(given: Grants, ahead_s: float) -> Grants:
    starts = (answer + round(ahead_s * 1000) if isinstance(answer, int) else answer for answer in given.answers)
    return grants(*starts, stopped=given.stopped, free=given.free)


async def test_flushing_settles_what_has_ended_and_asks_for_nothing() -> None:
    slots = Slots(1)
    office = Office(slots)
    (job,) = office.add()
    await office.done([job])
    await asyncio.sleep(0.1)
    await office.close()
    office.desk.unused(job, 0)
    await office.desk.flush()
    await office.desk.flush()
    assert [(len(ended), asked) for _moment, ended, asked in office.asked][-1] == (1, [])
    assert office.desk._ended == []


async def test_the_time_that_ready_jobs_wait_is_told_with_its_reason() -> None:
    office = Office(Slots(1))
    await office.done(office.add(2))
    assert sum(seconds for _model_id, why, seconds in office.waits if why == SLOTS) == pytest.approx(1.0, abs=0.01)
    assert {(model_id, why) for model_id, why, _seconds in office.waits} == {("alpha", SLOTS)}
    await office.close()
