"""The tags of fair queueing in Redis: what routers add is what the pure rule says, and they add up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from router_service.capacity import fair as fair_module
from router_service.capacity.connection import connect
from router_service.capacity.fair import KEY, Fair
from router_service.routing.fairness import Charge, Tags, charged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis as redis_library


@pytest.fixture
async def fair(redis_url: str) -> AsyncIterator[Fair]:
    connection = connect(redis_url, name="tests")
    yield Fair(connection)
    await connection.aclose()


async def test_without_tags_all_tenants_are_even(fair: Fair) -> None:
    assert await fair.read(["a", "b"]) == Tags(virtual_time=0.0, finish={})
    assert await fair.read([]) == Tags()


async def test_what_is_charged_is_what_the_rule_says(fair: Fair) -> None:
    rule = Tags()
    for owed in (
        {"a": Charge(amount=30.5, last=10.25), "b": Charge(amount=1 / 3, last=1 / 3)},
        {"a": Charge(amount=1e12, last=0.1)},
        {"c": Charge(amount=7.0, last=7.0), "b": Charge(amount=2.5, last=1.5)},
        {},
    ):
        await fair.charge(owed)
        rule = charged(rule, owed)
        assert await fair.read(["a", "b", "c", "never"]) == rule


async def test_only_the_tenants_asked_for_are_read(fair: Fair) -> None:
    await fair.charge({"a": Charge(amount=3.0, last=1.0), "b": Charge(amount=5.0, last=5.0)})
    assert await fair.read(["b"]) == Tags(virtual_time=2.0, finish={"b": 5.0})


async def test_two_routers_at_once_add_up(fair: Fair) -> None:
    await asyncio.gather(*(fair.charge({"a": Charge(amount=2.0, last=2.0)}) for _router in range(10)))
    tags = await fair.read(["a"])
    assert tags.finish == {"a": 20.0}
    assert tags.virtual_time == 18.0


async def test_the_tags_expire_when_nobody_is_served(fair: Fair, admin_redis: redis_library.Redis) -> None:
    await fair.charge({"a": Charge(amount=2.0, last=2.0)})
    assert 3_500_000 < admin_redis.pttl(KEY) <= 3_600_000


async def test_tenants_that_owe_nothing_are_forgotten_when_there_are_too_many(
    fair: Fair, admin_redis: redis_library.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fair_module, "MOST_TENANTS", 5)
    for number in range(20):
        await fair.charge({f"t{number}": Charge(amount=10.0, last=1.0)})
        assert admin_redis.hlen(KEY) <= 7
    assert (await fair.read(["t19"])).finish["t19"] > 0
