"""What a job asked of place, safety and data holds at the very call, though the catalog has changed since it was routed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from router_service.jobs.preferences import Preferences, Safety
from tests.conftest import publish
from tests.support.catalogs import document, entry
from tests.support.steps import new_job

if TYPE_CHECKING:
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

EU = {"data_residency": {"inference": "eu", "storage": "eu"}}
US = {"data_residency": {"inference": "us", "storage": "us"}}


@pytest.mark.parametrize(
    ("asked", "before", "after", "said"),
    [
        ({"residency": "eu"}, EU, US, "residency"),
        ({"residency": "eu"}, EU, {}, "residency_unknown"),
        ({"preferences": Preferences(safety=Safety.HIGH)}, {"safety": "high"}, {"safety": "low"}, "safety"),
        (
            {"preferences": Preferences(no_training=True)},
            {"trains_on_data": False},
            {"trains_on_data": True},
            "trains_on_data",
        ),
    ],
)
async def test_a_model_that_changed_since_the_job_was_routed_is_not_called(
    open_workers: OpenWorkers,
    steps: Steps,
    sql: Sql,
    database: Database,
    asked: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    said: str,
) -> None:
    workers = await open_workers(entry("a", cost=1e-9, router=before), entry("b", cost=1e-6, router=before))
    job = new_job(model="auto")
    job = replace(job, spec=replace(job.spec, **asked))
    await steps.accept(job)
    await workers.route()
    await publish(database, document(entry("a", cost=1e-9, router=after), entry("b", cost=1e-6, router=before)))
    await workers.runtime._follow_catalog()
    await workers.call("a")
    assert await sql.state(job.id) == "dead"
    assert await sql.value("SELECT error_code FROM attempts WHERE job_id = %s", job.id) == said
    await workers.settle_dead("a")
    await workers.route()
    await workers.call("b")
    assert await sql.state(job.id) == "succeeded"
    assert await sql.value("SELECT model_id FROM jobs WHERE id = %s", job.id) == "b"
