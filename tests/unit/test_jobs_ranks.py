from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from router_service.jobs.ids import RANDOM_BYTES, accepted_s, new_id
from router_service.jobs.ranks import PATIENCE_S, POINT_S, rank_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NOW_S = NOW.timestamp()
priorities = st.integers(-100, 100)
seconds = st.floats(0, 1e7)


def rank(after_s: float = 0.0, *, left_s: float | None = None, priority: int = 0) -> float:
    """Of a job that comes so much later, with so much time until its deadline."""
    deadline = None if left_s is None else NOW + timedelta(seconds=after_s + left_s)
    return rank_of(accepted_s=NOW_S + after_s, deadline=deadline, priority=priority)


@given(seconds, seconds, priorities)
def test_of_two_jobs_of_one_priority_the_one_with_the_earlier_deadline_goes_first(
    one_s: float, other_s: float, priority: int
) -> None:
    ranks = [rank(left_s=left_s, priority=priority) for left_s in sorted([one_s, other_s])]
    assert ranks == sorted(ranks)


def test_a_job_without_a_deadline_stands_where_one_with_an_hour_stands() -> None:
    assert rank() == rank(left_s=PATIENCE_S)
    assert rank(left_s=PATIENCE_S - 1) < rank() < rank(left_s=PATIENCE_S + 1)


@given(priorities, priorities)
def test_a_higher_priority_goes_first_among_jobs_that_came_together(one: int, other: int) -> None:
    assert (rank(priority=one) < rank(priority=other)) == (one > other)


@given(priorities, st.integers(1, 50), st.none() | seconds)
def test_a_job_is_overtaken_only_by_what_comes_within_a_quarter_of_an_hour_for_each_point(
    priority: int, points: int, left_s: float | None
) -> None:
    waiting = rank(left_s=left_s, priority=priority)
    margin_s = points * POINT_S
    assert rank(margin_s - 1, left_s=left_s, priority=priority + points) < waiting
    assert rank(margin_s + 1, left_s=left_s, priority=priority + points) > waiting


@given(st.integers(0, 2**42), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_an_id_tells_to_the_millisecond_when_its_job_was_accepted(now_ms: int, random: bytes) -> None:
    assert accepted_s(new_id(now_ms=now_ms, random=random)) == now_ms / 1000


def test_the_moment_of_an_id_is_that_of_the_standard() -> None:
    assert accepted_s(UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")) == 1645557742.0  # RFC 9562, appendix A.6
