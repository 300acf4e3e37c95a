"""Estimates of tokens, corrected by what a model's calls were like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.capacity.measures import LEAST_FACTOR, MARGIN, MOST_FACTOR, Measures

MEANS = st.one_of(st.none(), st.floats(0, 1e7))


def test_before_the_first_call_an_estimate_stands_as_it_is() -> None:
    assert Measures().tokens_in(1000) == 1000
    assert Measures(estimated_in=0, real_in=50).tokens_in(1000) == 1000
    assert Measures(estimated_in=50, real_in=0).tokens_in(1000) == 1000


@pytest.mark.parametrize(("real_in", "tokens"), [(100, 1100), (150, 1650), (50, 550), (1, 275), (9000, 4400)])
def test_an_estimate_is_corrected_within_bounds_and_with_a_margin(real_in: float, tokens: int) -> None:
    assert Measures(estimated_in=100, real_in=real_in).tokens_in(1000) == pytest.approx(tokens, abs=1)


def test_a_counted_prompt_is_corrected_without_a_margin() -> None:
    assert Measures(estimated_in=100, real_in=100).tokens_in(1000, is_counted=True) == 1000
    assert Measures(estimated_in=100, real_in=150).tokens_in(1000, is_counted=True) == 1500
    assert Measures().tokens_in(1000, is_counted=True) == 1000


@given(estimated=st.integers(0, 10**7), estimated_in=MEANS, real_in=MEANS)
def test_a_corrected_estimate_stays_near_the_estimate(
    estimated: int, estimated_in: float | None, real_in: float | None
) -> None:
    tokens = Measures(estimated_in=estimated_in, real_in=real_in).tokens_in(estimated)
    assert min(estimated, LEAST_FACTOR * estimated) <= tokens <= max(1, MOST_FACTOR * MARGIN * estimated + 1)


@pytest.mark.parametrize(
    ("real_out", "limit", "most", "tokens"),
    [
        (None, None, None, 512),
        (None, None, 100, 100),
        (None, 64, None, 64),
        (None, 640, 100, 100),
        (200.0, None, None, 301),
        (200.0, None, 250, 250),
        (200.0, 64, None, 64),
        (0.4, None, None, 2),
    ],
)
def test_an_answers_length_is_the_jobs_limit_else_the_mean_and_half_as_much(
    real_out: float | None, limit: int | None, most: int | None, tokens: int
) -> None:
    assert Measures(real_out=real_out).tokens_out(limit, typical=512, most=most) == tokens


def test_a_calls_tokens_are_known_once_both_ways_are() -> None:
    assert Measures(real_in=10).tokens is None
    assert Measures(real_in=10, real_out=5).tokens == 15


def test_they_are_read_from_what_the_scripts_reply() -> None:
    assert Measures.of({}) == Measures()
    read = Measures.of({"estimated_in": 1, "real_in": 2, "real_out": 3, "latency_ms": 1500})
    assert read == Measures(estimated_in=1, real_in=2, real_out=3, latency_s=1.5)
