"""No sliding minute holds more than the limit, whatever the sizes of the jobs. Starts are asked for far ahead, not waited for."""

from __future__ import annotations

import random
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from router_service.capacity import limiter as limiter_module
from router_service.capacity.limiter import MINUTE_MS, Given, LeaseLeft, Limiter, Need, Usage
from tests.support.catalogs import model_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from router_service.catalog.models import Model

YEAR_MS = 365 * 86_400_000
LIMIT = 10_000
SIZES: dict[str, Callable[[random.Random], int]] = {
    "alike": lambda _chance: 1000,
    "uniform": lambda chance: chance.randint(1, 4000),
    "mostly small": lambda chance: chance.choice([50] * 20 + [4000]),
    "growing": lambda chance: chance.randint(1, 50) ** 2,
    "near the limit": lambda chance: chance.choice([300, 9500]),
    "over the limit": lambda chance: chance.choice([100, 2000, 12_000]),
}


@pytest.fixture
def far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter_module, "HORIZON_MS", YEAR_MS)


def limited(**rates: float) -> Model:
    return model_of(params={"max_parallel_requests": 100_000, **rates})


def most_in_a_minute(starts: list[int], units: list[int]) -> int:
    """The most units begun within any half-open minute; a job over the limit does not count where it runs alone."""
    totals = [0, *accumulate(units)]
    most, first = 0, 0
    for last, start in enumerate(starts):
        while starts[first] <= start - MINUTE_MS:
            first += 1
        if first < last or units[last] <= LIMIT:
            most = max(most, totals[last + 1] - totals[first])
    return most


@pytest.mark.parametrize("sizes", SIZES)
async def test_no_minute_holds_more_tokens_than_the_limit(limiter: Limiter, far_ahead: None, sizes: str) -> None:
    chance, starts, units = random.Random(7), list[int](), list[int]()
    for call in range(8):
        wanted = [SIZES[sizes](chance) for _ in range(50)]
        needs = [Need(reservation=f"{call}-{n}", tokens_in=tokens, tokens_out=0) for n, tokens in enumerate(wanted)]
        grant = await limiter.reserve(limited(tpm=LIMIT), needs, lease_s=60)
        assert grant.stopped_by is None
        starts += grant.starts_ms
        units += wanted
    assert starts == sorted(starts)
    assert most_in_a_minute(starts, units) <= LIMIT
    if sizes == "alike":
        spent_s = (starts[-1] - starts[0]) / 1000
        assert spent_s <= 1.12 * sum(units[:-1]) / LIMIT * 60, "jobs of a tenth of the limit cost a tenth of it"


@pytest.mark.parametrize("rpm", [0.5, 1, 2, 7, 60, 600])
async def test_no_minute_holds_more_requests_than_the_limit(limiter: Limiter, far_ahead: None, rpm: float) -> None:
    needs = [Need(reservation=str(n), tokens_in=1, tokens_out=1) for n in range(700)]
    starts = list((await limiter.reserve(limited(rpm=rpm), needs, lease_s=60)).starts_ms)
    assert most_in_a_minute(starts, [1] * len(starts)) <= max(rpm, 1)
    if rpm >= 1:
        ideal_s = (len(starts) - 1) * 60 / rpm
        assert (starts[-1] - starts[0]) / 1000 <= 1.006 * ideal_s, "the margin costs half a percent"


async def test_a_repaid_estimate_does_not_let_a_minute_hold_more(limiter: Limiter, far_ahead: None) -> None:
    chance, starts, units = random.Random(3), list[int](), list[int]()
    for n in range(200):
        need = Need(reservation=str(n), tokens_in=chance.randint(100, 3000), tokens_out=0)
        grant = await limiter.reserve(limited(tpm=LIMIT), [need], lease_s=60)
        used = chance.randint(1, need.tokens_in)
        await limiter.settle(limited(tpm=LIMIT), [Usage(need=need, requests=1, tokens_in=used, tokens_out=0)])
        starts += grant.starts_ms
        units.append(used)
    assert most_in_a_minute(starts, units) <= LIMIT


async def test_after_the_loss_of_redis_the_last_minute_still_counts(
    limiter: Limiter, admin_redis: Redis, far_ahead: None
) -> None:
    model = limited(rpm=60, tpm=LIMIT)
    admin_redis.flushall()
    assert await limiter.rebuild(
        [model],
        [LeaseLeft(model_id=model.id, reservation="old", left_s=60)],
        {model.id: Given(requests=30, tokens_in=8000, tokens_out=0)},
    )
    before_s = await limiter.now_s()
    grant = await limiter.reserve(model, [Need(reservation="new", tokens_in=1, tokens_out=0)], lease_s=60)
    assert grant.starts_ms[0] / 1000 - before_s >= 0.8 * 60 - 1, (
        "four fifths of the limit were given in the last minute"
    )
