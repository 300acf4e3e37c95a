"""Questions about stored decisions: answered in pages, beside everything else, a few at a time, and never without an end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from sqlalchemy import text

from router_service.api.history import MOST_COUNTERS, histories
from router_service.store.decisions import FIRST_MOMENT, LAST_MOMENT, Selection
from router_service.store.session import statement
from tests.conftest import client_of, issue_key, publish, running
from tests.support.catalogs import document, entry
from tests.support.steps import TENANT, new_job
from tests.support.threads import calls_in_this_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    from fastapi import FastAPI

    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

SMALL = entry("small", cost=1e-6, router={"quality": {"default": 0.6}}, params={"max_parallel_requests": 100})
BIG = entry("big", cost=1e-5, router={"quality": {"default": 0.9}}, params={"max_parallel_requests": 100})
RICH = {"policies": {"rich": {"quality_usd": 100}}, "shadow": {"policy": "rich", "share": 1.0}}
HEAVY = {
    "Snapshot.from_json",
    "Preferences.from_json",
    "recorded",
    "compared",
    "restored",
    "route",
    "policy_of_document",
}
BATCH = UUID("00000000-0000-7000-8000-000000000001")
JOB = """
INSERT INTO jobs (id, tenant_id, batch_id, line, endpoint, model, lane, tokens_in, state, finished_at, model_id)
SELECT gen_random_uuid(), {}, '/v1/chat/completions', 'auto', 1, 1, 'succeeded', now(), 'small' FROM generate_series(1, 5000) n"""
TENANTS = "INSERT INTO tenants (id) VALUES ('acme')"
OF_ACME = f"""
INSERT INTO batches (id, tenant_id, endpoint, input_file_id, completion_window, expires_at)
VALUES ('{BATCH}', 'acme', '/v1/chat/completions', '{BATCH}', '24h', now())"""
MANY = (TENANTS, OF_ACME, JOB.format(f"'acme', '{BATCH}'::uuid, n"), JOB.format("'others', NULL::uuid, NULL::integer"))
DECIDED = """
INSERT INTO decisions (job_id, epoch, tenant_id, decided_at, model_id, reason, policy, catalog, inputs, candidates)
SELECT id, 1, tenant_id, now() - row_number() OVER (PARTITION BY tenant_id) * interval '1 s', 'small', '', 'p', 'c', '{}', '[]'
FROM jobs"""


@pytest.fixture
async def app(settings: Settings, open_workers: OpenWorkers, steps: Steps) -> AsyncIterator[FastAPI]:
    """After twenty decisions in two passes, each on its own snapshot."""
    workers = await open_workers(SMALL, BIG, router=RICH)
    for _pass in range(2):
        await steps.accept(*(new_job(model="auto", tokens_in=100, tokens_out=100) for _ in range(10)))
        await workers.route()
    async with running(settings) as app:
        yield app


async def post(api: httpx.AsyncClient, what: str, **body: Any) -> httpx.Response:
    return await api.post(f"/v1/decisions/{what}", json=body)


async def test_decisions_come_in_pages_of_which_each_knows_what_it_names_and_no_more(
    app: FastAPI, database: Database, sql: Sql
) -> None:
    selection = Selection(tenant_id=TENANT)
    told = [page async for page in histories(database, selection, most=18, models=2, page=7)]
    assert [len(page.recorded) for page in told] == [7, 7, 4]
    for page in told:
        assert page.counters.keys() == {each.snapshot for each in page.recorded}
    shared = told[0].counters.keys() & told[1].counters.keys()
    assert [told[0].counters[name] is told[1].counters[name] for name in shared] == [True]
    latest = await sql.rows("SELECT job_id FROM decisions ORDER BY decided_at DESC, job_id DESC LIMIT 18")
    assert [each.job_id for page in told for each in page.recorded] == [row["job_id"] for row in latest]


async def test_pages_are_smaller_where_models_are_many(app: FastAPI, database: Database) -> None:
    selection = Selection(tenant_id=TENANT)
    told = [page async for page in histories(database, selection, most=20, models=MOST_COUNTERS // 4)]
    assert [len(page.recorded) for page in told] == [4] * 5


async def test_decisions_on_a_batch_come_line_by_line(
    open_workers: OpenWorkers, steps: Steps, database: Database
) -> None:
    workers = await open_workers(SMALL, BIG)
    batch_id, jobs = await steps.batch(12, model="auto")
    await steps.accept(new_job(model="auto"))
    await workers.route()
    selection = Selection(tenant_id=TENANT, batch_id=batch_id)
    told = [page async for page in histories(database, selection, most=100, models=2, page=5)]
    assert [each.job_id for page in told for each in page.recorded] == [job.id for job in jobs]
    one = Selection(tenant_id=TENANT, job_id=jobs[3].id)
    (page,) = [page async for page in histories(database, one, most=100, models=2)]
    assert [each.job_id for each in page.recorded] == [jobs[3].id]


@pytest.mark.parametrize("what", ["replay", "what-if", "shadow"])
async def test_nothing_is_parsed_or_decided_in_the_thread_that_answers_everybody(
    app: FastAPI, api_key: str, what: str
) -> None:
    async with client_of(app, key=api_key) as api:
        with calls_in_this_thread() as called:
            response = await post(api, what, **({"policy": {"quality_target": 0.9}} if what == "what-if" else {}))
    assert response.json()["decisions"] == 20, response.text
    assert "histories" in called or "pages" in called
    assert called & HEAVY == set()


async def test_one_question_of_a_tenant_at_a_time_and_two_in_all(
    app: FastAPI, api_key: str, database: Database
) -> None:
    turns, stranger = app.state.waybill.turns, await issue_key(database, tenant="stranger")
    async with client_of(app, key=api_key) as api, client_of(app, key=stranger) as other:
        with turns.turn(TENANT):
            for what in ("replay", "shadow", "what-if"):
                refused = await post(api, what, **({"policy": {}} if what == "what-if" else {}))
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
            assert (await post(other, "replay")).status_code == 200
            with turns.turn("another"):
                assert (await post(other, "replay")).status_code == 429
        assert (await post(api, "replay")).status_code == 200
        answers = await asyncio.gather(*(post(api, "replay") for _ in range(4)))
        assert sorted(each.status_code for each in answers) == [200, 429, 429, 429]


async def test_what_would_take_too_long_is_refused_with_what_would_do(
    app: FastAPI, api_key: str, database: Database
) -> None:
    rules = [{"name": f"r{n}", "when": {"tenant": ["x"]}, "avoid": ["big"]} for n in range(60)]
    async with client_of(app, key=api_key) as api:
        assert (await post(api, "what-if", policy={"rules": rules}, limit=20_000)).status_code == 200
        await publish(database, document(BIG, *(entry(f"model-{n}") for n in range(19))))
        await app.state.waybill.refresh_catalog()
        refused = await post(api, "what-if", policy={"rules": rules}, limit=20_000)
    assert refused.status_code == 400
    assert "20 models and 60 rules; 16393 would do" in refused.json()["error"]["message"]


async def test_a_policy_without_an_end_is_refused_in_a_few_words(app: FastAPI, api_key: str) -> None:
    def avoiding(*names: str) -> dict[str, Any]:
        return {"rules": [{"name": "r", "when": {"tenant": ["x"]}, "avoid": names}]}

    async with client_of(app, key=api_key) as api:
        many = await post(api, "what-if", policy=avoiding(*("small" for _ in range(1000))))
        unknown = await post(api, "what-if", policy=avoiding(*(f"{n:0>190}" for n in range(400))))
        key = await post(api, "what-if", policy={"x" * 100_000: 1})
        long = await post(api, "what-if", policy=avoiding(*("x" * 1000 for _ in range(300))))
    assert many.status_code == unknown.status_code == key.status_code == 400
    assert "at most 500" in many.json()["error"]["message"]
    told = unknown.json()["error"]["message"]
    assert told.startswith("policy: rules[0].avoid[0]: no model is named")
    assert told.endswith("and 380 more")
    assert max(len(unknown.text), len(key.text)) < 8000
    assert long.status_code == 413


async def test_a_page_reads_neither_what_lies_before_it_nor_what_belongs_to_others(
    database: Database, sql: Sql
) -> None:
    for statement_of_many in (*MANY, DECIDED, "ANALYZE jobs", "ANALYZE decisions"):
        await sql.rows(statement_of_many)
    common = {"tenant_id": "acme", "shadow": None, "since": FIRST_MOMENT, "until": LAST_MOMENT, "most": 50}
    moment = await sql.value("SELECT now() - interval '3000 s'")
    place = {"after_decided_at": moment, "after_job_id": UUID(int=0), "after_epoch": -1}
    assert await rows_read(database, "decisions_of_tenant", **common, **place) <= 2 * 50
    place = {"batch_id": BATCH, "after_line": 4000, "after_epoch": 1}
    assert await rows_read(database, "decisions_of_batch", **common, **place) <= 8 * 50


async def rows_read(database: Database, query: str, **parameters: Any) -> int:
    """How many rows the steps of a query's plan gave or left out, all taken together."""

    def count(step: dict[str, Any]) -> float:
        own = step["Actual Rows"] + step.get("Rows Removed by Filter", 0)
        return float(own * step["Actual Loops"]) + sum(map(count, step.get("Plans", ())))

    explained = text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement(query).text}")
    async with database.transaction() as session:
        told = (await session._connection.execute(explained, parameters)).scalar_one()
    return round(count(told[0]["Plan"]))
