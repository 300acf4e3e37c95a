"""Each atomic action on a real Valkey. Times are Redis' own; what takes minutes is read from the granted starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from router_service.capacity.limiter import (
    GATE,
    HORIZON_MS,
    SHUT,
    Given,
    LeaseLeft,
    Limiter,
    Need,
    Usage,
    reservation,
)
from tests.support.catalogs import model_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis import Redis

    from router_service.capacity.limiter import Grant
    from router_service.catalog.models import Model

LEASE_S = 60.0


def model(*, slots: int = 5, **rates: float) -> Model:
    return model_of(params={"max_parallel_requests": slots, **rates})


def needs(*names: object, tokens_in: int = 10, tokens_out: int = 5) -> list[Need]:
    return [Need(reservation=str(name), tokens_in=tokens_in, tokens_out=tokens_out) for name in names]


def used(need: Need, *, requests: int = 1, tokens_in: int | None = None, tokens_out: int | None = None) -> Usage:
    return Usage(
        need=need,
        requests=requests,
        tokens_in=need.tokens_in if tokens_in is None else tokens_in,
        tokens_out=need.tokens_out if tokens_out is None else tokens_out,
    )


async def reserve(limiter: Limiter, chosen: Model, wanted: Sequence[Need], *, lease_s: float = LEASE_S) -> Grant:
    return await limiter.reserve(chosen, wanted, lease_s=lease_s)


async def in_flight(limiter: Limiter, model_id: str = "alpha") -> int:
    return (await limiter.snapshot([model_id]))[model_id].in_flight


async def test_no_more_is_reserved_than_there_are_slots(limiter: Limiter) -> None:
    grant = await reserve(limiter, model(slots=3), needs(*range(5)))
    assert (len(grant.starts_ms), grant.stopped_by, grant.wait_s) == (3, "slots", 0.0)
    assert (await reserve(limiter, model(slots=3), needs("x"))).starts_ms == ()
    assert await in_flight(limiter) == 3


async def test_routers_at_once_never_reserve_more_than_there_are_slots(limiter: Limiter) -> None:
    chosen = model(slots=7)
    grants = await asyncio.gather(
        *(reserve(limiter, chosen, needs(*(f"{router}:{job}" for job in range(3)))) for router in range(10))
    )
    assert sum(len(grant.starts_ms) for grant in grants) == 7
    assert await in_flight(limiter) == 7


async def test_all_fit_when_nothing_is_limited(limiter: Limiter) -> None:
    grant = await reserve(limiter, model(slots=1000), needs(*range(500)))
    assert (len(grant.starts_ms), grant.stopped_by) == (500, None)
    assert len(set(grant.starts_ms)) == 1


async def test_a_job_that_lacks_one_rate_gets_none_of_the_others(limiter: Limiter) -> None:
    chosen = model(slots=100, rpm=60_000, tpm=1000, itpm=60_000)
    first = await reserve(limiter, chosen, needs("a", tokens_in=500, tokens_out=0))
    assert first.stopped_by is None
    before = await limiter.snapshot(["alpha"])
    second = await reserve(limiter, chosen, needs("b", tokens_in=500, tokens_out=0))
    assert (second.starts_ms, second.stopped_by) == ((), "tpm")
    assert 0 < second.wait_s < 61
    after = await limiter.snapshot(["alpha"])
    assert after["alpha"].in_flight == before["alpha"].in_flight == 1


@pytest.mark.parametrize(
    ("rates", "stopped_by"),
    [({"rpm": 1}, "rpm"), ({"tpm": 15}, "tpm"), ({"itpm": 10}, "itpm"), ({"otpm": 5}, "otpm"), ({}, None)],
)
async def test_every_rate_binds(limiter: Limiter, rates: dict[str, Any], stopped_by: str | None) -> None:
    grant = await reserve(limiter, model(**rates), needs("a", "b"))
    assert (len(grant.starts_ms), grant.stopped_by) == ((1, stopped_by) if stopped_by else (2, None))


async def test_a_start_lies_at_most_the_horizon_ahead(limiter: Limiter) -> None:
    grant = await reserve(limiter, model(slots=1000, rpm=600), needs(*range(100)))
    now_ms = await limiter.now_s() * 1000
    assert len(grant.starts_ms) == 10
    assert max(grant.starts_ms) <= now_ms + HORIZON_MS
    assert grant.stopped_by == "rpm"
    assert 0 < grant.wait_s < 0.2


async def test_what_was_given_before_the_loss_of_redis_still_counts(shut_limiter: Limiter) -> None:
    chosen = model(slots=100, rpm=60, tpm=1000)
    of_late = Given(requests=30, tokens_in=500, tokens_out=250)
    assert await shut_limiter.rebuild([chosen], [], {"alpha": of_late})
    grant = await reserve(shut_limiter, chosen, needs("a"))
    assert (grant.starts_ms, grant.stopped_by) == ((), "tpm")
    assert 40 < grant.wait_s < 47


async def test_each_model_has_counters_of_its_own(limiter: Limiter) -> None:
    await reserve(limiter, model(slots=1), needs("a"))
    other = model_of("beta", params={"max_parallel_requests": 1})
    assert (await reserve(limiter, other, needs("a"))).stopped_by is None


async def test_nothing_is_reserved_while_the_gate_is_shut(shut_limiter: Limiter, admin_redis: Redis) -> None:
    assert not await shut_limiter.is_open()
    assert (await reserve(shut_limiter, model(), needs("a"))).stopped_by == SHUT
    assert admin_redis.keys() == []


async def test_losing_redis_shuts_the_gate(limiter: Limiter, admin_redis: Redis) -> None:
    assert await limiter.is_open()
    admin_redis.flushall()
    assert (await reserve(limiter, model(), needs("a"))).stopped_by == SHUT


async def test_a_rebuild_puts_what_is_in_flight_back_and_opens_the_gate(shut_limiter: Limiter) -> None:
    leases = [LeaseLeft(model_id="alpha", reservation=f"r{number}", left_s=60) for number in range(4)]
    gone_from_catalog = LeaseLeft(model_id="old", reservation="x", left_s=60)
    assert await shut_limiter.rebuild([model()], [*leases, gone_from_catalog], {})
    assert await in_flight(shut_limiter) == 4
    assert await in_flight(shut_limiter, "old") == 1
    assert len((await reserve(shut_limiter, model(slots=5), needs("a", "b"))).starts_ms) == 1
    assert await shut_limiter.release("alpha", ["r0"]) == 1


async def test_a_second_rebuild_is_refused_and_changes_nothing(limiter: Limiter) -> None:
    await reserve(limiter, model(), needs("a"))
    assert not await limiter.rebuild([model()], [LeaseLeft(model_id="alpha", reservation="b", left_s=60)], {})
    assert await in_flight(limiter) == 1


async def test_two_janitors_rebuild_once(shut_limiter: Limiter) -> None:
    leases = [LeaseLeft(model_id="alpha", reservation="a", left_s=60)]
    assert sorted(await asyncio.gather(*(shut_limiter.rebuild([model()], leases, {}) for _ in range(4)))) == [
        False,
        False,
        False,
        True,
    ]


async def test_a_settled_reservation_frees_its_slot_once(limiter: Limiter) -> None:
    chosen = model(slots=2)
    one, two = needs("a", "b")
    await reserve(limiter, chosen, [one, two])
    assert await limiter.settle(chosen, [used(one)]) == 1
    assert await limiter.settle(chosen, [used(one)]) == 0
    assert await in_flight(limiter) == 1
    assert await limiter.settle(chosen, [used(one), used(two)]) == 1
    assert await in_flight(limiter) == 0


async def busy_s(limiter: Limiter) -> float:
    return (await limiter.snapshot(["alpha"]))["alpha"].busy_s


async def test_what_was_not_used_is_paid_back_once(limiter: Limiter) -> None:
    chosen = model(tpm=1000)
    (need,) = needs("a", tokens_in=500, tokens_out=500)
    await reserve(limiter, chosen, [need])
    assert 55 < await busy_s(limiter) < 61
    await limiter.settle(chosen, [used(need, tokens_in=500, tokens_out=0)])
    assert 25 < await busy_s(limiter) < 31
    await limiter.settle(chosen, [used(need, tokens_in=0, tokens_out=0)])
    assert 25 < await busy_s(limiter) < 31


async def test_what_was_used_beyond_the_reservation_is_a_debt(limiter: Limiter) -> None:
    chosen = model(tpm=1000)
    (need,) = needs("a", tokens_in=100, tokens_out=0)
    await reserve(limiter, chosen, [need])
    await limiter.settle(chosen, [used(need, tokens_in=100, tokens_out=900)])
    assert 55 < await busy_s(limiter) < 61
    assert (await reserve(limiter, chosen, needs("b"))).stopped_by == "tpm"


async def test_a_call_that_was_never_made_counts_no_request(limiter: Limiter) -> None:
    chosen = model(rpm=1)
    (need,) = needs("a")
    await reserve(limiter, chosen, [need])
    await limiter.settle(chosen, [used(need, requests=0, tokens_in=0, tokens_out=0)])
    assert (await reserve(limiter, chosen, needs("b"))).stopped_by is None


async def test_a_release_gives_the_slot_back_and_leaves_the_rates(limiter: Limiter) -> None:
    chosen = model(slots=1, rpm=1)
    await reserve(limiter, chosen, needs("a"))
    assert await limiter.release("alpha", ["a", "never-reserved"]) == 1
    assert await limiter.release("alpha", ["a"]) == 0
    assert await in_flight(limiter) == 0
    assert (await reserve(limiter, chosen, needs("b"))).stopped_by == "rpm"


async def test_a_pause_lets_nothing_through_and_the_longer_one_stays(limiter: Limiter) -> None:
    await limiter.pause("alpha", pause_s=100)
    await limiter.pause("alpha", pause_s=1)
    grant = await reserve(limiter, model(), needs("a"))
    assert (grant.starts_ms, grant.stopped_by) == ((), "paused")
    assert 99 < grant.wait_s <= 100
    await limiter.pause("alpha", pause_s=200)
    assert 199 < (await limiter.snapshot(["alpha"]))["alpha"].paused_s <= 200
    assert (await reserve(limiter, model_of("beta"), needs("a"))).stopped_by is None


async def test_a_pause_of_nothing_ends_at_once(limiter: Limiter) -> None:
    await limiter.pause("alpha", pause_s=0.0)
    async with asyncio.timeout(2):
        while (await reserve(limiter, model(), needs("a"))).stopped_by == "paused":
            pass


async def test_an_expired_reservation_frees_its_slot_and_settles_nothing(limiter: Limiter) -> None:
    chosen = model(slots=1)
    (need,) = needs("a")
    await reserve(limiter, chosen, [need], lease_s=0.0)
    async with asyncio.timeout(2):
        while (await reserve(limiter, chosen, needs("b"))).stopped_by == "slots":
            pass
    assert await limiter.settle(chosen, [used(need)]) == 0
    assert await in_flight(limiter) == 1


async def test_renewing_prolongs_never_shortens_and_never_revives(limiter: Limiter, admin_redis: Redis) -> None:
    await reserve(limiter, model(), needs("a"), lease_s=100)
    slots = "waybill:slots:alpha"
    assert await limiter.renew("alpha", ["a", "b"], lease_s=1) == ["b"]
    now_ms = await limiter.now_s() * 1000
    held = admin_redis.zscore(slots, "a")
    assert isinstance(held, float)
    assert held > now_ms + 90_000
    await limiter.renew("alpha", ["a"], lease_s=500)
    longer = admin_redis.zscore(slots, "a")
    assert isinstance(longer, float)
    assert longer > now_ms + 490_000
    assert admin_redis.zcard(slots) == 1


async def test_a_snapshot_shows_every_model_that_was_asked_for(limiter: Limiter) -> None:
    await reserve(limiter, model(slots=5, rpm=60), needs("a"))
    await limiter.pause("beta", pause_s=50)
    seen = await limiter.snapshot(["beta", "alpha", "nobody"])
    assert (seen["alpha"].in_flight, seen["alpha"].paused_s) == (1, 0.0)
    assert 0.5 < seen["alpha"].busy_s <= 1.01
    assert (seen["beta"].in_flight, seen["beta"].busy_s) == (0, 0.0)
    assert 49 < seen["beta"].paused_s <= 50
    assert (seen["nobody"].in_flight, seen["nobody"].paused_s, seen["nobody"].busy_s) == (0, 0.0, 0.0)
    assert await limiter.snapshot([]) == {}


@pytest.mark.parametrize(
    ("given", "reserved", "room"),
    [({"slots": 5}, 0, 5), ({"slots": 5}, 3, 2), ({"slots": 5}, 5, 0), ({"slots": 50, "rpm": 600}, 0, 11)],
)
async def test_there_is_room_for_what_slots_and_requests_allow(
    limiter: Limiter, given: dict[str, Any], reserved: int, room: int
) -> None:
    chosen = model(**given)
    if reserved:
        await reserve(limiter, chosen, needs(*range(reserved)))
    assert (await limiter.snapshot(["alpha"]))["alpha"].room(chosen.limits) == room


async def test_a_paused_or_busy_model_has_no_room(limiter: Limiter) -> None:
    chosen = model(rpm=30)
    await reserve(limiter, chosen, needs("a"))
    live = (await limiter.snapshot(["alpha"]))["alpha"]
    assert live.room(chosen.limits) == 0
    assert live.wait_s > 0
    await limiter.pause("beta", pause_s=50)
    paused = (await limiter.snapshot(["beta"]))["beta"]
    assert paused.room(chosen.limits) == 0
    assert 49 < paused.wait_s <= 50


async def test_every_counter_expires_but_the_gate(limiter: Limiter, admin_redis: Redis) -> None:
    await reserve(limiter, model(rpm=60), needs("a"))
    await limiter.pause("alpha", pause_s=5)
    lifetimes = {key.decode(): admin_redis.ttl(key) for key in admin_redis.scan_iter()}
    assert lifetimes.pop(GATE) == -1
    assert lifetimes.keys() == {"waybill:slots:alpha", "waybill:rates:alpha", "waybill:pause:alpha"}
    assert all(0 < left <= 3600 for left in lifetimes.values())


async def test_a_debt_is_at_most_a_window(limiter: Limiter) -> None:
    chosen = model(tpm=1000)
    (need,) = needs("a")
    await reserve(limiter, chosen, [need])
    before_s = (await limiter.snapshot(["alpha"]))["alpha"].busy_s
    await limiter.settle(chosen, [used(need, tokens_in=0, tokens_out=2**31 - 1)])
    assert 60 <= (await limiter.snapshot(["alpha"]))["alpha"].busy_s - max(before_s, 0) <= 61


async def test_a_rate_that_is_busy_for_hours_is_not_forgotten(limiter: Limiter, admin_redis: Redis) -> None:
    chosen = model(tpm=1000)
    await reserve(limiter, chosen, [Need(reservation="a", tokens_in=200_000, tokens_out=0)])
    for _look in range(2):
        left = admin_redis.pttl("waybill:rates:alpha")
        assert isinstance(left, int)
        assert left > 190 * 60_000
        await reserve(limiter, chosen, needs("b"))


def test_a_reservation_names_a_job_and_one_routing_of_it() -> None:
    assert reservation("ab", 3) == "ab:3"
