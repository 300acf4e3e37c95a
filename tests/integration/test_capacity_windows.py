"""What a provider sees in any sliding minute or day, over hours of random work. Time passes by moving what Redis keeps back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_service.capacity.limiter import Started
from router_service.capacity.scopes import model_scope
from tests.support.capacity import (
    DAY_MS,
    MINUTE_MS,
    SLACK_MS,
    Ledger,
    World,
    ended,
    limited,
    need,
    needs,
    scope,
    starts,
    units,
    unused,
    world,
)

if TYPE_CHECKING:
    from router_service.capacity.limiter import Ended, Need
    from router_service.capacity.scopes import Scope
    from router_service.catalog.models import Model

EXAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
GAPS_S = st.sampled_from([0, 0, 0, 0.05, 0.3, 0.7, 5, 20, 59, 61])
SIZES = st.sampled_from([1, 10, 40, 90, 100, 333, 500, 667, 999, 1000, 1400])
HEAVY, LIGHT = scope("group", "account", tpm=1500, rpm=12), scope("tenant", tpm=900, otpm=300)


class Seen:
    """The starts of every rate of every scope, checked one by one as they are granted."""

    def __init__(self, *scopes: Scope) -> None:
        self.ledgers = {(each.name, rate): Ledger(limit) for each in scopes for rate, limit in each.rates.items()}
        self._entries: dict[str, dict[tuple[str, str], list[int]]] = {}

    def began(self, wanted: Need, start_ms: int) -> None:
        entries = {}
        for each in wanted.scopes:
            for rate in each.rates:
                amount = units(rate, requests=1, tokens_in=wanted.tokens_in, tokens_out=wanted.tokens_out)
                entries[each.name, rate] = self.ledgers[each.name, rate].begin(start_ms, amount)
        self._entries[wanted.reservation] = entries

    def ended(self, over: Ended, *, now_ms: int) -> None:
        """What was really used; a debt of a window that has gone by counts from now on."""
        for (name, rate), entry in self._entries.pop(over.need.reservation).items():
            amount = units(rate, requests=over.requests, tokens_in=over.tokens_in, tokens_out=over.tokens_out)
            if amount > entry[1] and entry[0] < now_ms - MINUTE_MS - SLACK_MS:
                ledger = self.ledgers[name, rate]
                ledger.entries.append([max(now_ms, *(at for at, _each in ledger.entries)), amount - entry[1]])
            else:
                entry[1] = amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    gap_s: float
    model: int
    is_light: bool
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """None: as much as was reserved."""

    gap_s: float
    which: int
    requests: int
    tokens_in: int | None
    tokens_out: int | None

    def of(self, wanted: Need, start_ms: int) -> Ended:
        used = {"tokens_in": self.tokens_in, "tokens_out": self.tokens_out}
        told = {name: tokens for name, tokens in used.items() if tokens is not None}
        return ended(wanted, start_ms, requests=self.requests, **told)


def start(here: World, model: Model, tokens: int) -> int:
    return here.start(model, need(model, tokens_in=tokens, tokens_out=0))


@EXAMPLES
@given(limit=st.integers(1, 40), gaps_s=st.lists(GAPS_S, min_size=5, max_size=60))
def test_requests_in_any_sliding_minute_stay_within_the_limit(
    redis_url: str, admin_redis_url: str, limit: int, gaps_s: list[float]
) -> None:
    model, ledger = limited(rpm=limit), Ledger(limit)
    with world(redis_url, admin_redis_url) as here:
        for gap_s in gaps_s:
            here.clock.pass_by(gap_s)
            ledger.begin(start(here, model, 1), 1)


@EXAMPLES
@given(jobs=st.lists(st.tuples(SIZES, GAPS_S), min_size=2, max_size=50), burst_s=st.sampled_from([0, 1, 5, 60]))
def test_tokens_in_any_sliding_minute_stay_within_the_limit_and_a_larger_job_runs_alone(
    redis_url: str, admin_redis_url: str, jobs: list[tuple[int, float]], burst_s: float
) -> None:
    model, ledger = limited(tpm=1000, burst_s=burst_s), Ledger(1000)
    with world(redis_url, admin_redis_url) as here:
        for tokens, gap_s in jobs:
            here.clock.pass_by(gap_s)
            ledger.begin(start(here, model, tokens), tokens)


@settings(EXAMPLES, max_examples=25)
@given(
    steps=st.lists(
        st.one_of(
            st.builds(
                Begin,
                gap_s=GAPS_S,
                model=st.integers(0, 1),
                is_light=st.booleans(),
                tokens_in=st.integers(0, 700),
                tokens_out=st.integers(0, 350),
            ),
            st.builds(
                End,
                gap_s=GAPS_S,
                which=st.integers(0, 5),
                requests=st.sampled_from([1, 1, 1, 0]),
                tokens_in=st.sampled_from([None, None, 0, 500]),
                tokens_out=st.sampled_from([None, 0, 0, 250]),
            ),
        ),
        min_size=5,
        max_size=50,
    )
)
def test_all_scopes_keep_their_limits_whatever_calls_really_use(
    redis_url: str, admin_redis_url: str, steps: list[Begin | End]
) -> None:
    """Two models of one account, two tenants; calls that use less and more than reserved, and some that are never made."""
    models = [limited("alpha", rpm=10, itpm=600), limited("beta", tpm=1000, rpm=7)]
    seen = Seen(*map(model_scope, models), HEAVY, LIGHT)
    running: list[tuple[Model, Need, int]] = []
    with world(redis_url, admin_redis_url) as here:
        for step in steps:
            here.clock.pass_by(step.gap_s)
            if isinstance(step, Begin):
                model, others = models[step.model], (HEAVY, LIGHT) if step.is_light else (HEAVY,)
                wanted = need(model, *others, tokens_in=step.tokens_in, tokens_out=step.tokens_out)
                start_ms = here.start(model, wanted)
                seen.began(wanted, start_ms)
                running.append((model, wanted, start_ms))
            elif running:
                model, wanted, start_ms = running.pop(step.which % len(running))
                over = step.of(wanted, start_ms)
                assert here.settle(over) == 1
                seen.ended(over, now_ms=now_ms(here, model))


def now_ms(here: World, model: Model) -> int:
    return here.reserve(model).now_ms


@EXAMPLES
@given(
    before=st.lists(st.tuples(st.integers(1, 400), GAPS_S), min_size=1, max_size=12),
    away_s=st.sampled_from([0.3, 3, 40]),
    after=st.lists(st.tuples(st.integers(1, 400), GAPS_S), min_size=1, max_size=12),
)
def test_a_minute_that_redis_was_lost_in_stays_within_the_limit(
    redis_url: str,
    admin_redis_url: str,
    before: list[tuple[int, float]],
    away_s: float,
    after: list[tuple[int, float]],
) -> None:
    model, ledger = limited(tpm=1000), Ledger(1000)
    with world(redis_url, admin_redis_url) as here:
        for tokens, gap_s in before:
            here.clock.pass_by(gap_s)
            ledger.begin(start(here, model, tokens), tokens)
        lost_ms = now_ms(here, model)
        here.admin.flushall()
        here.clock.pass_by(away_s)
        assert here.reserve(model, need(model)).answers == ()
        given = [
            Started(
                scope=model_scope(model),
                rates=("tpm",),
                ago_s=(lost_ms - at) / 1000 + away_s,
                requests=1,
                tokens_in=tokens,
                tokens_out=0,
            )
            for at, tokens in ledger.entries
            if at > lost_ms + away_s * 1000 - MINUTE_MS - SLACK_MS
        ]
        assert here.run(here.limiter.rebuild([], given))
        for tokens, gap_s in after:
            here.clock.pass_by(gap_s)
            ledger.begin(start(here, model, tokens), tokens)


@EXAMPLES
@given(
    jobs=st.lists(st.tuples(st.integers(1, 150), st.sampled_from([0, 0, 0, 0.5, 3, 90])), min_size=5, max_size=50),
    burst_s=st.sampled_from([0, 1, 10]),
)
def test_no_stretch_of_time_holds_more_than_its_pace_a_burst_or_a_job_and_the_last_job(
    redis_url: str, admin_redis_url: str, jobs: list[tuple[int, float]], burst_s: float
) -> None:
    model, begun = limited(tpm=1000, burst_s=burst_s), []
    with world(redis_url, admin_redis_url) as here:
        for tokens, gap_s in jobs:
            here.clock.pass_by(gap_s)
            begun.append((start(here, model, tokens), tokens))
    for first, (first_ms, _tokens) in enumerate(begun):
        held = 0
        for last_ms, tokens in begun[first:]:
            pace = 1000 * (last_ms - first_ms + 1) / MINUTE_MS
            assert held <= pace + max(1000 * burst_s / 60, begun[first][1]) + 1e-6
            held += tokens


def test_what_was_never_used_does_not_start_with_a_burst_and_what_rested_does(
    redis_url: str, admin_redis_url: str
) -> None:
    model = limited(rpm=600, burst_s=2)
    with world(redis_url, admin_redis_url) as here:
        fresh = starts(here.reserve(model, *needs(model, count=5)))
        here.clock.pass_by(120)
        rested = starts(here.reserve(model, *needs(model, count=30)))
    assert [later - earlier for earlier, later in pairwise(fresh)] == [100] * 2
    assert [later - earlier for earlier, later in pairwise(rested)] == [0] * 20 + [100] * 2, "2 s' worth and one job"


@pytest.mark.parametrize("rate", ["rpd", "tpd"])
def test_a_day_holds_no_more_than_its_limit_and_may_be_used_in_one_go(
    redis_url: str, admin_redis_url: str, rate: str
) -> None:
    limits: dict[str, Any] = {rate: 1000.0}
    model, ledger = limited(**limits), Ledger(1000, window_ms=DAY_MS + SLACK_MS)
    size = 25 if rate == "tpd" else 1
    with world(redis_url, admin_redis_url) as here:
        grants = here.reserve(model, *(need(model, tokens_in=size, tokens_out=0) for _ in range(1200)))
        begun = starts(grants)
        assert len(begun) == 1000 // size
        assert len(set(begun)) == 1, "it is not paced"
        assert grants.stopped is not None
        assert grants.stopped.why == rate
        for start_ms in begun:
            ledger.begin(start_ms, size)
        day_s = (DAY_MS + MINUTE_MS) / 1000
        assert day_s - 61 < grants.stopped.wait_s < day_s + 1
        for _day in range(2):
            for _job in range(1000 // size + 1):
                ledger.begin(start(here, model, size), size)
        assert ledger.entries[-1][0] - begun[0] < 3.01 * DAY_MS


@EXAMPLES
@given(
    jobs=st.lists(
        st.tuples(st.sampled_from([1, 50, 400, 999]), st.sampled_from([0, 0, 60, 3600, 20_000, 100_000])),
        min_size=5,
        max_size=30,
    )
)
def test_any_sliding_day_stays_within_its_limit(
    redis_url: str, admin_redis_url: str, jobs: list[tuple[int, float]]
) -> None:
    model, ledger = limited(tpd=1000), Ledger(1000, window_ms=DAY_MS + SLACK_MS)
    with world(redis_url, admin_redis_url) as here:
        for tokens, gap_s in jobs:
            here.clock.pass_by(gap_s)
            ledger.begin(start(here, model, tokens), tokens)


@pytest.mark.parametrize("minutes", [2, 90])
def test_a_rate_below_one_a_minute_is_kept_over_hours(redis_url: str, admin_redis_url: str, minutes: int) -> None:
    model = limited(rpm=1 / minutes)
    with world(redis_url, admin_redis_url) as here:
        begun = [start(here, model, 1) for _ in range(3)]
        here.clock.pass_by(6 * 3600)
        begun += [start(here, model, 1) for _ in range(2)]
    apart = [later - earlier for earlier, later in pairwise(begun)]
    assert all(gap_ms >= minutes * MINUTE_MS + SLACK_MS for gap_ms in apart)
    assert apart[0] <= 1.01 * minutes * MINUTE_MS


def test_a_job_larger_than_the_limit_runs_alone_and_is_paid_for(redis_url: str, admin_redis_url: str) -> None:
    model = limited(tpm=1000)
    with world(redis_url, admin_redis_url) as here:
        begun = [start(here, model, tokens) for tokens in (10, 3000, 10)]
    assert begun[1] - begun[0] >= MINUTE_MS
    assert begun[2] - begun[1] >= MINUTE_MS
    assert begun[2] - begun[0] >= 3 * MINUTE_MS


def test_what_was_not_used_can_be_used_within_the_same_minute(redis_url: str, admin_redis_url: str) -> None:
    model = limited(tpm=1000)
    with world(redis_url, admin_redis_url) as here:
        wanted = need(model, tokens_in=500, tokens_out=500)
        begun = here.start(model, wanted)
        other = need(model, tokens_in=950, tokens_out=0)
        assert here.reserve(model, other).answers == ()
        here.settle(ended(wanted, begun, tokens_in=20, tokens_out=30))
        assert here.start(model, other) - begun < 5000
        assert here.reserve(model, need(model)).answers == ()


def test_a_debt_delays_what_comes_after_it(redis_url: str, admin_redis_url: str) -> None:
    model = limited(tpm=1000)
    with world(redis_url, admin_redis_url) as here:
        wanted = need(model, tokens_in=100, tokens_out=0)
        begun = here.start(model, wanted)
        here.clock.pass_by(20)
        here.settle(ended(wanted, begun, tokens_out=900))
        assert start(here, model, 10) - begun >= MINUTE_MS


def test_a_debt_of_a_minute_that_has_gone_by_counts_from_now_on(redis_url: str, admin_redis_url: str) -> None:
    model = limited(tpm=1000)
    with world(redis_url, admin_redis_url) as here:
        wanted = need(model, tokens_in=100, tokens_out=0)
        begun = here.start(model, wanted)
        here.clock.pass_by(200)
        settled_ms = now_ms(here, model)
        here.settle(ended(wanted, begun, tokens_out=900))
        assert start(here, model, 200) - settled_ms >= MINUTE_MS


def test_a_missed_start_leaves_its_whole_place_to_another(redis_url: str, admin_redis_url: str) -> None:
    model = limited(rpm=1, tpm=100)
    with world(redis_url, admin_redis_url) as here:
        missed = need(model, tokens_in=100, tokens_out=0)
        begun = here.start(model, missed)
        grants = here.exchange(model, [unused(missed, begun)], [missed])
        assert starts(grants)[0] - begun < 5000


def test_two_models_of_one_account_share_its_limit(redis_url: str, admin_redis_url: str) -> None:
    account, ledger = scope("group", "account", rpm=30), Ledger(30)
    models = [limited("alpha", rpm=30), limited("beta", rpm=30)]
    with world(redis_url, admin_redis_url) as here:
        for number in range(70):
            model = models[number % 2]
            ledger.begin(here.start(model, need(model, account)), 1)
    assert ledger.entries[-1][0] - ledger.entries[0][0] <= 69 / 30 * MINUTE_MS * 1.02


def test_a_limit_that_is_lowered_holds_for_the_minute_that_runs(redis_url: str, admin_redis_url: str) -> None:
    before, after = limited(tpm=1000), limited(tpm=400)
    with world(redis_url, admin_redis_url) as here:
        begun = [start(here, before, 100) for _ in range(8)]
        later = start(here, after, 100)
    assert sum(later - at < MINUTE_MS for at in begun) * 100 + 100 <= 400


def test_starts_of_one_rate_are_granted_in_their_order_by_whoever_asks(redis_url: str, admin_redis_url: str) -> None:
    model, slow = limited(rpm=6000), scope("tenant", rpm=300)
    with world(redis_url, admin_redis_url) as here:
        ahead = starts(here.reserve(model, need(model, slow), need(model, slow)))
        behind = starts(here.reserve(model, need(model)))
    assert ahead[1] - ahead[0] == 200
    assert behind[0] >= ahead[1]


def test_a_day_that_was_lost_is_put_back(redis_url: str, admin_redis_url: str) -> None:
    model = limited(rpd=10)
    given: dict[str, Any] = {"scope": model_scope(model), "rates": ("rpd",), "tokens_in": 0, "tokens_out": 0}
    with world(redis_url, admin_redis_url) as here:
        here.admin.flushall()
        hours_ago = [Started(ago_s=3600.0 * hours, requests=5, **given) for hours in (2, 20)]
        assert here.run(here.limiter.rebuild([], hours_ago))
        grants = here.reserve(model, need(model))
        assert grants.stopped is not None
        assert 4 * 3600 - 1 < grants.stopped.wait_s < 4 * 3600 + 62
