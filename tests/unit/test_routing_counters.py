"""What routing reckons from a model's counters, and that they are the same after they were stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.routing.counters import SIZES, Counters, Latency, RateUse, Speed, size_of
from router_service.routing.snapshot import Snapshot

NUMBERS = st.floats(min_value=0, max_value=1e12)
MAYBE = st.none() | NUMBERS
COUNTS = st.integers(min_value=0, max_value=10**9)
LATENCIES = st.builds(Latency, calls=COUNTS, mean_s=NUMBERS, p95_s=MAYBE)
SPEEDS = st.builds(
    Speed,
    base_s=MAYBE,
    token_s=MAYBE,
    latency=st.none() | LATENCIES,
    by_size=st.tuples(*[st.none() | LATENCIES] * (len(SIZES) + 1)),
)
RATES = st.builds(
    RateUse,
    name=st.sampled_from(["rpm", "tpm", "itpm", "otpm", "rpd", "tpd"]),
    limit=NUMBERS,
    used=NUMBERS,
    first=NUMBERS,
    pace_s=NUMBERS,
    first_s=NUMBERS,
    last_s=NUMBERS,
)
COUNTERS = st.builds(
    Counters,
    in_flight=COUNTS,
    wait_s=NUMBERS,
    paused_s=NUMBERS,
    room=COUNTS,
    waiting=COUNTS,
    broken_s=NUMBERS,
    latency_s=MAYBE,
    least_s=MAYBE,
    tokens_out=MAYBE,
    held_by=st.none() | st.sampled_from(["rpm", "slots"]),
    is_failing=st.booleans(),
    error_rate=MAYBE,
    judged=COUNTS,
    used_rpm=MAYBE,
    used_tpm=MAYBE,
    speed=SPEEDS,
    rates=st.lists(RATES, max_size=3).map(tuple),
)
SNAPSHOTS = st.builds(Snapshot, counters=st.dictionaries(st.text(max_size=8), COUNTERS, max_size=4))


def counters(**changes: Any) -> Counters:
    whole: dict[str, Any] = {"in_flight": 0, "wait_s": 0.0, "paused_s": 0.0, "room": 1}
    return Counters(**(whole | changes))


def rate(**changes: Any) -> RateUse:
    whole: dict[str, Any] = {
        "name": "tpm",
        "limit": 1000.0,
        "used": 800.0,
        "first": 100.0,
        "first_s": 10.0,
        "last_s": 50.0,
    }
    return RateUse(**(whole | changes))


@given(SNAPSHOTS)
def test_a_stored_snapshot_is_the_one_that_was_decided_on(snapshot: Snapshot) -> None:
    again = Snapshot.from_json(json.loads(json.dumps(snapshot.as_json())))
    assert again == snapshot
    assert again.hash == snapshot.hash


def test_the_order_of_models_does_not_change_a_snapshots_hash_and_any_number_does() -> None:
    one, two = counters(), counters(wait_s=1.0)
    assert Snapshot(counters={"a": one, "b": two}).hash == Snapshot(counters={"b": two, "a": one}).hash
    others = [{"a": two, "b": one}, {"a": one}, {"a": counters(speed=Speed(token_s=1e-3)), "b": two}]
    hashes = {Snapshot(counters=each).hash for each in others}
    assert len(hashes | {Snapshot(counters={"a": one, "b": two}).hash}) == 4
    assert all(len(each) == 16 for each in hashes)


def test_numbers_have_six_digits_from_the_start() -> None:
    assert counters(wait_s=1 / 3).wait_s == 0.333333
    assert counters(rates=(rate(used=123456.789),)).rates[0].used == 123457.0


def test_counters_with_a_name_from_another_version_are_refused() -> None:
    with pytest.raises(TypeError, match="of_a_later_version"):
        Counters.from_json(counters().as_json() | {"of_a_later_version": 1})


@pytest.mark.parametrize(("tokens", "size"), [(0, 0), (64, 0), (65, 1), (256, 1), (1024, 2), (1025, 3), (10**6, 3)])
def test_an_answer_belongs_to_one_size(tokens: int, size: int) -> None:
    assert size_of(tokens) == size


def test_a_longer_answer_is_expected_to_take_longer() -> None:
    assert counters().expected_latency_s(100) is None
    assert counters(latency_s=2.0).expected_latency_s(100) == 2.0
    known = counters(latency_s=2.0, speed=Speed(base_s=0.5, token_s=0.01))
    assert [known.expected_latency_s(tokens) for tokens in (0, 100, 1000)] == [0.5, 1.5, 10.5]


def test_the_percentile_is_that_of_the_answers_size() -> None:
    by_size = (Latency(calls=50, mean_s=0.5, p95_s=1.0), None, Latency(calls=3, mean_s=5.0), None)
    speed = Speed(by_size=by_size, latency=Latency(calls=53, mean_s=1.0, p95_s=4.0))
    assert [speed.p95_s(tokens) for tokens in (10, 100, 1000)] == [1.0, None, None]
    assert counters(speed=speed).latency_p95_s == 4.0
    assert counters().latency_p95_s is None


@pytest.mark.parametrize(
    ("units", "wait_s"),
    [
        (200, 0.0),  # fits
        (201, 10.0),  # little has to leave first
        (300, 10.0),  # as much as leaves first
        (650, 30.0),  # half of the rest as well
        (1000, 50.0),  # all of it
        (5000, 50.0),  # larger than the limit: alone
    ],
)
def test_a_call_waits_until_enough_has_left_the_window(units: float, wait_s: float) -> None:
    assert rate().wait_s(units) == pytest.approx(wait_s)
    assert rate(pace_s=20.0).wait_s(units) == pytest.approx(max(20.0, wait_s))
    assert rate(used=0.0).wait_s(units) == 0.0


def test_a_job_waits_for_the_slowest_of_its_models_rates() -> None:
    rates = (rate(name="itpm", used=0.0), rate(name="otpm"), rate(name="rpm", used=1000.0, first=1.0, first_s=7.0))
    known = counters(wait_s=1.0, rates=rates)
    assert known.wait_for_s(tokens_in=500, tokens_out=10) == 7.0
    assert known.wait_for_s(tokens_in=500, tokens_out=650) == 30.0
    assert counters(wait_s=60.0, rates=rates).wait_for_s(tokens_in=500, tokens_out=600) == 60.0
    assert counters(wait_s=1.0).wait_for_s(tokens_in=500, tokens_out=600) == 1.0


def test_what_is_left_is_that_of_the_rate_that_has_least() -> None:
    assert counters().rate_left is None
    assert counters(rates=(rate(used=100.0), rate(used=750.0))).rate_left == 0.25
    assert counters(rates=(rate(used=2000.0), rate(limit=0.0))).rate_left == 0.0
