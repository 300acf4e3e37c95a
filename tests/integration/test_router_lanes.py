"""Jobs of one lane that wait for different models: a busy one holds up its own alone, and each is put apart once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.integration.test_router_signals import ENGLISH, GERMAN, body, chosen
from tests.support.catalogs import entry
from tests.support.steps import new_job

if TYPE_CHECKING:
    import pytest

    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

BUSY_GERMAN = entry("german", cost=1e-9, params={"max_parallel_requests": 1}, router={"languages": ["de"]})
IDLE = entry("any", cost=1.0, params={"max_parallel_requests": 8})
PATIENT: dict[str, Any] = {"policies": {"default": {"wait_usd_per_hour": 0.0}}}


async def test_a_full_specialist_does_not_hold_up_the_other_jobs_of_its_lane(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    """All the first lines want the German model, which takes few; those behind them want the other one, which is idle."""
    workers = await open_workers(BUSY_GERMAN, IDLE, router=PATIENT)
    lines = [new_job(model="auto", body=body(GERMAN)) for _ in range(100)]
    lines += [new_job(model="auto", body=body(ENGLISH)) for _ in range(10)]
    await steps.accept(*lines)
    await workers.route()
    routed = await chosen(sql)
    assert routed["any"] == 10
    assert routed["german"] <= 4


async def test_jobs_are_put_apart_once(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(BUSY_GERMAN, IDLE, router=PATIENT)
    await steps.accept(*(new_job(model="auto", body=body(GERMAN)) for _ in range(100)))
    for _look in range(8):
        await workers.route()
    lanes = "SELECT id, lane FROM jobs WHERE state = 'queued' ORDER BY id"
    apart = await sql.rows(lanes)
    assert len({row["lane"] for row in apart}) == 1
    await workers.route()
    assert await sql.rows(lanes) == apart


async def test_long_jobs_that_wait_for_a_large_window_do_not_hold_up_short_ones(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(
        entry("large", cost=1e-6, params={"max_parallel_requests": 1}),
        entry("small", cost=1e-9, info={"max_input_tokens": 1000}, params={"max_parallel_requests": 8}),
    )
    await steps.accept(*(new_job(model="auto", tokens_in=5000) for _ in range(100)))
    await steps.accept(*(new_job(model="auto", tokens_in=10) for _ in range(10)))
    await workers.route()
    assert (await chosen(sql))["small"] == 10


async def test_a_broken_specialist_does_not_hold_up_the_other_jobs_of_its_lane(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    broken = {"simulated": {"failure_rate": 1, "failure": "500"}, "languages": ["de"]}
    workers = await open_workers(
        entry("german", cost=1e-9, params={"max_parallel_requests": 20}, router=broken),
        entry("english", cost=1.0, params={"max_parallel_requests": 8}, router={"languages": ["en"]}),
    )
    await steps.accept(*(new_job(model="auto", body=body(GERMAN)) for _ in range(20)))
    await workers.route()
    await workers.call("german")
    await steps.accept(*(new_job(model="auto", body=body(GERMAN)) for _ in range(100)))
    await steps.accept(*(new_job(model="auto", body=body(ENGLISH)) for _ in range(10)))
    await workers.route()
    assert (await chosen(sql))["english"] == 10


async def test_a_job_that_a_newer_version_wrote_is_left_to_it_and_holds_up_nobody(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("a"))
    strange, plain = await steps.accept(new_job(model="auto"), new_job(model="auto"))
    await sql.rows('UPDATE jobs SET preferences = \'{"tone": "kind"}\' WHERE id = %s', strange.id)
    await workers.route()
    assert (await sql.state(plain.id), await sql.state(strange.id)) == ("routed", "queued")
    assert await sql.value("SELECT held_until > now() FROM jobs WHERE id = %s", strange.id)


async def test_long_requests_are_read_over_several_passes(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.insights.PAGE_BYTES", 1)
    monkeypatch.setattr("workers.router.MOST_READING_S", 0.0)
    roomy = {"max_parallel_requests": 100}
    workers = await open_workers(
        entry("german", params=roomy, router={"languages": ["de"]}), entry("any", params=roomy)
    )
    await workers.route()
    await steps.accept(*(new_job(model="auto", body=body(ENGLISH)) for _ in range(5)))
    done = await workers.router.route_some([])
    assert (done.taken, done.routed) == (5, 1), "a page, of one request"
    await workers.route()
    assert await chosen(sql) == {"any": 5}
