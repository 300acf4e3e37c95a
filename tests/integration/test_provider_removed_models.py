"""A model that leaves the catalog while jobs are on their way to it, at each stage: no job is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from router_service.tickets import Ticket, encode
from tests.conftest import publish
from tests.support.catalogs import document, entry
from tests.support.polling import until
from tests.support.workers import GOOD, HeldProvider, always

if TYPE_CHECKING:
    import redis

    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers


async def remove_alpha(workers: Workers, database: Database) -> None:
    await publish(database, document(entry("beta")))
    await workers.runtime._follow_catalog()


async def test_a_job_of_a_model_that_left_the_catalog_goes_to_the_dead_letters(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=1)
    ((job_id, epoch),) = await steps.route(model_id="gone")
    await workers.provider.call(encode([Ticket(job_id=job_id, epoch=epoch)]), "gone")
    assert (await sql.one("SELECT state, error_code FROM jobs")) == {"state": "dead", "error_code": "model_removed"}


@pytest.mark.parametrize(("asked", "state", "model_id"), [("auto", "succeeded", "beta"), ("alpha", "failed", "alpha")])
async def test_a_job_whose_model_is_removed_while_its_ticket_waits_is_not_lost(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database, asked: str, state: str, model_id: str
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha"), entry("beta", cost=1.0), adapter=provider)
    await steps.accept(count=1, model=asked)
    await workers.route()
    await remove_alpha(workers, database)
    await workers.work("alpha", "beta")
    assert await sql.one("SELECT state, model_id FROM jobs") == {"state": state, "model_id": model_id}
    assert provider.calls == ([("beta", 2)] if state == "succeeded" else [])
    wanted = "rerouted" if state == "succeeded" else "parked"
    assert await sql.one("SELECT state, error_code FROM dead_letters") == {
        "state": wanted,
        "error_code": "model_removed",
    }


async def test_what_waits_in_a_worker_when_its_model_is_removed_goes_back_and_to_another(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    provider = HeldProvider()
    workers = await open_workers(
        entry("alpha", params={"max_parallel_requests": 1}), entry("beta", cost=1.0), adapter=provider
    )
    tasks = workers.calling(*await workers.routed(steps, count=3, model="auto"))
    await provider.called()
    await remove_alpha(workers, database)
    workers.provider._heard("model:alpha")  # something made the desk look

    async def the_others_are_back() -> bool:
        return bool(await sql.value("SELECT count(*) = 2 FROM jobs WHERE state = 'queued'"))

    await until(the_others_are_back)
    provider.let_go()
    await asyncio.gather(*tasks)
    await workers.work("beta")
    rows = await sql.rows("SELECT state, model_id, count(*) AS jobs FROM jobs GROUP BY 1, 2 ORDER BY 2")
    assert [tuple(row.values()) for row in rows] == [("succeeded", "alpha", 1), ("succeeded", "beta", 2)]
    assert await sql.rows("SELECT * FROM dead_letters") == []


async def test_a_call_whose_model_is_removed_under_it_ends_as_if_it_were_there(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", cost=0.5), entry("beta", cost=1.0), adapter=provider)
    tasks = workers.calling(*await workers.routed(steps))
    await provider.called()
    await remove_alpha(workers, database)
    await workers.provider._renew()
    await workers.provider._renew_slots()
    provider.let_go()
    await asyncio.gather(*tasks)
    assert await sql.one("SELECT state, model_id FROM jobs") == {"state": "succeeded", "model_id": "alpha"}
    assert await sql.value("SELECT cost_usd::float8 FROM job_results") == 6.0
    await workers.settled()
    assert admin_redis.zcard("waybill:slots:model:alpha") == 0
