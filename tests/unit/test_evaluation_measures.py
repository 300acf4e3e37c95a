from __future__ import annotations

import pytest

from router_service.evaluation.allowance import Call, Offer
from router_service.evaluation.measures import fairness, jain, percentile, utilisation


def call(arrived_s: float, ended_s: float | None = None, *, tokens: int = 100, refused: str | None = None) -> Call:
    return Call(model="m", tag="t", tokens=tokens, arrived_s=arrived_s, ended_s=ended_s, refused=refused)


def test_a_rate_is_used_by_what_arrives_within_the_second() -> None:
    calls = [call(10.0, 10.1), call(10.9, 11.0), call(11.5, 11.6, tokens=300), call(11.6, refused="rpm")]
    used = utilisation(calls, Offer(slots=1, rpm=120, tpm=24_000), since_s=10.0, until_s=12.0)
    assert used["rpm"] == [1.0, 0.5]
    assert used["tpm"] == [0.5, 0.75]


def test_slots_are_used_for_as_long_as_a_call_lasts() -> None:
    used = utilisation([call(10.5, 12.5), call(11.0, None)], Offer(slots=2), since_s=10.0, until_s=13.0)
    assert used == {"slots": [0.25, 1.0, 0.75]}


def test_calls_after_the_end_are_left_out() -> None:
    assert utilisation([call(15.0, 16.0)], Offer(slots=1), since_s=10.0, until_s=12.0) == {"slots": [0.0, 0.0]}


@pytest.mark.parametrize(("shares", "index"), [([5, 5], 1.0), ([7, 0], 0.5), ([3, 1], 0.8), ([0, 0], 1.0)])
def test_jain_is_one_where_all_have_the_same_and_one_nth_where_one_has_all(shares: list[float], index: float) -> None:
    assert jain(shares) == pytest.approx(index)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 50) is None


def test_shares_are_counted_while_both_have_work_waiting() -> None:
    calls = {"big": [call(float(second)) for second in range(10)], "small": [call(3.5), call(4.5)]}
    assert fairness(calls, since_s=3.0) == {
        "index": 1.0,
        "tokens": {"big": 200, "small": 200},
        "both_backlogged_s": 1.5,
    }
