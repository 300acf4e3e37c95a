from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.evaluation.allowance import Ledger, Offer, Refusal, Window, tokens_of

TOKENS = 100


def arrive(ledger: Ledger, times: list[float], *, stay: bool = False) -> list[Refusal]:
    """Calls of 100 tokens at these times, each over at once unless they `stay`. The refusals."""
    refusals = []
    for now_s in times:
        refusal = ledger.admit(now_s, tokens=TOKENS)
        if refusal is not None:
            refusals.append(refusal)
        elif not stay:
            ledger.leave()
    return refusals


@pytest.mark.parametrize(
    ("offer", "times", "limit"),
    [
        (Offer(slots=5), [0.0] * 6, "slots"),
        (Offer(slots=100, rpm=60, short_s=None), [second * 0.9 for second in range(61)], "rpm"),
        (Offer(slots=100, tpm=6000, short_s=None), [second * 0.9 for second in range(61)], "tpm"),
        (Offer(slots=100, rpm=60, short_s=3), [0.0, 0.3, 0.6, 0.9], "rpm_in_1_s"),
        (Offer(slots=100, tpm=6000, short_s=3), [0.0, 0.3, 0.6, 0.9], "tpm_in_1_s"),
    ],
)
def test_a_client_that_goes_one_above_a_limit_is_refused_and_counted(
    offer: Offer, times: list[float], limit: str
) -> None:
    ledger = Ledger(offer)
    refusals = arrive(ledger, times, stay=limit == "slots")
    assert [refusal.limit for refusal in refusals] == [limit]
    assert ledger.refused == {limit: 1}


@pytest.mark.parametrize("limits", [{"rpm": 60.0}, {"tpm": 6000.0}])
def test_a_client_that_keeps_the_pace_is_never_refused_and_fills_the_minute(limits: dict[str, float]) -> None:
    ledger = Ledger(Offer(slots=1, **limits))  # type: ignore[arg-type]  # rates alone
    assert arrive(ledger, [float(second) for second in range(300)]) == []
    window = next(iter(ledger.windows.values()))
    assert window.fullest == window.most


def test_two_minutes_worth_around_the_end_of_a_minute_are_seen() -> None:
    """What a counter per calendar minute lets through: 60 calls before the full minute, 60 after it."""
    ledger = Ledger(Offer(slots=100, rpm=60, short_s=None))
    assert len(arrive(ledger, [59.0] * 60 + [61.0] * 60)) == 60


def test_a_call_counts_for_exactly_a_minute() -> None:
    window = Window(width_s=60, most=1)
    window.add(10.0, 1)
    assert window.wait_s(69.999, 1) == pytest.approx(0.001)
    assert window.wait_s(70.0, 1) == 0


def test_slots_are_free_again_when_a_call_leaves_and_the_most_in_flight_is_kept() -> None:
    ledger = Ledger(Offer(slots=2))
    assert arrive(ledger, [0.0, 0.0], stay=True) == []
    ledger.leave()
    assert arrive(ledger, [0.1], stay=True) == []
    assert (ledger.in_flight, ledger.most_in_flight) == (2, 2)


@given(
    times=st.lists(st.floats(0, 200, allow_nan=False), max_size=60).map(sorted),
    sizes=st.lists(st.integers(1, 60), min_size=60, max_size=60),
)
def test_no_window_of_admitted_calls_is_above_its_limit_and_a_refused_one_fits_when_told(
    times: list[float], sizes: list[int]
) -> None:
    window, admitted = Window(width_s=60, most=100), list[tuple[float, int]]()
    for now_s, size in zip(times, sizes, strict=False):
        wait_s = window.wait_s(now_s, size)
        if wait_s > 0:
            held = [(at, units) for at, units in admitted if at + 60 > now_s + wait_s + 1e-6]
            assert sum(units for _, units in held) + size <= 100
            continue
        window.add(now_s, size)
        admitted.append((now_s, size))
    for start_s, _ in admitted:
        assert sum(units for at, units in admitted if start_s <= at and at - start_s < 60) <= 100


def test_latency_is_the_same_for_a_tag_and_within_its_jitter() -> None:
    offer = Offer(slots=1, latency_s=1.0, jitter=0.2)
    drawn = [offer.latency_of(f"job/{number}") for number in range(500)]
    assert offer.latency_of("job/7") == drawn[7]
    assert 0.8 <= min(drawn) < 0.85
    assert 1.15 < max(drawn) <= 1.2


def test_four_characters_are_a_token() -> None:
    assert [tokens_of(count) for count in (0, 1, 4, 5)] == [0, 1, 1, 2]
