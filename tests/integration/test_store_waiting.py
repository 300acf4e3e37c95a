"""What waits in line, as the metrics and `waybill models` tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from router_service.store import dispatch, jobs
from router_service.store.decisions import Routed
from router_service.store.jobs import Depth
from tests.support.steps import decision

if TYPE_CHECKING:
    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps


async def waiting(database: Database) -> dict[str, tuple[int, float]]:
    async with database.transaction() as session:
        return {row.model: (row.jobs, row.age_s) for row in await jobs.oldest_queued(session)}


async def test_an_empty_line_has_no_models(database: Database) -> None:
    assert await waiting(database) == {}


async def test_the_line_is_told_by_the_model_asked_for_with_the_age_of_its_next_job(
    steps: Steps, sql: Sql, database: Database
) -> None:
    first, _second = await steps.accept(count=2)
    await steps.accept(count=3, tenant_id="other")
    await steps.accept(count=1, model="auto")
    await sql.rows("UPDATE jobs SET created_at = now() - interval '90 s' WHERE id = %s", first.id)
    told = await waiting(database)
    assert {model: count for model, (count, _age_s) in told.items()} == {"alpha": 5, "auto": 1}
    assert 90 <= told["alpha"][1] < 120
    assert told["auto"][1] < 30


async def test_held_jobs_wait_in_line_as_well(steps: Steps, sql: Sql, database: Database) -> None:
    made = await steps.accept(count=3)
    await sql.rows("UPDATE jobs SET created_at = now() - interval '90 s' WHERE id = %s", made[0].id)
    async with database.transaction() as session:
        await dispatch.hold(session, [made[0].id], hold_s=60.0)
    count, age_s = (await waiting(database))["alpha"]
    assert count == 3
    assert age_s >= 90


async def test_depths_are_those_of_the_line_by_the_model_asked_for_and_of_the_rest_by_the_model_chosen(
    steps: Steps, database: Database
) -> None:
    await steps.accept(count=3)
    async with database.transaction() as session:
        first, second, _third = await dispatch.take(session, most=3, blocked=())
        await dispatch.store_routed(
            session,
            [Routed(job=first.job, decision=decision("alpha")), Routed(job=second.job, decision=decision("beta"))],
        )
    async with database.transaction() as session:
        depths = set(await jobs.live_depths(session))
    assert depths == {Depth("queued", "alpha", 1), Depth("routed", "alpha", 1), Depth("routed", "beta", 1)}


async def test_beyond_what_is_counted_the_line_is_estimated_from_the_index(
    steps: Steps, sql: Sql, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MOST_COUNTED", 200)
    await steps.accept(count=700)
    await steps.accept(count=5, model="beta")
    await sql.rows("VACUUM ANALYZE jobs")
    told = await waiting(database)
    assert told["beta"][0] == 5
    assert told["alpha"][0] == pytest.approx(700, rel=0.05)
