"""What headers tell of a provider's limits, and that nothing they say does harm."""

from __future__ import annotations

import math
from itertools import product

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router_service.policy.outcomes import Seen
from workers.providers.rate_headers import MOST_EXHAUSTED_S, MOST_LIMIT, read_limits

NOW_S = 1_700_000_000.0
WHATS = ("limit", "remaining", "reset")
HEADERS = [
    *(f"x-ratelimit-{what}-{name}" for what, name in product(WHATS, ("requests", "tokens"))),
    *(
        f"anthropic-ratelimit-{name}-{what}"
        for what, name in product(WHATS, ("requests", "tokens", "input-tokens", "output-tokens"))
    ),
]


def test_openais_headers_tell_its_limits() -> None:
    headers = httpx.Headers(
        {
            "X-RateLimit-Limit-Requests": "60",
            "X-RateLimit-Limit-Tokens": "150000",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-remaining-tokens": "149984",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    )
    assert read_limits(headers, now_s=NOW_S) == Seen(rpm=60, tpm=150_000, exhausted_s=0.0)


def test_anthropics_headers_tell_its_limits() -> None:
    headers = httpx.Headers(
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2023-11-14T22:14:20Z",
            "anthropic-ratelimit-tokens-limit": "48000",
            "anthropic-ratelimit-input-tokens-limit": "40000",
            "anthropic-ratelimit-output-tokens-limit": "8000",
        }
    )
    seen = read_limits(headers, now_s=NOW_S)
    assert seen == Seen(rpm=50, tpm=48_000, itpm=40_000, otpm=8_000, exhausted_s=60 / 50)


@pytest.mark.parametrize(
    ("reset", "whole_s"),
    [
        ("1s", 1.0),
        ("88ms", 0.088),
        ("6m0s", 360.0),
        ("6m", 360.0),
        ("1h2m3s", 3723.0),
        ("1d", 86_400.0),
        ("2m59.56s", 179.56),
        ("1s500ms", 1.5),
        ("7", 7.0),
        ("7.66", 7.66),
        ("1700000030", 30.0),
        ("1699999999", 0.0),
        ("2023-11-14T22:13:50Z", 30.0),
        ("2023-11-14T23:13:50+01:00", 30.0),
        ("2023-11-14T22:13:00Z", 0.0),
        ("2023-11-14T22:13:50", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("-1s", 0.0),
        ("s", 0.0),
        ("nan", 0.0),
        ("inf", 0.0),
        ("1e9", 0.0),
    ],
)
def test_what_is_used_up_comes_back_little_by_little_until_it_is_whole(reset: str, whole_s: float) -> None:
    headers = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": reset,
        "x-ratelimit-limit-requests": "2",
    }
    seen = read_limits(headers, now_s=NOW_S)
    assert seen is not None
    assert seen.exhausted_s == pytest.approx(min(whole_s / 2, MOST_EXHAUSTED_S))


@pytest.mark.parametrize(("limit", "share"), [("1", 1.0), ("10", 0.1), ("200000", 1 / 60), ("none", 1.0)])
def test_the_wait_is_for_one_unit_and_for_a_sixtieth_at_the_least(limit: str, share: float) -> None:
    headers = {
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "60",
        "x-ratelimit-limit-tokens": limit,
    }
    seen = read_limits(headers, now_s=NOW_S)
    assert seen is not None
    assert seen.exhausted_s == pytest.approx(60 * share)


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "inf", "many", "", "1e3", "1" + "0" * 17, "0x10", "\u0661"])
def test_a_limit_that_cannot_be_is_none(limit: str) -> None:
    assert read_limits({"x-ratelimit-limit-requests": limit}, now_s=NOW_S) is None


def test_a_reply_that_tells_nothing_is_told_apart() -> None:
    assert read_limits(httpx.Headers({"content-type": "text/html"}), now_s=NOW_S) is None
    assert read_limits(httpx.Headers({"x-ratelimit-remaining-requests": "5"}), now_s=NOW_S) is None


values = st.text(max_size=40) | st.from_regex(r"[0-9.:TZhms+-]{0,30}") | st.integers().map(str) | st.floats().map(str)


@given(st.dictionaries(st.sampled_from(HEADERS), values))
@example({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9999-12-31T23:59:59+00:00"})
@example({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "0001-01-01T00:00:00+23:59"})
def test_whatever_headers_say_the_limits_can_be(headers: dict[str, str]) -> None:
    seen = read_limits(headers, now_s=NOW_S)
    if seen is not None:
        assert 0 <= seen.exhausted_s <= MOST_EXHAUSTED_S
        for limit in (seen.rpm, seen.tpm, seen.itpm, seen.otpm):
            assert limit is None or (math.isfinite(limit) and 0 < limit <= MOST_LIMIT)
