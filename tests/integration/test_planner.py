"""Batches that are planned as a whole: planned, routed by the plan, planned again, and gone on with where there is no plan."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from router_service.api.history import histories
from router_service.chat.request import read_chat
from router_service.routing.history import replayed
from router_service.store import plans
from router_service.store.decisions import Selection
from tests.conftest import publish
from tests.support.catalogs import document, entry
from tests.support.steps import TENANT, new_job
from workers.planner import Planner

if TYPE_CHECKING:
    from uuid import UUID

    from router_service.routing.history import History
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

WAIT_S = 60.0
POLICY: dict[str, Any] = {"policies": {"default": {"quality_target": 0.9}}}
CHEAP = entry(
    "cheap",
    cost=1e-7,
    params={"rpm": 600, "max_parallel_requests": 50},
    router={"quality": {"default": 0.85}, "latency_ms_p50": 100},
)
DEAR = entry(
    "dear", cost=1e-6, params={"max_parallel_requests": 50}, router={"quality": {"default": 0.9}, "latency_ms_p50": 100}
)


async def models_of(sql: Sql, batch_id: UUID) -> dict[str, int]:
    rows = await sql.rows(
        "SELECT model_id, count(*) AS jobs FROM jobs WHERE batch_id = %s AND state <> 'queued' GROUP BY 1", batch_id
    )
    return {row["model_id"]: row["jobs"] for row in rows}


async def batch_row(sql: Sql, batch_id: UUID) -> dict[str, Any]:
    return await sql.one("SELECT * FROM batches WHERE id = %s", batch_id)


async def replay(database: Database) -> tuple[History, int]:
    """The stored decisions with all that they were taken from, and how many come out otherwise."""
    pages = histories(database, Selection(tenant_id=TENANT), most=1000, models=1, page=1000)
    (history,) = [page async for page in pages]
    return history, len(replayed(history))


async def test_a_batch_is_planned_before_any_job_goes_and_its_jobs_follow_the_plan(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(200, model="auto", tokens_out=8, plan_wait_s=WAIT_S, finish_within_s=10.0)
    (other,) = await steps.accept(new_job(model="auto"))
    await workers.route()
    assert await models_of(sql, batch_id) == {}
    assert await sql.state(other.id) == "routed"
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["plan"] is not None
    assert row["plan_note"] is None
    shares = row["quoted"]["plan"]["shares"]
    assert 0.4 < shares["cheap"] < 0.6  # ten a second for nearly ten seconds
    for _round in range(40):
        await workers.route()
        await workers.call("cheap")
        await workers.call("dear")
        if await sql.value("SELECT count(*) FROM decisions WHERE reason = 'batch_plan'") > 50:
            break
    history, different = await replay(database)
    planned = [each for each in history.recorded if each.reason == "batch_plan"]
    assert len(planned) > 50
    assert {each.inputs["plan"] for each in planned} == {row["plan"]}
    assert different == 0


async def test_jobs_go_on_without_a_plan_where_nobody_makes_one_in_time(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(20, model="auto", plan_wait_s=WAIT_S)
    await workers.route()
    assert await models_of(sql, batch_id) == {}
    await sql.rows("UPDATE batches SET plan_until = now()")
    await workers.route()
    assert await models_of(sql, batch_id) != {}
    assert await sql.value("SELECT count(*) FROM decisions WHERE reason = 'batch_plan'") == 0


async def test_a_batch_with_a_budget_waits_where_nothing_can_be_planned_and_holds_up_no_other(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    """No model may do its jobs, until the catalog has one that may: they would go there at once, whatever it costs."""
    eu = {"data_residency": {"inference": "eu", "storage": "eu"}}
    workers = await open_workers(CHEAP, router=POLICY)
    lost, _jobs = await steps.batch(20, model="auto", plan_wait_s=WAIT_S, budget_usd=1e-9, residency="eu")
    rich, _jobs = await steps.batch(20, model="auto", plan_wait_s=WAIT_S, budget_usd=1.0)
    free, _jobs = await steps.batch(20, model="auto", window_s=7200.0)
    await workers.route()
    assert await models_of(sql, free) != {}
    assert await models_of(sql, rich) == {}
    await workers.planner.plan_batches()
    assert "have no model that may do them" in (await batch_row(sql, lost))["plan_note"]
    await publish(database, document(CHEAP, entry("home", router=eu), router=POLICY))
    await workers.runtime._follow_catalog()
    await workers.call("cheap")
    await workers.route()
    assert await models_of(sql, lost) == {}
    assert await models_of(sql, rich) != {}
    await workers.planner.plan_batches()
    assert (await batch_row(sql, lost))["errors"][0]["code"] == "budget_exceeded"


async def test_a_new_batch_is_planned_before_others_are_planned_again(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(CHEAP, DEAR, router={"policies": {"default": {"plan": True}}})
    planned, _jobs = await steps.batch(3, model="auto", plan_wait_s=WAIT_S)
    lost, _jobs = await steps.batch(3, model="auto", plan_wait_s=WAIT_S, residency="mars")
    await workers.planner.plan_batches()
    await sql.rows("UPDATE batches SET plan_due_at = now() - interval '1 minute'")
    new, _jobs = await steps.batch(3, model="auto", plan_wait_s=WAIT_S)
    order = [due.id for _time in range(3) if (due := await workers.planner._claim())]
    assert order[0] == new
    assert set(order) == {new, planned, lost}


async def test_the_note_of_a_slower_planner_does_not_land_on_a_newer_plan(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(10, model="auto", plan_wait_s=WAIT_S)
    slow = await workers.planner._claim()
    assert slow is not None
    await sql.rows("UPDATE batches SET plan_due_at = now()")
    await workers.planner.plan_batches()
    newer = await batch_row(sql, batch_id)
    assert newer["plan"] is not None
    await workers.planner._failed(slow, ValueError())
    assert await batch_row(sql, batch_id) == newer


async def test_batches_are_due_for_another_catalog_and_not_for_another_janitor_or_the_same_catalog_once_more(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(10, model="auto", plan_wait_s=WAIT_S)
    await workers.planner.plan_batches()
    planned = (await batch_row(sql, batch_id))["plan_due_at"]
    for offered, is_due in ((document(CHEAP, DEAR, router=POLICY), False), (document(DEAR, router=POLICY), True)):
        await publish(database, offered)
        await workers.runtime._follow_catalog()
        other = Planner(workers.runtime, workers.planner._insights)
        await other.plan_batches()
        assert ((await batch_row(sql, batch_id))["plan_due_at"] != planned) is is_due


async def test_lines_that_name_their_model_do_not_wait(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(10, model="dear", plan_wait_s=WAIT_S)
    await workers.route()
    assert await models_of(sql, batch_id) == {"dear": 10}


async def test_a_batch_that_would_cost_more_than_its_budget_is_ended_before_its_first_call(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(60, model="auto", tokens_out=100, plan_wait_s=WAIT_S, budget_usd=1e-6)
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["plan"] is None
    assert row["cancelling_at"] is not None
    assert row["errors"][0]["code"] == "budget_exceeded"
    assert row["errors"][0]["message"].startswith("budget_usd is 1e-06, nothing was begun: budget cannot be kept")
    assert "a budget of at least" in row["plan_note"]
    await workers.route()
    jobs = await sql.rows("SELECT DISTINCT state, error_message, model_id FROM jobs")
    assert jobs == [{"state": "cancelled", "error_message": row["plan_note"], "model_id": None}]


async def test_a_batch_whose_budget_and_time_are_both_too_little_is_ended(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(
        60, model="auto", tokens_out=100, plan_wait_s=WAIT_S, budget_usd=1e-6, finish_within_s=1.05
    )
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["cancelling_at"] is not None
    assert "a budget of at least" in row["errors"][0]["message"]


async def test_a_batch_that_is_late_and_has_spent_its_budget_is_ended(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(
        60, model="auto", tokens_out=100, plan_wait_s=WAIT_S, budget_usd=0.1, finish_within_s=600.0
    )
    await workers.planner.plan_batches()
    await workers.route()
    model = await sql.value("SELECT model_id FROM jobs WHERE state = 'routed' LIMIT 1")
    await workers.call(model)
    await sql.rows("UPDATE attempts SET cost_usd = 0.1")
    await sql.rows("UPDATE batches SET plan_due_at = now(), finish_by = now()")
    await workers.planner.plan_batches()
    assert (await batch_row(sql, batch_id))["cancelling_at"] is not None
    assert await sql.value("SELECT count(*) FROM jobs WHERE state IN ('queued', 'routed', 'retry_wait')") == 0


async def test_a_batch_is_not_ended_since_its_cheap_model_fails_at_the_moment(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    """The budget buys all lines at the cheap model, which is passed over while it fails, and few at the dear one."""
    failing = CHEAP["model_info"] | {"router": {"simulated": {"failure_rate": 1, "failure": "500"}}}
    workers = await open_workers(
        CHEAP | {"model_info": failing}, DEAR, router={"policies": {"default": {"plan": True}}}
    )
    await steps.accept(*(new_job(model="cheap") for _ in range(20)))
    await workers.route()
    await workers.call("cheap")
    batch_id, _jobs = await steps.batch(
        60, model="auto", tokens_out=100, plan_wait_s=WAIT_S, budget_usd=60 * 110e-7 * 2
    )
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["cancelling_at"] is None
    assert row["errors"] is None
    if row["plan"] is None:
        assert "a budget of at least" in row["plan_note"]


async def test_a_batch_whose_budget_is_spent_ends_what_it_has_not_begun(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    """Calls cost ten times what was expected: answers are longer than anybody could tell."""
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, jobs = await steps.batch(60, model="auto", tokens_out=100, plan_wait_s=WAIT_S, budget_usd=0.1)
    await workers.planner.plan_batches()
    assert (await batch_row(sql, batch_id))["plan"] is not None
    await workers.route()
    model = await sql.value("SELECT model_id FROM jobs WHERE state = 'routed' LIMIT 1")
    await workers.call(model)
    done = await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'")
    assert 0 < done < len(jobs)
    await sql.rows("UPDATE attempts SET cost_usd = 0.1")
    await sql.rows("UPDATE batches SET plan_due_at = now()")
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["errors"][0]["code"] == "budget_exceeded"
    assert "USD are spent" in row["errors"][0]["message"]
    assert await sql.value("SELECT count(*) FROM jobs WHERE state IN ('queued', 'routed', 'retry_wait')") == 0
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == done


async def test_a_time_that_cannot_be_kept_is_explained_and_the_batch_is_done_as_soon_as_can_be(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(60, model="auto", tokens_out=100, plan_wait_s=WAIT_S, finish_within_s=0.01)
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["plan"] is not None
    assert "or give more than 1.1" in row["plan_note"], "0.1 s from when it begins: 1 s is for planning"
    await workers.route()
    assert (await models_of(sql, batch_id)) != {}


async def test_a_budget_is_kept_about(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    """All at the dear one is 110 tokens x 1e-6 x 200; the budget is half of it, and buys what quality it can."""
    simulated = {"simulated": {"output_tokens": 100}}
    workers = await open_workers(
        CHEAP | {"model_info": CHEAP["model_info"] | {"router": CHEAP["model_info"]["router"] | simulated}},
        DEAR | {"model_info": DEAR["model_info"] | {"router": DEAR["model_info"]["router"] | simulated}},
    )
    body = '{"model":"auto","max_tokens":100,"messages":[{"role":"user","content":"a harbour, and the ships in it"}]}'
    sizes = {"tokens_in": read_chat(json.loads(body)).tokens_in, "tokens_out": 100}
    batch_id, _jobs = await steps.batch(
        200, model="auto", body=body, plan_wait_s=WAIT_S, budget_usd=0.011, finish_within_s=3000.0, **sizes
    )
    await workers.planner.plan_batches()
    assert (await batch_row(sql, batch_id))["plan"] is not None
    while await sql.value("SELECT count(*) FROM jobs WHERE state NOT IN ('succeeded', 'cancelled')"):
        await sql.rows("UPDATE batches SET plan_due_at = now()")  # answers may be longer than was expected
        await workers.planner.plan_batches()
        await workers.route()
        await workers.call("cheap")
        await workers.call("dear")
        await asyncio.sleep(0.02)
    cost = await sql.value("SELECT sum(cost_usd)::float8 FROM job_results")
    assert 0.8 * 0.011 < cost <= 1.02 * 0.011
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 200


async def test_calls_under_way_are_charged_to_the_budget_before_any_has_ended(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    """All at the dear one is 110 tokens x 1e-6 x 200; the budget is half of it, so that both have a part."""
    workers = await open_workers(CHEAP, DEAR, router={"policies": {"default": {"plan": True}}})
    batch_id, _jobs = await steps.batch(
        200, model="auto", tokens_out=100, plan_wait_s=WAIT_S, budget_usd=0.011, finish_within_s=3000.0
    )
    await workers.planner.plan_batches()
    await workers.route()
    async with database.transaction() as session:
        progress = await plans.progress(session, batch_id)
    placed = progress.under_way
    assert 0 < sum(placed.values()) < 200
    expected = placed.get("cheap", 0) * 110e-7 + placed.get("dear", 0) * 110e-6
    assert progress.committed_usd == pytest.approx(expected)
    assert expected > 0.1 * 0.011
    first = (await batch_row(sql, batch_id))["plan"]
    await sql.rows("UPDATE batches SET plan_due_at = now()")
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["plan_note"] is None, "the budget is kept, by the first plan or by another one for what is left"
    if row["plan"] != first:
        left_to_plan = await sql.value("SELECT document #> '{plan,cost_usd}' FROM plans WHERE hash = %s", row["plan"])
        assert progress.committed_usd + left_to_plan <= 0.011


async def test_what_is_left_is_planned_again_when_a_model_leaves(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    """Beside a middling model the cheap one need not be spared as much as beside the dear one alone."""
    middling = CHEAP | {"model_name": "middling"}
    middling["model_info"] = CHEAP["model_info"] | {"input_cost_per_token": 2e-7, "output_cost_per_token": 2e-7}
    workers = await open_workers(CHEAP, middling, DEAR, router=POLICY)
    batch_id, _jobs = await steps.batch(200, model="auto", tokens_out=8, plan_wait_s=WAIT_S, finish_within_s=15.0)
    await workers.planner.plan_batches()
    first = (await batch_row(sql, batch_id))["plan"]
    await publish(database, document(CHEAP, DEAR, router=POLICY))
    await workers.runtime._follow_catalog()
    await workers.planner.plan_batches()
    row = await batch_row(sql, batch_id)
    assert row["plan"] not in {None, first}
    document_now = await sql.value("SELECT document FROM plans WHERE hash = %s", row["plan"])
    assert document_now["plan"]["shares"]["dear"] > 0.1
    assert row["quoted"]["plan"]["shares"]["dear"] == 0  # the promise stays as it was


async def test_two_planners_make_one_plan(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(CHEAP, DEAR, router=POLICY)
    await steps.batch(100, model="auto", tokens_out=8, plan_wait_s=WAIT_S)
    await asyncio.gather(workers.planner.plan_batches(), workers.planner.plan_batches())
    assert await sql.value("SELECT count(*) FROM plans") == 1


async def test_what_is_in_use_of_groups_and_of_the_tenant_is_known_to_the_planner(
    open_workers: OpenWorkers, steps: Steps
) -> None:
    grouped = CHEAP | {"model_info": CHEAP["model_info"] | {"router": {"limit_group": "both"}}}
    limits: dict[str, Any] = POLICY | {"tenants": {TENANT: {"rpm": 1000}}}
    workers = await open_workers(grouped, DEAR, router=limits)
    await steps.accept(*(new_job(model="cheap") for _ in range(3)), new_job(model="dear"))
    await workers.route()
    await workers.call("cheap")
    await workers.call("dear")
    shared = await workers.planner._shared(workers.runtime.offer.catalog, TENANT)
    used = {name: {rate.name: rate.used for rate in counters.rates} for name, counters in shared.items()}
    assert used == {"group:both": {"rpm": 3}, f"tenant:{TENANT}": {"rpm": 4}}


async def test_single_jobs_under_way_count_as_others_use_for_a_quote_too(
    open_workers: OpenWorkers, steps: Steps, database: Database
) -> None:
    workers = await open_workers(CHEAP, DEAR)
    await steps.accept(*(new_job(model="cheap") for _ in range(3)))
    await workers.route()
    async with database.transaction() as session:
        found = await plans.others(session)
    assert [(each.model_id, each.jobs) for each in found] == [("cheap", 3)]
