"""When Redis lost its state, or is another server: nothing is let through until the counters are whole again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from router_service.capacity.limiter import SHUT, Call, Limiter, Started, Wish
from router_service.capacity.measures import Measures
from router_service.capacity.records import Record
from router_service.capacity.scopes import model_scope
from router_service.capacity.scripts import GATE
from tests.support.capacity import BREAKER, World, ended, limited, need, needs, scope, starts, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

ALPHA = limited(slots=5, rpm=60, tpm=1000)


@pytest.fixture
def here(redis_url: str, admin_redis_url: str) -> Iterator[World]:
    with world(redis_url, admin_redis_url) as made:
        yield made


def call(name: str, *scopes: str, left_s: float = 60.0) -> Call:
    return Call(reservation=name, scopes=("model:alpha", *scopes), left_s=left_s)


def started(ago_s: float, **changes: Any) -> Started:
    whole: dict[str, Any] = {
        "scope": model_scope(ALPHA),
        "rates": ("rpm", "tpm"),
        "requests": 1,
        "tokens_in": 0,
        "tokens_out": 0,
    }
    return Started(ago_s=ago_s, **(whole | changes))


def test_losing_redis_shuts_the_gate(here: World) -> None:
    assert here.run(here.limiter.is_open())
    here.admin.flushall()
    assert not here.run(here.limiter.is_open())
    stopped = here.reserve(ALPHA, need(ALPHA)).stopped
    assert stopped is not None
    assert stopped.why == SHUT


def test_a_rebuild_puts_calls_back_with_what_is_left_of_their_leases(here: World) -> None:
    here.admin.flushall()
    lost = [call("a", "tenant:acme"), call("b", left_s=5), *(call(name) for name in "cd")]
    assert here.run(here.limiter.rebuild(lost, []))
    assert here.reserve(ALPHA).free == 1
    assert here.admin.zrange("waybill:slots:tenant:acme", 0, -1) == [b"a"]
    held = need(ALPHA, scope("tenant", slots=1), name="a")
    assert here.settle(ended(held, here.reserve(ALPHA).now_ms)) == 1
    here.clock.pass_by(6)
    assert here.reserve(ALPHA).free == 3


def test_a_call_of_a_model_that_left_the_catalog_is_put_back_too(here: World) -> None:
    here.admin.flushall()
    assert here.run(here.limiter.rebuild([Call(reservation="x", scopes=("model:old",), left_s=60)], []))
    assert here.run(here.limiter.snapshot([limited("old")]))["old"].in_flight == 1


def test_what_was_started_before_the_loss_still_counts(here: World) -> None:
    here.admin.flushall()
    tenant = scope("tenant", rpm=2)
    given = [
        started(50, tokens_in=300),
        started(50, tokens_in=200),
        started(10, tokens_out=400),
        started(10, scope=tenant, rates=("rpm",), requests=2),
    ]
    assert here.run(here.limiter.rebuild([], given))
    full = need(ALPHA, tokens_in=101, tokens_out=0)
    grants = here.reserve(ALPHA, full)
    assert grants.stopped is not None
    assert grants.stopped.why == "tpm"
    assert 10.1 < grants.next_s < 10.5
    here.start(ALPHA, full)
    here.clock.pass_by(10)
    hindered, ok = need(ALPHA, tenant), need(ALPHA)
    assert [isinstance(answer, int) for answer in here.reserve(ALPHA, hindered, ok).answers] == [False, True]


def test_nothing_starts_with_a_burst_after_a_loss(here: World) -> None:
    model = limited(rpm=6000, burst_s=5)
    here.admin.flushall()
    here.run(here.limiter.rebuild([], []))
    assert len(starts(here.reserve(model, *needs(model, count=100)))) == 26


def test_the_gate_holds_the_run_id_and_counters_of_another_server_are_thrown_away(here: World) -> None:
    model = limited(slots=5, rpm=60, tpm=1000)
    here.start(model, need(model))
    here.run(here.limiter.pause(limited("beta"), pause_s=100))
    here.run(here.limiter.place([_wish("p")], most={"model:alpha": (9, 9)}, lease_s=60))
    here.admin.set("waybill:tallies", "stays")
    here.admin.set("waybill:doorbell", "stays")
    here.admin.set(GATE, "a server of before")
    assert not here.run(here.limiter.is_open())
    assert here.run(here.limiter.rebuild([call("a")], []))
    assert here.run(here.limiter.is_open())
    left = {key.decode() for key in here.admin.scan_iter("waybill:*")}
    state = "waybill:state:model:alpha"
    assert left == {GATE, "waybill:tallies", "waybill:doorbell", "waybill:slots:model:alpha", state}
    assert here.admin.hkeys(state) == [b"kept"]
    assert here.admin.zrange("waybill:slots:model:alpha", 0, -1) == [b"a"]


def _wish(name: str) -> Wish:
    return Wish(reservation=name, scopes=(model_scope(ALPHA),), urgent=False)


def test_a_rebuild_while_the_gate_is_open_changes_nothing(here: World) -> None:
    here.start(ALPHA, need(ALPHA))
    before = here.admin.keys()
    assert not here.run(here.limiter.rebuild([call("a")], [started(1)]))
    assert sorted(here.admin.keys()) == sorted(before)
    assert here.reserve(ALPHA).free == 4


async def test_of_two_janitors_the_first_one_rebuilds(shut_limiter: Limiter, admin_redis: Redis) -> None:
    calls = [call("a"), call("b")]
    first = await asyncio.gather(*(shut_limiter.rebuild(calls, [started(1)]) for _ in range(4)))
    assert sorted(first) == [False, False, False, True]
    assert (await shut_limiter.snapshot([ALPHA]))["alpha"].in_flight == 2
    assert admin_redis.hget("waybill:state:model:alpha", "rpm:sum") == b"1"


def test_thousands_of_counters_are_thrown_away_in_one_go(here: World) -> None:
    with here.admin.pipeline(transaction=False) as pipe:
        for number in range(5000):
            pipe.hset(f"waybill:state:tenant:{number}", "rpm:sum", 1)
            pipe.zadd(f"waybill:slots:batch:{number}", {"a": 9e15})
        pipe.execute()
    here.run(here.limiter.shut())
    assert here.run(here.limiter.rebuild([], []))
    assert here.admin.keys() == [GATE.encode()]


def test_what_is_put_back_expires_too(here: World) -> None:
    here.admin.flushall()
    here.run(here.limiter.rebuild([call("a")], [started(1, tokens_in=1)]))
    lifetimes_s = {key.decode(): here.admin.ttl(key) for key in here.admin.scan_iter()}
    assert lifetimes_s.pop(GATE) == -1
    assert len(lifetimes_s) == 4
    assert all(86_400 < left_s <= 26 * 3600 for left_s in lifetimes_s.values())


async def test_a_server_that_forgot_the_scripts_is_given_them_again(limiter: Limiter, admin_redis: Redis) -> None:
    wanted = need(ALPHA)
    first = await limiter.exchange(ALPHA, ended=(), needs=[wanted], breaker=BREAKER, lease_s=60)
    admin_redis.script_flush()
    over = [ended(wanted, starts(first)[0])]
    again = await limiter.exchange(ALPHA, ended=over, needs=[], breaker=BREAKER, lease_s=60)
    assert again.stopped is None
    assert (await limiter.snapshot([ALPHA]))["alpha"].in_flight == 0


def test_a_server_that_was_started_again_is_shut_before_anybody_has_looked(here: World) -> None:
    """It has the counters of an earlier moment, and no scripts."""
    here.start(ALPHA, need(ALPHA))
    here.admin.set(GATE, "its run before")
    here.admin.script_flush()
    stopped = here.reserve(ALPHA, need(ALPHA)).stopped
    assert stopped is not None
    assert stopped.why == SHUT
    assert here.admin.get(GATE) is None


def test_what_was_read_before_all_was_lost_again_opens_nothing(here: World) -> None:
    """Of two janitors the one read its rows before the second loss: its calls may be over, others may have begun."""
    here.admin.flushall()
    before = here.run(here.limiter.shut())
    here.admin.flushall()
    assert not here.run(here.limiter.rebuild([call("a")], [], loss=before))
    assert not here.run(here.limiter.is_open())
    again = here.run(here.limiter.shut())
    assert here.run(here.limiter.shut()) == again, "it is one loss, whoever mends it"
    assert here.run(here.limiter.rebuild([call("b")], [], loss=again))
    assert here.admin.zrange("waybill:slots:model:alpha", 0, -1) == [b"b"]


def test_pauses_and_measures_outlive_the_loss(here: World) -> None:
    here.admin.flushall()
    known = Measures(estimated_in=100, real_in=150, real_out=40)
    assert here.run(here.limiter.rebuild([], [], pauses=[("model:alpha", 30.0)], measures={"alpha": known}))
    live = here.run(here.limiter.snapshot([ALPHA]))["alpha"]
    assert (29 < live.paused_s <= 30, live.measures) == (True, known)
    assert live.record == Record(), "how fast it is has to be seen anew"
    stopped = here.reserve(ALPHA, need(ALPHA)).stopped
    assert stopped is not None
    assert stopped.why == "paused"
