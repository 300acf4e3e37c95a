"""The doorbell, the signs of life, the lengths of queues, and what a Redis that is away looks like."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from router_service.capacity import connection as connection_module
from router_service.capacity import presence as presence_module
from router_service.capacity.connection import connect, unavailable
from router_service.capacity.doorbell import Doorbell
from router_service.capacity.limiter import Limiter
from router_service.capacity.presence import Presence
from router_service.capacity.queues import RedisQueueLengths, redis_url_of
from router_service.errors import SettingsError, UnavailableError
from router_service.tickets import ROUTE_QUEUE, Message, Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import redis as redis_library
    from redis.asyncio import Redis


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[Redis]:
    connection = connect(redis_url, name="tests")
    yield connection
    await connection.aclose()


@pytest.fixture
async def publisher(broker_url: str) -> AsyncIterator[Publisher]:
    publisher = Publisher(broker_url)
    yield publisher
    await publisher.close()


async def test_many_rings_are_one_message_until_it_was_heard(
    connection: Redis, publisher: Publisher, admin_redis: redis_library.Redis
) -> None:
    doorbell = Doorbell(connection, publisher)
    await asyncio.gather(*(doorbell.ring() for _ in range(20)))
    assert admin_redis.llen(ROUTE_QUEUE) == 1
    await doorbell.heard()
    await doorbell.ring()
    assert admin_redis.llen(ROUTE_QUEUE) == 2


async def test_a_worker_that_tells_of_itself_is_alive_until_it_leaves(connection: Redis) -> None:
    presence = Presence(connection)
    for name in ("p1", "p2"):
        await presence.tell(role="provider", name=name)
    await presence.tell(role="router", name="r1")
    assert await presence.alive() == {"provider": 2, "router": 1}
    await presence.leave(role="provider", name="p1")
    assert await presence.alive() == {"provider": 1, "router": 1}


async def test_a_worker_that_falls_silent_is_gone(connection: Redis, admin_redis: redis_library.Redis) -> None:
    presence = Presence(connection)
    await presence.tell(role="router", name="r1")
    admin_redis.zincrby(presence_module.KEY, -presence_module.SILENT_S - 1, "router/r1")
    assert await presence.alive() == {}


async def test_lengths_are_read_by_name_and_an_empty_queue_has_none(redis_url: str, publisher: Publisher) -> None:
    await publisher.publish([Message(queue="model.a", task="t"), Message(queue="model.a", task="t")])
    lengths = RedisQueueLengths(redis_url)
    assert await lengths.read(["model.a", "model.b"]) == {"model.a": 2, "model.b": 0}
    assert await lengths.read([]) == {}
    await lengths.close()


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("redis://:p@h/0", "redis://:p@h/0"),
        ("rediss://h/1", "rediss://h/1"),
        ("redis+socket://u:p@/run/x.sock?virtual_host=2", "unix://u:p@/run/x.sock?db=2"),
        ("amqp://h", None),
        ("memory", None),
    ],
)
def test_only_a_redis_broker_can_be_asked_for_lengths(broker: str, url: str | None) -> None:
    assert redis_url_of(broker) == url


@pytest.mark.parametrize("url", ["", "http://localhost", "nonsense"])
def test_another_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="WAYBILL_REDIS_URL"):
        connect(url, name="tests")


async def test_a_redis_that_is_away_is_named_as_unavailable(tmp_path: Path) -> None:
    connection = connect(f"unix://{tmp_path}/nobody.sock", name="tests")
    with pytest.raises(UnavailableError) as caught, unavailable():
        await Limiter(connection).is_open()
    assert caught.value.dependency == "redis"
    await connection.aclose()


async def test_a_broker_that_is_away_is_named_as_unavailable_and_used_again_when_it_is_back(
    broker_url: str, tmp_path: Path, admin_redis: redis_library.Redis
) -> None:
    away = Publisher(f"redis+socket://{tmp_path}/nobody.sock")
    with pytest.raises(UnavailableError) as caught:
        await away.publish([Message(queue="q", task="t")])
    assert caught.value.dependency == "broker"
    await away.close()
    publisher = Publisher(broker_url)
    await publisher.publish([Message(queue="q", task="t")])
    mine = [client for client in admin_redis.client_list() if client["cmd"] == "lpush"]
    for client in mine:
        admin_redis.client_kill_filter(_id=client["id"])
    for _retry in range(2):
        try:
            await publisher.publish([Message(queue="q", task="t")])
        except UnavailableError:
            continue
        break
    await publisher.close()
    assert admin_redis.llen("q") == 2


async def test_a_loop_that_misses_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "CANCEL_AGAIN_S", 0.01)
    missed = asyncio.Event()

    async def deaf_once() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            missed.set()
        await asyncio.Event().wait()

    loop = asyncio.create_task(deaf_once())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await connection_module.end_loops([loop])
    assert missed.is_set()
    assert loop.cancelled()
