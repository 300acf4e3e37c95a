"""Reserving on a real Valkey: each job gets all it needs of all its scopes, or nothing, and is told why and for how long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router_service.capacity.limiter import HORIZON_MS, SHUT, Hindrance, Limiter, Wish, reservation
from router_service.capacity.scopes import model_scope
from router_service.capacity.scripts import LOSS
from tests.support.capacity import BREAKER, TURN_S, World, ended, limited, need, needs, scope, starts, unused, world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from router_service.catalog.models import Model


@pytest.fixture
def here(redis_url: str, admin_redis_url: str) -> Iterator[World]:
    with world(redis_url, admin_redis_url) as made:
        yield made


def counted(admin: Redis) -> dict[str, Any]:
    """Every slot, place and log, and what the logs are said to hold."""
    found: dict[str, Any] = {}
    for key in map(bytes.decode, admin.scan_iter("waybill:*")):
        if key.startswith("waybill:state:"):
            state = cast("dict[bytes, bytes]", admin.hgetall(key))
            found[key] = {name: value for name, value in state.items() if name.endswith(b":sum") and float(value)}
        elif key.startswith(("waybill:slots:", "waybill:places:", "waybill:log:")):
            found[key] = admin.zrange(key, 0, -1)
    return {key: value for key, value in found.items() if value}


def test_no_more_is_reserved_than_there_are_slots(here: World) -> None:
    model = limited(slots=3)
    grants = here.reserve(model, *needs(model, count=5))
    assert (len(starts(grants)), grants.stopped, grants.free) == (3, Hindrance(why="slots", wait_s=0.0), 0)
    assert here.reserve(model, need(model)).answers == ()


async def test_workers_at_once_never_reserve_more_than_there_are_slots(limiter: Limiter) -> None:
    model = limited(slots=7)
    asked = [
        limiter.exchange(model, ended=(), needs=needs(model, count=3), breaker=BREAKER, lease_s=60) for _ in range(10)
    ]
    assert sum(len(starts(grants)) for grants in await asyncio.gather(*asked)) == 7
    assert (await limiter.snapshot([model]))["alpha"].in_flight == 7


def test_all_start_at_once_where_nothing_is_limited(here: World) -> None:
    model = limited(slots=1000)
    grants = here.reserve(model, *needs(model, count=500))
    assert (len(grants.answers), grants.stopped, grants.free, grants.next_s) == (500, None, 500, 0.0)
    assert set(grants.answers) == {grants.now_ms}


def test_a_start_lies_at_most_the_horizon_ahead(here: World) -> None:
    model = limited(rpm=600)
    grants = here.reserve(model, *needs(model, count=100))
    assert starts(grants) == [grants.now_ms, grants.now_ms + 100, grants.now_ms + 200]
    assert grants.stopped == Hindrance(why="rpm", wait_s=(300 - HORIZON_MS) / 1000)
    assert grants.next_s == 0.3


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        ({"rpm": 1}, "rpm"),
        ({"tpm": 15}, "tpm"),
        ({"itpm": 10}, "itpm"),
        ({"otpm": 5}, "otpm"),
        ({"rpd": 1}, "rpd"),
        ({"tpd": 15}, "tpd"),
        ({}, None),
    ],
)
def test_every_rate_binds(here: World, rates: dict[str, Any], why: str | None) -> None:
    model = limited(**rates)
    grants = here.reserve(model, *needs(model, count=2))
    assert len(grants.answers) == (1 if why else 2)
    assert (grants.stopped.why if grants.stopped else None) == why


@pytest.mark.parametrize(
    ("kind", "full", "why"),
    [
        ("model", {"slots": 1}, "slots"),
        ("group", {"slots": 1}, "slots"),
        ("tenant", {"slots": 1}, "tenant"),
        ("batch", {"slots": 1}, "batch"),
        ("model", {"tpm": 15}, "tpm"),
        ("group", {"tpm": 15}, "tpm"),
        ("group", {"rpd": 1}, "rpd"),
        ("tenant", {"rpm": 1}, "tenant"),
        ("tenant", {"tpd": 15}, "tenant"),
    ],
)
def test_a_job_that_lacks_one_thing_gets_nothing_of_the_others(
    here: World, kind: str, full: dict[str, Any], why: str
) -> None:
    limits: dict[str, dict[str, Any]] = {
        each: {"slots": 10, "rpm": 6000, "tpm": 60_000} for each in ("model", "group", "tenant")
    }
    limits["batch"] = {"slots": 10}
    limits[kind] |= full
    model = limited(**limits.pop("model"))
    others = [scope(each, **limits[each]) for each in ("group", "tenant", "batch")]
    here.start(model, need(model, *others))
    here.clock.pass_by(1)
    before = counted(here.admin)
    grants = here.reserve(model, need(model, *others))
    assert starts(grants) == []
    hindrance = grants.stopped if kind in {"model", "group"} else grants.answers[0]
    assert isinstance(hindrance, Hindrance)
    assert hindrance.why == why
    assert (hindrance.wait_s == 0) == ("slots" in full)
    assert counted(here.admin) == before


def test_a_job_is_counted_in_every_scope_it_is_under(here: World) -> None:
    model, account = limited(tpm=6000), scope("group", "account", slots=5)
    tenant, batch = scope("tenant", rpm=60), scope("batch", "b", slots=2)
    wanted = need(model, account, tenant, batch, name="a")
    here.start(model, wanted)
    seen = counted(here.admin)
    assert {
        key: seen[f"waybill:slots:{key}"] for key in ("model:alpha", "group:account", "tenant:acme", "batch:b")
    } == {
        "model:alpha": [b"a"],
        "group:account": [b"a"],
        "tenant:acme": [b"a"],
        "batch:b": [b"a"],
    }
    assert seen["waybill:state:model:alpha"] == {b"tpm:sum": b"15"}
    assert seen["waybill:state:tenant:acme"] == {b"rpm:sum": b"1"}
    assert here.reserve(model, need(model, account)).free == 3, "the model's and its group's"


@pytest.mark.parametrize("held_up", [{"slots": 1}, {"rpm": 1}, {"tpm": 15}])
@pytest.mark.parametrize("kind", ["tenant", "batch"])
def test_a_job_that_only_its_tenant_or_batch_holds_up_does_not_hold_up_others(
    here: World, kind: str, held_up: dict[str, Any]
) -> None:
    model, busy = limited(slots=10, rpm=60_000), scope(kind, "busy", **held_up)
    grants = here.reserve(model, *needs(model, busy, count=3), *needs(model, count=2))
    assert [isinstance(answer, Hindrance) for answer in grants.answers] == [False, True, True, False, False]
    assert {answer.why for answer in grants.answers if isinstance(answer, Hindrance)} == {kind}
    assert grants.stopped is None


@pytest.mark.parametrize("kind", ["model", "group"])
def test_a_large_job_is_not_overtaken_by_small_ones(here: World, kind: str) -> None:
    model = limited(tpm=1000) if kind == "model" else limited()
    others = [] if kind == "model" else [scope("group", "account", tpm=1000)]
    small = {"tokens_in": 1, "tokens_out": 0}
    large = need(model, *others, tokens_in=990, tokens_out=0)
    here.start(model, need(model, *others, **small))
    here.clock.pass_by(30)
    here.start(model, need(model, *others, tokens_in=20, tokens_out=0))
    grants = here.reserve(model, large, *needs(model, *others, count=20, **small))
    assert grants.answers == ()
    assert grants.stopped is not None
    assert grants.stopped.why == "tpm"


def test_a_job_held_up_by_its_tenant_for_longer_than_by_the_model_lets_others_go(here: World) -> None:
    model, busy = limited(rpm=60), scope("tenant", "busy", rpm=1)
    here.start(model, need(model, busy))
    grants = here.reserve(model, need(model, busy))
    assert [answer.why for answer in grants.answers if isinstance(answer, Hindrance)] == ["tenant"]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    jobs=st.lists(
        st.tuples(st.integers(1, 1200), st.booleans(), st.sampled_from([0, 0, 0.4, 7, 65])), min_size=1, max_size=25
    ),
    last=st.integers(1, 1200),
)
def test_who_asks_again_after_the_wait_is_let_start(
    redis_url: str, admin_redis_url: str, jobs: list[tuple[int, bool, float]], last: int
) -> None:
    model = limited(rpm=20, tpm=1000)
    account, tenant = scope("group", "account", tpm=1100, rpd=10_000), scope("tenant", tpm=300)
    with world(redis_url, admin_redis_url) as here:
        for tokens, is_light, gap_s in jobs:
            here.clock.pass_by(gap_s)
            here.reserve(model, need(model, account, *([tenant] if is_light else []), tokens_in=tokens, tokens_out=0))
        here.clock.pass_by(TURN_S + 0.2)  # the jobs that nobody asks for again lose their turn
        here.start(model, need(model, account, tenant, tokens_in=last, tokens_out=0))


def test_a_reservation_that_is_held_already_takes_no_second_slot(here: World) -> None:
    model = limited(slots=2)
    wanted = need(model, scope("tenant", slots=1))
    for _retry in range(3):
        assert len(starts(here.reserve(model, wanted))) == 1
    assert here.reserve(model).free == 1


def test_a_look_without_jobs_tells_how_things_stand_and_takes_nothing(here: World) -> None:
    model = limited(slots=2, rpm=60)
    here.start(model, need(model))
    before = counted(here.admin)
    grants = here.reserve(model)
    assert (grants.answers, grants.stopped, grants.free) == ((), None, 1)
    assert 0.5 < grants.next_s <= 1.0
    assert counted(here.admin) == before
    here.clock.pass_by(60)
    here.start(model, need(model))
    assert here.reserve(model).stopped == Hindrance(why="slots", wait_s=0.0)


def test_what_is_in_no_log_counts_for_nothing(here: World) -> None:
    model = limited(rpd=5)
    assert len(starts(here.reserve(model, *needs(model, count=6)))) == 5
    here.admin.delete("waybill:log:rpd:model:alpha")
    assert len(starts(here.reserve(model, *needs(model, count=6)))) == 5


def test_the_next_start_is_told_for_a_job_like_the_last_one(here: World) -> None:
    model = limited(tpm=6000)
    assert here.reserve(model, need(model, tokens_in=100, tokens_out=0)).next_s == 1.0
    here.clock.pass_by(10)
    grants = here.reserve(model, *needs(model, count=50, tokens_in=10, tokens_out=0))
    assert 0.25 < grants.next_s <= 0.36


def test_nothing_is_reserved_while_the_gate_is_shut(here: World) -> None:
    model = limited()
    here.run(here.limiter.shut())
    grants = here.reserve(model, need(model))
    assert (grants.answers, grants.stopped) == ((), Hindrance(why=SHUT, wait_s=0.0))
    assert here.admin.keys() == [LOSS.encode()]


def test_each_model_and_each_tenant_has_counters_of_its_own(here: World) -> None:
    alpha, beta = limited("alpha", slots=1, rpm=1), limited("beta", slots=1, rpm=1)
    here.start(alpha, need(alpha, name="same"))
    here.start(beta, need(beta, name="same"))
    model = limited("gamma")
    for tenant in ("acme", "zeus"):
        here.start(model, need(model, scope("tenant", tenant, slots=1, rpm=1)))


def test_a_lease_that_expired_frees_its_slots_and_settles_nothing(here: World) -> None:
    model, tenant = limited(slots=1), scope("tenant", slots=1)
    lost = need(model, tenant)
    begun = starts(here.reserve(model, lost, lease_s=20))[0]
    here.clock.pass_by(19)
    assert here.reserve(model, need(model, tenant)).answers == ()
    here.clock.pass_by(1.1)
    here.start(model, need(model, tenant))
    assert here.settle(ended(lost, begun)) == 0
    assert here.reserve(model).free == 0


def test_renewing_prolongs_never_shortens_and_never_revives(here: World) -> None:
    model, tenant = limited(slots=2), scope("tenant", slots=2)
    held, gone = need(model, tenant), need(model, tenant)
    here.reserve(model, held, lease_s=20)

    def renew(lease_s: float) -> set[str]:
        asked = [(each.reservation, each.scopes) for each in (held, gone)]
        found: set[str] = here.run(here.limiter.renew(asked, lease_s=lease_s))
        return found

    assert renew(1) == {gone.reservation}
    here.clock.pass_by(15)
    assert renew(20) == {gone.reservation}
    here.clock.pass_by(15)
    assert here.reserve(model).free == 1
    here.clock.pass_by(6)
    assert renew(20) == {held.reservation, gone.reservation}, "it expired, whether or not anybody has looked"
    assert len(starts(here.reserve(model, *needs(model, tenant, count=3)))) == 2


def test_nothing_is_called_gone_while_the_gate_is_shut(here: World) -> None:
    model = limited()
    here.run(here.limiter.shut())
    assert here.run(here.limiter.renew([("a", need(model).scopes)], lease_s=20)) == set()


def test_every_counter_expires_but_the_gate(here: World) -> None:
    model, tenant = limited(rpm=60, tpd=1e6), scope("tenant", tpm=1000)
    here.start(model, need(model, tenant))
    here.run(here.limiter.pause(limited("beta"), pause_s=5))
    lifetimes_s = {key.decode(): here.admin.ttl(key) for key in here.admin.scan_iter()}
    assert lifetimes_s.pop("waybill:gate") == -1
    assert set(lifetimes_s) == {
        "waybill:slots:model:alpha",
        "waybill:state:model:alpha",
        "waybill:log:rpm:model:alpha",
        "waybill:log:tpd:model:alpha",
        "waybill:slots:tenant:acme",
        "waybill:state:tenant:acme",
        "waybill:log:tpm:tenant:acme",
        "waybill:state:model:beta",
    }
    assert all(86_400 + 3600 < left_s <= 26 * 3600 for left_s in lifetimes_s.values())


def test_a_counter_that_went_and_came_again_expires_too(here: World) -> None:
    model, tenant = limited(rpm=6000), scope("tenant", slots=3)
    here.run(here.limiter.place([_wish(model, "p")], most={"model:alpha": (9, 9)}, lease_s=30))
    for _time in range(3):
        wanted = need(model, tenant)
        here.settle(unused(wanted, here.start(model, wanted)))
        here.run(here.limiter.leave(["model:alpha"], ["p"]))
    here.start(model, need(model, tenant))
    here.run(here.limiter.place([_wish(model, "q")], most={"model:alpha": (9, 9)}, lease_s=30))
    lifetimes_s = {key.decode(): here.admin.ttl(key) for key in here.admin.scan_iter()}
    assert lifetimes_s.pop("waybill:gate") == -1
    assert len(lifetimes_s) == 6
    assert all(left_s > 86_400 + 3600 for left_s in lifetimes_s.values())


def _wish(model: Model, name: str) -> Wish:
    return Wish(reservation=name, scopes=(model_scope(model),), urgent=False)


def test_counters_in_use_live_on(here: World) -> None:
    model = limited(rpm=60)
    here.start(model, need(model))
    for _look in range(30):
        here.clock.pass_by(3600)
        here.start(model, need(model))
    assert here.reserve(model).free == 100_000 - 31


def test_a_reservation_names_a_job_and_one_routing_of_it() -> None:
    assert reservation("ab", 3) == "ab:3"
