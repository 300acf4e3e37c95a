from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.evaluation.allowance import Offer, Window
from router_service.evaluation.bounds import Work, lower_bound


def alike(count: int, *, tokens: int = 100) -> list[Work]:
    return [Work(tag=f"job/{number}", tokens=tokens) for number in range(count)]


def of(works: list[Work], *, burst_s: float = 1.0, **limits: float) -> tuple[str, float]:
    bound = lower_bound(works, {"m": Offer(**({"slots": 1000, "latency_s": 0.5} | limits))}, burst_s=burst_s)  # type: ignore[arg-type]  # numbers alone
    return bound.by, round(bound.seconds, 6)


def test_the_last_request_waits_for_all_before_it_but_the_burst() -> None:
    assert of(alike(101), rpm=60) == ("rpm", 100 - 1 + 0.5)


def test_the_last_tokens_wait_for_all_tokens_before_them() -> None:
    assert of(alike(101, tokens=50), tpm=3000) == ("tpm", 100 - 1 + 0.5)


def test_the_largest_job_may_be_the_last_one() -> None:
    works = [*alike(10, tokens=10), Work(tag="large", tokens=1000)]
    assert of(works, tpm=600, burst_s=0) == ("tpm", 10 + 0.5)


def test_slots_bind_where_the_calls_are_long() -> None:
    assert of(alike(40), slots=4, rpm=6000, latency_s=2.0) == ("slots", 20)


def test_one_long_call_is_as_long_as_it_is() -> None:
    assert of(alike(1), rpm=60, latency_s=3.0) == ("rpm", 3.0)


def test_two_models_finish_together_what_each_of_them_lets_through() -> None:
    offers = {
        "a": Offer(slots=1000, rpm=60, latency_s=0.5),
        "b": Offer(slots=1000, tpm=12_000, latency_s=0.5),
    }
    bound = lower_bound(alike(300), offers, burst_s=0)  # 1/s and 2/s; the first of each at once
    assert bound.seconds == pytest.approx((300 - 2) / 3 + 0.5, abs=1e-3)
    assert bound.by == "a.rpm + b.tpm"


@pytest.mark.parametrize(
    ("jobs", "unpaced_s", "bound_s"),
    [
        (301, 300 / 30 - 1 + 0.5, 30 - 1 + 0.5),  # three seconds' worth a second; the paced one is slower
        (601, 60.5, 60.5),  # the burst gives nothing where the minute is full
        (751, 60 + 150 / 30 - 1 + 0.5, 75 - 1 + 0.5),
    ],
)
def test_a_strict_minute_bounds_whoever_does_not_pace(jobs: int, unpaced_s: float, bound_s: float) -> None:
    offers = {"m": Offer(slots=1000, rpm=600, short_s=3, latency_s=0.5)}
    bound = lower_bound(alike(jobs), offers, burst_s=1)
    assert bound.unpaced_s == pytest.approx(unpaced_s)
    assert bound.seconds == pytest.approx(bound_s)


def schedule(works: list[Work], offer: Offer, *, burst_s: float) -> float:
    """A client who starts each job, in this order, as early as its paced rates, its minutes and slots allow. Its makespan."""
    free, busy_s, last_end_s = dict.fromkeys(offer.rates, -burst_s), list[float](), 0.0
    windows = {name: Window(width_s=60, most=rate) for name, rate in offer.rates.items()}
    for work in works:
        start_s = max(0.0, *free.values()) if free else 0.0
        if len(busy_s) == offer.slots:
            start_s = max(start_s, heapq.heappop(busy_s))
        units = {name: work.tokens if name == "tpm" else 1 for name in offer.rates}
        while (wait_s := max((windows[name].wait_s(start_s, units[name]) for name in windows), default=0.0)) > 0:
            start_s += wait_s
        for name, rate in offer.rates.items():
            windows[name].add(start_s, units[name])
            free[name] = max(free[name], start_s - burst_s) + units[name] * 60 / rate
        heapq.heappush(busy_s, start_s + offer.latency_of(work.tag))
        last_end_s = max(last_end_s, start_s + offer.latency_of(work.tag))
    return last_end_s


@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=60),
    slots=st.integers(1, 10),
    rpm=st.none() | st.floats(5, 600),
    tpm=st.none() | st.floats(2_000, 200_000),
    burst_s=st.floats(0, 3),
    seed=st.integers(0, 5),
)
def test_no_client_within_the_limits_beats_the_bound(
    sizes: list[int], slots: int, rpm: float | None, tpm: float | None, burst_s: float, seed: int
) -> None:
    offer = Offer(slots=slots, rpm=rpm, tpm=tpm, short_s=None, latency_s=1.0, jitter=0.5, seed=seed)
    works = [Work(tag=str(number), tokens=size) for number, size in enumerate(sizes)]
    bound = lower_bound(works, {"m": offer}, burst_s=burst_s)
    random.Random(seed).shuffle(works)
    assert schedule(works, offer, burst_s=burst_s) >= bound.seconds - 1e-6


@pytest.mark.parametrize("limits", [{"rpm": 600.0}, {"tpm": 60_000.0}, {"slots": 10}])
def test_a_client_who_wastes_nothing_reaches_the_bound(limits: dict[str, float]) -> None:
    offer = Offer(**({"slots": 1000, "latency_s": 0.5} | limits))  # type: ignore[arg-type]  # numbers alone
    works = alike(300)
    assert schedule(works, offer, burst_s=1.0) == pytest.approx(
        lower_bound(works, {"m": offer}, burst_s=1.0).seconds, rel=1e-6
    )
