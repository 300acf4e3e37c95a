from __future__ import annotations

from router_service.jobs.states import LIVE, TERMINAL, TRANSITIONS, JobState


def test_nothing_leaves_a_terminal_state_but_a_failed_job_that_is_replayed() -> None:
    assert {(before, after) for before, after in TRANSITIONS if before in TERMINAL} == {
        (JobState.FAILED, JobState.QUEUED)
    }


def test_every_live_state_can_be_left_and_every_state_but_the_first_reached() -> None:
    assert {before for before, _ in TRANSITIONS} - {JobState.FAILED} == LIVE
    assert {after for _, after in TRANSITIONS} == set(JobState)


def test_a_state_is_either_live_or_terminal() -> None:
    assert set(JobState) == LIVE | TERMINAL
    assert not LIVE & TERMINAL


def test_every_live_state_leads_to_an_end() -> None:
    reached = set(TERMINAL)
    while more := {before for before, after in TRANSITIONS if after in reached} - reached:
        reached |= more
    assert reached == set(JobState)


def test_only_a_running_job_succeeds() -> None:
    assert {before for before, after in TRANSITIONS if after is JobState.SUCCEEDED} == {JobState.RUNNING}
