"""What a model's provider does is answered: the breaker, pauses, throttles, and limits told in headers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from router_service.capacity.limiter import BREAKER as HELD_BY_BREAKER
from router_service.capacity.limiter import PAUSED, Hindrance
from router_service.capacity.room import counters_of
from router_service.catalog.models import Breaker
from router_service.policy.outcomes import Seen
from tests.support import capacity
from tests.support.capacity import BREAKER, World, ended, limited, need, needs, scope, starts, unused, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router_service.capacity.limiter import Live, Need
    from router_service.catalog.models import Model

ALPHA = limited()


@pytest.fixture
def here(redis_url: str, admin_redis_url: str) -> Iterator[World]:
    with world(redis_url, admin_redis_url) as made:
        yield made


def live(here: World, model: Model = ALPHA) -> Live:
    found: Live = here.run(here.limiter.snapshot([model]))[model.id]
    return found


def call(here: World, *verdicts: str, model: Model = ALPHA) -> None:
    """Calls at a time, which end in this order."""
    wanted = needs(model, count=len(verdicts))
    begun = starts(here.reserve(model, *wanted))
    assert len(begun) == len(verdicts)
    for each, start_ms, verdict in zip(wanted, begun, verdicts, strict=True):
        here.settle(ended(each, start_ms, verdict=verdict))


def probe(here: World) -> tuple[Need, int]:
    wanted = need(ALPHA)
    (begun,) = starts(here.reserve(ALPHA, wanted))
    return wanted, begun


def is_open(here: World) -> bool:
    return live(here).broken_s > 0


def test_a_model_that_fails_is_only_passed_by_until_its_fails_in_a_row_block_it(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "BREAKER", Breaker(blocking_fails=10))
    call(here, *["failed"] * 3)
    assert not live(here).is_failing
    call(here, *["failed"] * 7)
    assert (live(here).is_failing, is_open(here)) == (True, False)
    call(here, "ok")
    assert not live(here).is_failing
    call(here, *["failed"] * 10)
    assert (live(here).is_failing, is_open(here)) == (True, False)
    call(here, "failed")
    assert is_open(here)


def test_a_model_is_failing_for_the_cooldown(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "BREAKER", Breaker())
    call(here, *["failed"] * 4)
    assert live(here).is_failing
    here.clock.pass_by(4.9)
    assert live(here).is_failing
    here.clock.pass_by(0.2)
    assert not live(here).is_failing


def test_the_breaker_opens_after_more_failures_than_are_allowed(here: World) -> None:
    call(here, *["failed"] * 3)
    assert not is_open(here)
    call(here, "failed")
    assert 4 < live(here).broken_s <= 5
    stopped = here.reserve(ALPHA, need(ALPHA)).stopped
    assert stopped is not None
    assert stopped.why == HELD_BY_BREAKER
    assert 4 < stopped.wait_s <= 5


def test_failures_among_more_good_calls_do_not_open_it(here: World) -> None:
    call(here, *["ok"] * 9, *["failed"] * 8)
    assert not is_open(here)
    call(here, "failed")
    assert is_open(here)


def test_good_calls_of_long_ago_do_not_keep_it_closed(here: World) -> None:
    call(here, *["ok"] * 500, *["failed"] * 9)
    assert not is_open(here)
    call(here, "failed")
    assert is_open(here)


def test_calls_without_a_verdict_and_calls_never_made_count_for_nothing(here: World) -> None:
    call(here, *["none"] * 30, *["failed"] * 3, *["none"] * 30)
    wanted = need(ALPHA)
    here.settle(unused(wanted, starts(here.reserve(ALPHA, wanted))[0]))
    assert not is_open(here)


def test_a_settlement_that_comes_twice_is_one_failure(here: World) -> None:
    wanted = need(ALPHA)
    over = ended(wanted, starts(here.reserve(ALPHA, wanted))[0], verdict="failed")
    for _time in range(10):
        here.settle(over)
    assert not is_open(here)


def test_after_the_cooldown_one_call_at_a_time_goes_through_and_a_good_one_closes_it(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    assert live(here).broken_s < 0
    assert here.reserve(ALPHA).stopped is None, "a look takes no turn"
    wanted, other = needs(ALPHA, count=2)
    grants = here.reserve(ALPHA, wanted, other)
    (begun,) = starts(grants)
    assert grants.stopped == Hindrance(why=HELD_BY_BREAKER, wait_s=0.2)
    assert here.reserve(ALPHA, other).stopped == Hindrance(why=HELD_BY_BREAKER, wait_s=0.2)
    here.settle(ended(wanted, begun, verdict="ok"))
    assert live(here).broken_s == 0
    call(here, *["ok"] * 20)


def test_a_probe_that_fails_opens_it_again(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    here.settle(ended(*probe(here), verdict="failed"))
    assert 4 < live(here).broken_s <= 5


def test_a_probe_that_failed_and_may_still_run_opens_it_again(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    here.settle(ended(*probe(here), verdict="failed", hold=True))
    assert is_open(here)


def test_a_probe_without_a_verdict_leaves_its_turn_to_another(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    here.settle(ended(*probe(here)))
    assert live(here).broken_s < 0
    here.settle(ended(*probe(here), verdict="ok"))
    assert live(here).broken_s == 0


def test_a_probe_that_may_still_run_and_told_nothing_leaves_its_turn_too(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    here.settle(ended(*probe(here), hold=True))
    here.settle(ended(*probe(here), verdict="ok"))
    assert live(here).broken_s == 0


def test_a_probe_that_got_lost_leaves_its_turn_when_its_lease_expires(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    assert len(starts(here.reserve(ALPHA, need(ALPHA), lease_s=20))) == 1
    here.clock.pass_by(19)
    assert here.reserve(ALPHA, need(ALPHA)).answers == ()
    here.clock.pass_by(2)
    probe(here)


def test_what_a_probe_is_not_given_takes_no_turn(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    full = scope("tenant", slots=0)
    grants = here.reserve(ALPHA, need(ALPHA, full), need(ALPHA), need(ALPHA))
    assert [isinstance(answer, Hindrance) for answer in grants.answers] == [True, False]


def test_calls_of_before_neither_close_an_open_breaker_nor_keep_it_open(here: World) -> None:
    slow = needs(ALPHA, count=2)
    begun = starts(here.reserve(ALPHA, *slow))
    call(here, *["failed"] * 4)
    here.clock.pass_by(2)
    here.settle(ended(slow[0], begun[0], verdict="ok"), ended(slow[1], begun[1], verdict="failed"))
    assert 2 < live(here).broken_s <= 3


def test_a_closed_breaker_has_forgotten_the_failures_of_before(here: World) -> None:
    call(here, *["failed"] * 4)
    here.clock.pass_by(5)
    here.settle(ended(*probe(here), verdict="ok"))
    call(here, *["failed"] * 3)
    assert not is_open(here)


def test_no_cooldown_means_no_breaker(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "BREAKER", Breaker(allowed_fails=0, blocking_fails=0, cooldown_s=0.0))
    call(here, *["failed"] * 40)
    assert live(here).broken_s == 0


def test_the_breakers_of_two_models_are_two(here: World) -> None:
    call(here, *["failed"] * 4)
    call(here, "ok", model=limited("beta"))


def test_a_pause_lets_nothing_through_and_the_longer_one_stays(here: World) -> None:
    for pause_s in (100, 1):
        here.run(here.limiter.pause(ALPHA, pause_s=pause_s))
    stopped = here.reserve(ALPHA, need(ALPHA)).stopped
    assert stopped is not None
    assert stopped.why == PAUSED
    assert 99 < stopped.wait_s <= 100
    assert 99 < live(here).paused_s <= 100
    here.start(limited("beta"), need(limited("beta")))
    here.clock.pass_by(100)
    here.start(ALPHA, need(ALPHA))


def throttle(here: World, model: Model, *, pause_s: float = 0.0) -> None:
    here.run(here.limiter.throttled(model, pause_s=pause_s))


def test_a_throttle_takes_a_fifth_off_the_rates_at_most_once_in_five_seconds(here: World) -> None:
    model = limited(rpm=600)
    for _call in range(10):
        throttle(here, model)
    assert live(here, model).factor == pytest.approx(0.8, abs=0.001)
    here.clock.pass_by(5.1)
    throttle(here, model)
    assert live(here, model).factor == pytest.approx(0.648, abs=0.001)
    assert starts_apart(here, model) == pytest.approx(100 / 0.648, abs=1.1)


def starts_apart(here: World, model: Model) -> float:
    """Of eleven jobs, asked for together."""
    begun, wanted = list[int](), needs(model, count=11)
    while len(begun) < len(wanted):
        grants = here.reserve(model, *wanted[len(begun) :])
        begun += starts(grants)
        here.clock.pass_by(grants.stopped.wait_s if grants.stopped else 0)
    return (begun[-1] - begun[0]) / 10


def test_a_throttled_model_gets_its_limits_back_slowly_and_never_more(here: World) -> None:
    model = limited(rpm=600)
    throttle(here, model)
    here.clock.pass_by(50)
    assert live(here, model).factor == pytest.approx(0.9, abs=0.001)
    here.clock.pass_by(5000)
    assert live(here, model).factor == 1


def test_a_throttle_is_never_the_end_of_a_model(here: World) -> None:
    model = limited(rpm=600)
    for _time in range(60):
        here.clock.pass_by(5.1)
        throttle(here, model)
    assert live(here, model).factor == pytest.approx(0.05, abs=0.001)


def test_a_throttle_with_a_pause_pauses_too(here: World) -> None:
    throttle(here, ALPHA, pause_s=30)
    assert 29 < live(here).paused_s <= 30


def test_a_throttle_lowers_the_calls_at_a_time_where_no_rate_is_limited(here: World) -> None:
    model = limited(slots=10)
    throttle(here, model)
    assert len(starts(here.reserve(model, *needs(model, count=10)))) == 8
    here.clock.pass_by(200)
    assert len(starts(here.reserve(model, *needs(model, count=10)))) == 2


def test_a_throttle_leaves_one_call_at_a_time(here: World) -> None:
    model = limited(slots=1)
    throttle(here, model)
    assert len(starts(here.reserve(model, *needs(model, count=2)))) == 1


def test_a_throttle_says_nothing_about_a_day(here: World) -> None:
    model = limited(slots=10, rpd=9)
    throttle(here, model)
    assert len(starts(here.reserve(model, *needs(model, count=10)))) == 8, "the calls at a time are lowered"
    here.clock.pass_by(200)
    assert len(starts(here.reserve(model, *needs(model, count=10)))) == 1


def test_a_lower_limit_in_a_header_is_kept_to_and_a_higher_one_is_not_taken(here: World) -> None:
    model = limited(rpm=600, tpm=1e9)
    here.run(here.limiter.learn(model, Seen(rpm=300, tpm=1e12)))
    assert starts_apart(here, model) == pytest.approx(200, abs=1)
    here.run(here.limiter.learn(model, Seen(rpm=60_000)))
    assert starts_apart(here, model) == pytest.approx(100, abs=1)


def test_a_limit_that_nobody_stated_is_learned_from_a_header(here: World) -> None:
    here.run(here.limiter.learn(ALPHA, Seen(itpm=600)))
    wanted = needs(ALPHA, count=2, tokens_in=10)
    assert here.reserve(ALPHA, *wanted).stopped is not None
    assert live(here).rate == "itpm"


def test_a_call_of_before_a_limit_was_learned_settles(here: World) -> None:
    wanted = need(ALPHA, tokens_in=100)
    begun = starts(here.reserve(ALPHA, wanted))[0]
    here.run(here.limiter.learn(ALPHA, Seen(itpm=60_000)))
    assert here.settle(ended(wanted, begun, tokens_in=1)) == 1
    here.start(ALPHA, need(ALPHA))


def test_a_header_is_believed_for_an_hour_after_it_was_last_told(here: World) -> None:
    model = limited(rpm=6000, burst_s=0)
    for _time in range(2):
        here.run(here.limiter.learn(model, Seen(rpm=60)))
        here.clock.pass_by(3590)
        assert starts_apart(here, model) == pytest.approx(1000, abs=1)
    here.clock.pass_by(3600)
    assert starts_apart(here, model) == pytest.approx(10, abs=1)


def test_a_header_that_says_nothing_is_left_pauses(here: World) -> None:
    here.run(here.limiter.learn(ALPHA, Seen(exhausted_s=7)))
    assert 6 < live(here).paused_s <= 7
    assert live(here).factor == 1


def test_throttles_and_headers_lower_the_limits_together(here: World) -> None:
    model = limited(rpm=6000)
    here.run(here.limiter.learn(model, Seen(rpm=600)))
    throttle(here, model)
    assert starts_apart(here, model) == pytest.approx(125, abs=1.1)


def test_a_snapshot_names_the_rate_that_is_farthest_off(here: World) -> None:
    model = limited(rpm=600, tpm=60)
    assert (live(here, model).rate, live(here, model).rate_wait_s) == (None, 0.0)
    here.start(model, need(model, tokens_in=10, tokens_out=0))
    assert live(here, model).rate == "tpm"
    assert 9 < live(here, model).rate_wait_s <= 10
    by_day = limited("beta", rpd=1)
    here.start(by_day, need(by_day))
    assert live(here, by_day).rate == "rpd"
    assert 86_390 < live(here, by_day).rate_wait_s < 86_470


def test_a_snapshot_tells_what_is_left_of_each_limit_that_is_in_force(here: World) -> None:
    model = limited(rpm=10, tpm=1000)
    here.start(model, need(model, tokens_in=200, tokens_out=50))
    known = counters_of(model.limits, live(here, model))
    assert [(rate.name, rate.limit, rate.used, rate.left) for rate in known.rates] == [
        ("rpm", 10, 1, 0.9),
        ("tpm", 1000, 250, 0.75),
    ]
    assert (known.rate_left, known.used_rpm, known.used_tpm) == (0.75, 1, 250)
    here.run(here.limiter.learn(model, Seen(rpm=2)))
    assert counters_of(model.limits, live(here, model)).rate_left == 0.5
    here.clock.pass_by(61)
    gone = counters_of(model.limits, live(here, model))
    assert (gone.rate_left, gone.used_rpm, gone.used_tpm) == (1.0, 0, 0)


def test_a_snapshot_counts_what_is_still_in_the_window_and_not_what_has_left(here: World) -> None:
    """Nothing was reserved since, which would have taken it out."""
    model = limited(itpm=60_000, otpm=60_000)
    for tokens in (100, 20):
        here.start(model, need(model, tokens_in=tokens, tokens_out=1))
        here.clock.pass_by(40)
    known = counters_of(model.limits, live(here, model))
    assert {rate.name: rate.used for rate in known.rates} == {"itpm": 20, "otpm": 1}
    assert known.used_tpm == 21


@pytest.mark.parametrize("tokens", [10, 100, 300, 700, 1000, 5000])
def test_a_snapshot_tells_how_long_a_job_of_so_many_tokens_waits(here: World, tokens: int) -> None:
    """Within two seconds where the minute was used evenly, for any size of job."""
    model = limited(tpm=1000)
    for _job in range(25):
        here.start(model, need(model, tokens_in=50, tokens_out=0))
    told_s = counters_of(model.limits, live(here, model)).wait_for_s(tokens_in=tokens, tokens_out=0)
    began_ms = here.reserve(model).now_ms
    start_ms = here.start(model, need(model, tokens_in=tokens, tokens_out=0))
    assert told_s == pytest.approx((start_ms - began_ms) / 1000, abs=2.0)


def test_a_snapshot_shows_every_model_that_was_asked_for(here: World) -> None:
    here.start(ALPHA, need(ALPHA))
    found = here.run(here.limiter.snapshot([limited("beta"), ALPHA]))
    assert {name: each.in_flight for name, each in found.items()} == {"alpha": 1, "beta": 0}
    assert here.run(here.limiter.snapshot([])) == {}


SHARED = scope("group", "account", rpm=600)
ONE, TWO = (replace(limited(name), limit_group="account") for name in ("one", "two"))


def test_a_pause_of_one_model_holds_for_all_that_share_its_account(here: World) -> None:
    here.run(here.limiter.throttled(ONE, pause_s=30))
    for model in (ONE, TWO):
        assert 29 < live(here, model).paused_s <= 30
        assert stopped_by(here, model, need(model, SHARED)) == PAUSED
    assert live(here, limited("three")).paused_s == 0


def test_a_throttle_lowers_the_rates_of_the_account_and_not_the_calls_at_a_time(here: World) -> None:
    here.run(here.limiter.throttled(ONE, pause_s=0))
    begun = [here.start(TWO, need(TWO, SHARED)) for _ in range(12)]
    assert begun[-1] - begun[-2] == pytest.approx(100 / 0.8, rel=0.05), "600 a minute, less a fifth"
    assert here.reserve(ONE, need(ONE, SHARED)).free == ONE.limits.slots


def test_a_limit_told_of_one_model_is_one_limit_for_all_of_the_account(here: World) -> None:
    here.run(here.limiter.learn(ONE, Seen(rpm=60)))
    begun = [here.start(model, need(model, SHARED)) for model in (ONE, TWO) * 4]
    assert begun[-1] - begun[-2] == pytest.approx(1000, rel=0.05)


def stopped_by(here: World, model: Model, wanted: Need) -> str | None:
    stopped = here.reserve(model, wanted).stopped
    return None if stopped is None else stopped.why


def test_a_failure_that_is_told_twice_speaks_once_against_the_model(here: World) -> None:
    """Also where its slot is left to expire."""
    model, wanted = limited(slots=5), need(ALPHA)
    (begun,) = starts(here.reserve(model, wanted))
    for _time in range(BREAKER.allowed_fails + 1):
        here.settle(ended(wanted, begun, hold=True, verdict="failed"))
    assert (live(here).is_failing, live(here).in_flight) == (False, 1)
