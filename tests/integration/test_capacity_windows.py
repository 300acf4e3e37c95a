"""What a provider sees in any sliding minute, over minutes of random work. Time passes by moving what Redis keeps back."""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, cast

import redis as redis_library
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_service.capacity.connection import connect
from router_service.capacity.limiter import Limiter, Need
from tests.support.catalogs import model_of
from tests.support.loops import Loop

if TYPE_CHECKING:
    from redis.asyncio import Redis

MINUTE_MS = 60_000
RATES_KEY = "waybill:rates:alpha"


class World:
    """A limiter and a clock that the test moves on."""

    def __init__(self, redis_url: str, admin_url: str, **rates: float) -> None:
        self.model = model_of(params={"max_parallel_requests": 100_000, **rates})
        self._loop = Loop()
        self._admin = redis_library.Redis.from_url(admin_url, decode_responses=True)
        self._admin.flushall()
        self._connection: Redis = connect(redis_url, name="world")
        self._limiter = Limiter(self._connection)
        self._passed_ms = 0
        self._count = 0
        self._loop.run(self._limiter.rebuild([self.model], [], {}))

    def pass_by(self, gap_ms: int) -> None:
        """Every moment in the rates' hash moves back; `<rate>:most` is a size and stays."""
        kept = cast("dict[str, str]", self._admin.hgetall(RATES_KEY))
        moved = {name: float(value) - gap_ms for name, value in kept.items() if not name.endswith(":most")}
        if moved:
            self._admin.hset(RATES_KEY, mapping={name: f"{value:.3f}" for name, value in moved.items()})
        self._passed_ms += gap_ms

    def start_ms(self, tokens: int) -> int:
        """When a job of so many tokens may start, as early as it may."""
        self._count += 1
        need = Need(reservation=f"r{self._count}", tokens_in=tokens, tokens_out=0)
        for _look in range(10):
            grant = self._loop.run(self._limiter.reserve(self.model, [need], lease_s=600))
            if grant.starts_ms:
                return grant.starts_ms[0] + self._passed_ms
            assert grant.wait_s > 0
            self.pass_by(int(grant.wait_s * 1000) + 1)
        raise AssertionError("a job never got its turn")

    def close(self) -> None:
        self._loop.run(self._connection.aclose())
        self._loop.close()
        self._admin.close()


def fullest_window(starts: list[int], units: list[int]) -> int:
    """The most units that start within less than a minute."""
    sums = [0, *accumulate(units)]
    return max(
        sums[last + 1] - sums[first]
        for first in range(len(starts))
        for last in range(first, len(starts))
        if starts[last] - starts[first] < MINUTE_MS
    )


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(limit=st.integers(1, 40), gaps=st.lists(st.sampled_from([0, 0, 0, 1, 700, 20_000]), min_size=5, max_size=60))
def test_requests_in_any_sliding_minute_stay_within_the_limit(
    redis_url: str, admin_redis_url: str, limit: int, gaps: list[int]
) -> None:
    world = World(redis_url, admin_redis_url, rpm=limit)
    starts = []
    for gap_ms in gaps:
        world.pass_by(gap_ms)
        starts.append(world.start_ms(1))
    world.close()
    assert starts == sorted(starts)
    assert fullest_window(starts, [1] * len(starts)) <= limit


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 10, 90, 100, 333, 500, 667, 999, 1000]), st.sampled_from([0, 0, 300, 30_000])),
        min_size=2,
        max_size=40,
    )
)
def test_tokens_in_any_sliding_minute_stay_within_the_limit_whatever_the_sizes(
    redis_url: str, admin_redis_url: str, jobs: list[tuple[int, int]]
) -> None:
    world = World(redis_url, admin_redis_url, tpm=1000)
    starts = []
    for tokens, gap_ms in jobs:
        world.pass_by(gap_ms)
        starts.append(world.start_ms(tokens))
    world.close()
    assert fullest_window(starts, [tokens for tokens, _gap in jobs]) <= 1000


def test_a_rate_below_one_a_minute_is_kept_over_hours(redis_url: str, admin_redis_url: str) -> None:
    world = World(redis_url, admin_redis_url, rpm=1 / 90)
    starts = [world.start_ms(1) for _ in range(3)]
    world.close()
    assert [later - earlier >= 90 * MINUTE_MS for earlier, later in pairwise(starts)] == [True, True]


def test_a_job_larger_than_the_limit_runs_alone(redis_url: str, admin_redis_url: str) -> None:
    world = World(redis_url, admin_redis_url, tpm=1000)
    starts = [world.start_ms(tokens) for tokens in (10, 3000, 10)]
    world.close()
    assert starts[1] - starts[0] >= MINUTE_MS
    assert starts[2] - starts[1] >= MINUTE_MS


def test_the_limit_is_used_and_not_only_kept(redis_url: str, admin_redis_url: str) -> None:
    world = World(redis_url, admin_redis_url, rpm=100)
    starts = [world.start_ms(1) for _ in range(200)]
    world.close()
    assert starts[-1] - starts[0] < 2 * MINUTE_MS * 1.02
