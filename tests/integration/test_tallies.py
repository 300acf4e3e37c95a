"""What workers count: in memory at first, then summed in Redis, and never in the way of the work."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import workers
from router_service.capacity.connection import connect
from router_service.capacity.tallies import LABELS, Tallies, Tally
from router_service.errors import UnavailableError
from workers.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import redis as sync_redis
    from redis.asyncio import Redis

    from router_service.catalog.models import Catalog
    from router_service.settings import Settings

HOSTILE = 'a"],["b\n\u202e'


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    connection = connect(redis_url, name="waybill-tests")
    yield connection
    await connection.aclose()


async def test_the_counts_of_all_processes_are_summed(redis: Redis) -> None:
    one, other = Tallies(redis), Tallies(redis)
    one.add(Tally.WAIT_SECONDS, 1.5, model="alpha", reason="rpm")
    one.add(Tally.WAIT_SECONDS, 1.0, model="alpha", reason="rpm")
    other.add(Tally.WAIT_SECONDS, 2.0, reason="rpm", model="alpha")
    other.add(Tally.THROTTLED, model=HOSTILE)
    assert await one.read() == {}
    await one.flush()
    await other.flush()
    assert await one.read() == {
        ("wait_seconds", (("model", "alpha"), ("reason", "rpm"))): 4.5,
        ("throttled", (("model", HOSTILE),)): 1.0,
    }


async def test_a_flush_adds_what_is_new_and_no_more(redis: Redis) -> None:
    tallies = Tallies(redis)
    tallies.add(Tally.CALLS, model="alpha")
    await tallies.flush()
    await tallies.flush()
    tallies.add(Tally.CALLS, model="alpha")
    await tallies.flush()
    assert list((await tallies.read()).values()) == [2.0]


async def test_what_could_not_be_told_is_told_the_next_time(redis: Redis) -> None:
    gone = connect("unix:///nonexistent/redis.sock", name="waybill-tests")
    tallies = Tallies(gone)
    tallies.add(Tally.CALLS, 2, model="alpha")
    with pytest.raises(UnavailableError):
        await tallies.flush()
    with pytest.raises(UnavailableError):
        await tallies.read()
    tallies.add(Tally.CALLS, model="alpha")
    tallies._redis = redis
    await tallies.flush()
    assert list((await tallies.read()).values()) == [3.0]
    await gone.aclose()


async def test_after_redis_lost_its_state_the_sums_begin_anew(redis: Redis, admin_redis: sync_redis.Redis) -> None:
    tallies = Tallies(redis)
    tallies.add(Tally.CALLS, 5, model="alpha")
    await tallies.flush()
    admin_redis.flushall()
    tallies.add(Tally.CALLS, model="alpha")
    await tallies.flush()
    assert list((await tallies.read()).values()) == [1.0]


async def test_a_worker_that_stops_takes_no_count_along(settings: Settings, catalog: Catalog, redis: Redis) -> None:
    runtime = Runtime(settings, role="test", name="test-1")
    await runtime.open()
    runtime.tallies.add(Tally.RECOVERED, what="lease")
    await runtime.close()
    assert await Tallies(redis).read() == {("recovered", (("what", "lease"),)): 1.0}


def counted() -> Iterator[tuple[str, str, set[str]]]:
    """Every `tallies.add(name, ..., label=...)` in the workers: where it stands, its name, its labels."""
    folder = Path(workers.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "add"
                and ast.unparse(node.func.value).endswith("tallies")
            ):
                name = node.args[0]
                value = name.value if isinstance(name, ast.Constant) else Tally[ast.unparse(name).partition(".")[2]]
                yield f"{path.name}:{node.lineno}", str(value), {each.arg or "" for each in node.keywords}


def test_workers_count_by_the_names_and_labels_that_the_metrics_show() -> None:
    found = list(counted())
    wrong = [each for each in found if each[1] not in set(Tally) or each[2] != set(LABELS[Tally(each[1])])]
    assert wrong == []
    assert {name for _where, name, _labels in found} >= {"recovered", "calls", "throttled", "stale_finishes"}
