"""The limits are used and not only kept: by a steady supply, and by large jobs beside small ones of other workers."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from router_service.capacity.limiter import Hindrance
from tests.support.capacity import MINUTE_MS, Ledger, World, limited, need, scope, starts, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router_service.capacity.limiter import Need
    from router_service.catalog.models import Model


def start(here: World, model: Model, tokens: int) -> int:
    return here.start(model, need(model, tokens_in=tokens, tokens_out=0))


def now_ms(here: World, model: Model) -> int:
    return here.reserve(model).now_ms


def test_a_steady_supply_of_requests_uses_the_limit(redis_url: str, admin_redis_url: str) -> None:
    model = limited(rpm=100)
    with world(redis_url, admin_redis_url) as here:
        begun = [start(here, model, 1) for _ in range(201)]
    assert begun[-1] - begun[0] <= 2 * MINUTE_MS * 1.01


@pytest.mark.parametrize(("least", "most", "ratio"), [(50, 150, 1.02), (50, 1000, 1.05)])
def test_a_steady_supply_of_tokens_uses_the_limit(
    redis_url: str, admin_redis_url: str, least: int, most: int, ratio: float
) -> None:
    """Jobs of up to a tenth of the limit leave gaps that none of the waiting jobs fits in, but no more than their own size."""
    model = limited(tpm=10_000)
    sizes = [least + (number * 617) % (most - least + 1) for number in range(round(30_000 / ((least + most) / 2)))]
    with world(redis_url, admin_redis_url) as here:
        begun = [start(here, model, tokens) for tokens in sizes]
    fluid_ms = sum(sizes[:-1]) / 10_000 * MINUTE_MS
    assert begun[-1] - begun[0] <= ratio * fluid_ms


class Worker:
    """Asks for one job after the other, and takes the limiter at its word about when to ask again."""

    def __init__(self, model: Model, jobs: Iterator[Need]) -> None:
        self._model = model
        self._jobs = jobs
        self._job = next(jobs)
        self.ask_at_ms = 0.0
        self.begun: list[tuple[int, int]] = []

    def ask(self, here: World) -> None:
        grants = here.reserve(self._model, self._job)
        self.ask_at_ms = grants.now_ms
        if grants.stopped is None:
            self.begun += [(each, self._job.tokens_in) for each in starts(grants)]
            self._job = next(self._jobs)
        else:
            assert grants.stopped.wait_s > 0
            self.ask_at_ms += grants.stopped.wait_s * 1000


def work(here: World, *workers: Worker, for_s: float) -> None:
    """Whoever is due asks, for so long. Passing time comes in twentieths of a second."""
    end_ms = now_ms(here, limited("clock")) + for_s * 1000
    while True:
        due = min(workers, key=lambda worker: worker.ask_at_ms)
        gap_ms = due.ask_at_ms - now_ms(here, limited("clock"))
        if due.ask_at_ms > end_ms:
            return
        if gap_ms > 0:
            here.clock.pass_by(gap_ms / 1000)
        due.ask(here)


def jobs_of(model: Model, *sizes: int) -> Iterator[Need]:
    """Jobs of these sizes; then jobs of the last one for ever."""
    for tokens in chain(sizes, repeat(sizes[-1])):
        yield need(model, tokens_in=tokens, tokens_out=0)


@pytest.mark.parametrize("tokens", [100, 300, 900, 1500])
def test_a_large_job_gets_its_turn_while_another_worker_has_small_ones_for_ever(
    redis_url: str, admin_redis_url: str, tokens: int
) -> None:
    model = limited(tpm=1000)
    with world(redis_url, admin_redis_url) as here:
        small = Worker(model, jobs_of(model, 10))
        work(here, small, for_s=65)
        large = Worker(model, jobs_of(model, tokens, 10))
        large.ask_at_ms = began_ms = now_ms(here, model)
        work(here, small, large, for_s=90)
        assert large.begun[0][1] == tokens
        assert large.begun[0][0] - began_ms <= min(tokens, 1000) / 1000 * MINUTE_MS + 20_000
        ledger = Ledger(1000)
        for start_ms, size in sorted(small.begun + large.begun):
            ledger.begin(start_ms, size)


@pytest.mark.parametrize("kind", ["model", "group"])
def test_a_turn_stops_other_workers_and_other_models_of_the_account_but_no_urgent_job(
    redis_url: str, admin_redis_url: str, kind: str
) -> None:
    rates: dict[str, Any] = {"tpm": 1000.0}
    account = scope("group", "account", **rates)
    model, others = (limited(**rates), []) if kind == "model" else (limited(), [account])
    neighbour = model if kind == "model" else limited("beta")
    with world(redis_url, admin_redis_url) as here:
        here.start(model, need(model, *others, tokens_in=400, tokens_out=0))
        here.clock.pass_by(30)
        large = need(model, *others, tokens_in=700, tokens_out=0)
        assert here.reserve(model, large).stopped == Hindrance(why="tpm", wait_s=1.0)
        stopped = here.reserve(neighbour, need(neighbour, *others, tokens_in=1)).stopped
        assert stopped is not None
        assert stopped.why == "tpm"
        assert 0.9 < stopped.wait_s <= 1.02
        here.start(neighbour, replace(need(neighbour, *others, tokens_in=1), urgent=True))
        assert starts(here.reserve(model, need(model, *others, tokens_in=1), large)) != [], "its own worker decides"


def test_a_turn_whose_job_is_not_asked_for_again_is_lost(redis_url: str, admin_redis_url: str) -> None:
    model = limited(tpm=1000)
    with world(redis_url, admin_redis_url) as here:
        start(here, model, 400)
        here.clock.pass_by(30)
        assert here.reserve(model, need(model, tokens_in=700)).answers == ()
        here.clock.pass_by(1)
        assert here.reserve(model, need(model, tokens_in=1)).answers == ()
        here.clock.pass_by(0.2)
        assert len(starts(here.reserve(model, need(model, tokens_in=1)))) == 1


def test_large_jobs_cost_little_of_the_limit(redis_url: str, admin_redis_url: str) -> None:
    """While a job of half the limit waits, the window empties by as much: that, and no pause after it, is its price."""
    model = limited(tpm=1000)
    sizes = [*[10] * 100, *[500, *[10] * 50] * 3]
    with world(redis_url, admin_redis_url) as here:
        begun = [start(here, model, tokens) for tokens in sizes]
    assert begun[-1] - begun[0] <= 1.05 * sum(sizes) / 1000 * MINUTE_MS
