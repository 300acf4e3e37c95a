"""Letters and sums of Redis, read as latencies, shares and use."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.capacity.records import Record, letter, place

if TYPE_CHECKING:
    from router_service.routing.counters import Latency

NOBODY = ["", "", "", ""]


def sums(
    *,
    line: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    shares: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0),
    rest: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0),
) -> list[float]:
    """As snapshot.lua tells them."""
    return [1.0, *line, *shares, *rest]


def letters(*latencies_s: float) -> str:
    return "".join(letter(each) for each in latencies_s)


def latency(*sizes: str, shares: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> Latency | None:
    return Record.of(sums(shares=shares), [*sizes, *NOBODY][:4], now_ms=0.0).speed.latency


@given(st.floats(min_value=0.002, max_value=900))
def test_a_letter_tells_a_latency_to_within_seven_percent(latency_s: float) -> None:
    found = latency(letter(latency_s))
    assert found is not None
    assert found.mean_s == pytest.approx(latency_s, rel=0.073)


def test_what_is_beyond_the_letters_is_the_first_or_the_last() -> None:
    assert letter(0.0) == letter(0.001) == letter(0.002) == "!"
    assert letter(1e6) == "~"


def test_a_percentile_needs_twenty_calls() -> None:
    assert latency() is None
    few, many = latency(letters(*[1.0] * 19)), latency(letters(*[1.0] * 18, 9.0, 9.0))
    assert few is not None
    assert (few.calls, few.p95_s) == (19, None)
    assert many is not None
    assert many.p95_s == pytest.approx(9.0, rel=0.08)


def test_of_a_hundred_latencies_the_ninety_fifth_is_told() -> None:
    known = [math.exp(random.Random(seed).gauss(0, 1)) for seed in range(64)]
    found = latency(letters(*known))
    assert found is not None
    assert found.p95_s == pytest.approx(sorted(known)[60], rel=0.08)


def test_sizes_count_by_their_share_of_the_calls_and_not_of_the_letters() -> None:
    """Of both sizes as many letters are kept, but one call in a hundred is long."""
    short, long = letters(*[1.0] * 64), letters(*[30.0] * 64)
    rare = latency(short, "", "", long, shares=(99.0, 0.0, 0.0, 1.0))
    often = latency(short, "", "", long, shares=(90.0, 0.0, 0.0, 10.0))
    assert rare is not None
    assert often is not None
    assert rare.p95_s == pytest.approx(1.0, rel=0.08)
    assert often.p95_s == pytest.approx(30.0, rel=0.08)
    assert often.mean_s == pytest.approx(0.9 + 3.0, rel=0.08)


def test_sizes_whose_letters_are_the_same_both_count() -> None:
    found = latency(letters(1.0), letters(1.0))
    assert found is not None
    assert found.calls == 2


@pytest.mark.parametrize(
    ("line", "base_s", "token_s"),
    [
        ((100.0, 2.5, 1e6, 2e4), 0.5, 0.02),  # 0.5 s and 20 ms a token
        ((100.0, 2.0, 0.0, 0.0), 0.0, 0.02),  # all of one length: all is put on the tokens
        ((100.0, 2.0, 1e6, -1e4), 2.0, 0.0),  # longer ones were quicker
        ((100.0, 2.0, 1e6, 1e6), 0.0, 0.02),  # never before the first token
        ((0.0, 2.0, 0.0, 0.0), 2.0, 0.0),  # answers without tokens
    ],
)
def test_seconds_are_told_before_and_for_each_token(line: tuple[float, ...], base_s: float, token_s: float) -> None:
    speed = Record.of(sums(line=line), [letter(1.0), "", "", ""], now_ms=0.0).speed
    assert speed.base_s == pytest.approx(base_s, abs=1e-3)
    assert speed.token_s == pytest.approx(token_s, abs=1e-4)


def test_use_fades_with_the_time_since_it_was_counted() -> None:
    told = Record.of(sums(rest=(4.0, 0.25, 60.0, 6000.0, 1000.0)), NOBODY, now_ms=61_000.0)
    assert (told.judged, told.error_rate) == (4, 0.25)
    assert told.used_rpm == pytest.approx(60 / math.e)
    assert told.used_tpm == pytest.approx(6000 / math.e)
    assert told.speed.base_s is None


def test_nothing_is_known_of_a_model_whose_calls_told_nothing() -> None:
    told = Record.of(sums(), NOBODY, now_ms=0.0)
    assert (told.error_rate, told.judged, told.speed) == (None, 0, Record().speed)


@pytest.mark.parametrize(("tokens", "number"), [(1, 1), (64, 1), (256, 2), (1024, 3), (5000, 4)])
def test_sizes_are_numbered_from_one(tokens: int, number: int) -> None:
    assert place(tokens) == number
