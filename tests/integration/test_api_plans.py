"""Quotes and plans over HTTP: what is told before a batch runs, what is kept of it, and what came of it afterwards."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of, issue_key, running
from tests.support.catalogs import entry
from tests.support.requests import CHAT, jsonl, make_batch, request_line, upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql
    from tests.support.workers import Workers

TARGET: dict[str, Any] = {"policies": {"default": {"quality_target": 0.9}, "alone": {"plan": False}}}
ENTRIES = [
    entry(
        name,
        cost=cost,
        params={"max_parallel_requests": 50, **params},
        router={"quality": {"default": quality}, "latency_ms_p50": 20, "simulated": {"output_tokens": 8}},
    )
    for name, cost, quality, params in (("cheap", 1e-7, 0.85, {"rpm": 3000}), ("dear", 1e-6, 0.9, {}))
]
CANARY = "canary of the harbour"


def line(number: int, **changes: Any) -> dict[str, Any]:
    body = {"model": "auto", "max_tokens": 8, "messages": [{"role": "user", "content": f"{CANARY} {number}"}]}
    return request_line(number, body=body) | changes


def content(count: int) -> bytes:
    return jsonl(*(line(number) for number in range(count)))


@asynccontextmanager
async def opened(
    open_workers: OpenWorkers, settings: Settings, api_key: str
) -> AsyncIterator[tuple[Workers, httpx.AsyncClient]]:
    workers = await open_workers(*ENTRIES, router=TARGET)
    async with running(settings) as app, client_of(app, key=api_key) as api:
        yield workers, api


async def ask(workers: Workers, api: httpx.AsyncClient, file_id: str, **wanted: Any) -> httpx.Response:
    """A quote, with the planner at work meanwhile."""
    asking = asyncio.create_task(api.post("/v1/batches/quote", json={"input_file_id": file_id} | wanted))
    while not asking.done():
        await workers.planner.answer_quotes()
        await asyncio.sleep(0.02)
    return asking.result()


async def test_lines_that_no_model_may_take_are_counted_and_not_quoted(
    open_workers: OpenWorkers, settings: Settings, api_key: str
) -> None:
    hopeless = [line(number, router={"residency": "mars"}) for number in range(100, 103)]
    async with opened(open_workers, settings, api_key) as (workers, api):
        mixed = await upload(api, content(100) + b"\n" + jsonl(*hopeless))
        told = (await ask(workers, api, mixed, finish_within_s=60)).json()
        assert (told["status"], told["jobs"], told["refused"]) == ("possible", 100, 3)
        refused = await ask(workers, api, await upload(api, jsonl(*hopeless)))
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "no_compliant_model")
    assert refused.json()["error"]["message"].startswith("no line can be done; line 1: no model on offer meets")


async def test_a_quote_tells_cost_time_models_and_what_binds_and_keeps_no_line(
    open_workers: OpenWorkers, settings: Settings, api_key: str, sql: Sql
) -> None:
    async with opened(open_workers, settings, api_key) as (workers, api):
        file_id = await upload(api, content(3000))
        response = await ask(workers, api, file_id, finish_within_s=30)
    assert response.status_code == 200, response.text
    told = response.json()
    assert (told["status"], told["jobs"], told["looked_at"]) == ("possible", 3000, 1500)
    assert told["cost_usd"]["low"] < told["cost_usd"]["expected"] < told["cost_usd"]["high"]
    assert told["finish_s"]["expected"] <= 30 * 1.03
    assert {each["model"] for each in told["models"]} == {"cheap", "dear"}
    assert any(said.startswith("rpm of cheap: a tenth more would save about") for said in told["binding"])
    row = await sql.one("SELECT * FROM quotes")
    assert row["lines"] is None
    assert CANARY not in str(row)


async def test_a_quote_that_nobody_answers_yet_can_be_asked_for_later_by_its_tenant_alone(
    open_workers: OpenWorkers, settings: Settings, database: Database, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_service.api.plans.WAIT_S", 0.0)
    async with opened(open_workers, settings, api_key) as (workers, api):
        file_id = await upload(api, content(60))
        pending = await api.post("/v1/batches/quote", json={"input_file_id": file_id})
        assert (pending.status_code, pending.json()["status"]) == (202, "pending")
        quote_id = pending.json()["id"]
        await workers.planner.answer_quotes()
        answered = await api.get(f"/v1/batches/quote/{quote_id}")
        assert answered.json()["status"] == "possible"
        api.headers["authorization"] = f"Bearer {await issue_key(database, tenant='stranger')}"
        assert (await api.get(f"/v1/batches/quote/{quote_id}")).status_code == 404
        foreign = await api.post("/v1/batches/quote", json={"input_file_id": file_id})
        assert foreign.status_code == 404


async def test_a_quote_says_what_cannot_be_kept(open_workers: OpenWorkers, settings: Settings, api_key: str) -> None:
    async with opened(open_workers, settings, api_key) as (workers, api):
        file_id = await upload(api, content(500))
        told = (await ask(workers, api, file_id, budget_usd=1e-9)).json()
    assert told["status"] == "impossible"
    assert "a budget of at least" in told["note"]


async def test_a_quote_of_a_wrong_file_is_refused_with_its_line(
    open_workers: OpenWorkers, settings: Settings, api_key: str, sql: Sql
) -> None:
    async with opened(open_workers, settings, api_key) as (_workers, api):
        for wrong, said in (
            (line(1, method="GET"), "line 2: method must be 'POST'"),
            (line(0), "stands on an earlier"),
        ):
            response = await api.post(
                "/v1/batches/quote", json={"input_file_id": await upload(api, jsonl(line(0), wrong))}
            )
            assert response.status_code == 400
            assert said in response.json()["error"]["message"]
        empty = await api.post("/v1/batches/quote", json={"input_file_id": await upload(api, b"\n")})
        assert empty.json()["error"]["code"] == "empty_file"
    assert await sql.value("SELECT count(*) FROM quotes") == 0


async def test_a_question_is_taken_again_where_its_taker_died_and_forgotten_in_time(
    open_workers: OpenWorkers, settings: Settings, api_key: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_service.api.plans.WAIT_S", 0.0)
    async with opened(open_workers, settings, api_key) as (workers, api):
        await api.post("/v1/batches/quote", json={"input_file_id": await upload(api, content(10))})
        assert await workers.planner._take_question() is not None
        assert await workers.planner._take_question() is None
        await sql.rows("UPDATE quotes SET taken_at = now() - interval '2 min'")
        assert await workers.planner._take_question() is not None
        await workers.planner.forget_quotes()
        assert await sql.value("SELECT count(*) FROM quotes") == 1
        await sql.rows("UPDATE quotes SET created_at = now() - interval '16 min'")
        await workers.planner.forget_quotes()
        assert await sql.value("SELECT count(*) FROM quotes") == 0


async def test_a_tenant_has_few_open_quotes_and_one_whose_file_is_wrong_counts_no_longer(
    open_workers: OpenWorkers, settings: Settings, database: Database, api_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_service.api.plans.WAIT_S", 0.0)
    async with opened(open_workers, settings, api_key) as (workers, api):
        good, bad = await upload(api, content(3)), await upload(api, b"no JSON")
        refused = [await api.post("/v1/batches/quote", json={"input_file_id": bad}) for _time in range(6)]
        assert {each.status_code for each in refused} == {400}
        asked = await asyncio.gather(
            *(api.post("/v1/batches/quote", json={"input_file_id": good}) for _time in range(9))
        )
        assert sorted(each.status_code for each in asked) == [202] * 4 + [429] * 5
        busy = next(each for each in asked if each.status_code == 429)
        assert busy.json()["error"]["message"] == "4 quotes of yours have no answer yet; ask again when one of them has"
        assert busy.headers["retry-after"] == "5"
        await workers.planner.answer_quotes()
        assert (await api.post("/v1/batches/quote", json={"input_file_id": good})).status_code == 202
        first = await upload(api, content(3))
        assert (await api.post("/v1/batches/quote", json={"input_file_id": first})).status_code == 202
        api.headers["authorization"] = f"Bearer {await issue_key(database, tenant='stranger')}"
        own = await upload(api, content(3))
        assert (await api.post("/v1/batches/quote", json={"input_file_id": own})).status_code == 202
        taken = [question.tenant_id for _time in range(3) if (question := await workers.planner._take_question())]
        assert taken[0] == "stranger", "the other tenant was served a moment ago"
        assert len(taken) == 3


async def test_what_cannot_be_reckoned_fails_with_a_note_and_is_not_tried_for_ever(
    open_workers: OpenWorkers, settings: Settings, api_key: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_service.api.plans.WAIT_S", 0.0)
    async with opened(open_workers, settings, api_key) as (workers, api):
        file_id = await upload(api, content(10))
        pending = (await api.post("/v1/batches/quote", json={"input_file_id": file_id})).json()
        await sql.rows("UPDATE quotes SET lines = json_build_array(json_build_object('id', %s::text))", CANARY)
        sound = (await api.post("/v1/batches/quote", json={"input_file_id": file_id})).json()
        await workers.planner.answer_quotes()
        told = (await api.get(f"/v1/batches/quote/{pending['id']}")).json()
        assert told["status"] == "failed"
        assert told["note"].startswith("planning failed (")
        assert CANARY not in str(told)
        assert (await api.get(f"/v1/batches/quote/{sound['id']}")).json()["status"] == "possible"
        broken, whole = [await make_batch(api, content(60), budget_usd=1.0) for _time in range(2)]
        await sql.rows(
            "UPDATE jobs SET preferences = '7' WHERE batch_id = (SELECT id FROM batches ORDER BY created_at, id LIMIT 1)"
        )
        await workers.planner.plan_batches()
        told = (await api.get(f"/v1/batches/{broken['id']}/plan")).json()
        assert (told["status"], told["note"][:17]) == ("impossible", "planning failed (")
        assert (await api.get(f"/v1/batches/{whole['id']}/plan")).json()["status"] == "planned"


async def test_the_plan_of_a_batch_is_told_beside_what_came_of_it(
    open_workers: OpenWorkers, settings: Settings, database: Database, api_key: str
) -> None:
    async with opened(open_workers, settings, api_key) as (workers, api):
        batch = await make_batch(api, content(100), finish_within_s=600)
        path = f"/v1/batches/{batch['id']}/plan"
        assert (await api.get(path)).json()["status"] == "awaited"
        await workers.planner.plan_batches()
        told = (await api.get(path)).json()
        assert told["status"] == "planned"
        assert told["quoted"]["jobs"] == told["current"]["jobs"] == 100
        assert told["errors"] is None
        while (await api.get(f"/v1/batches/{batch['id']}")).json()["status"] == "in_progress":
            await workers.route()
            await workers.call("cheap")
            await workers.call("dear")
            await workers.janitor.end_batches()
        told = (await api.get(path)).json()
        assert told["actual"]["jobs"] == 100
        assert sum(told["actual"]["models"].values()) == 100
        assert abs(told["errors"]["cost"]) < 0.02
        assert told["actual"]["cost_usd"] == pytest.approx(told["quoted"]["cost_usd"]["expected"], rel=0.02)
        api.headers["authorization"] = f"Bearer {await issue_key(database, tenant='stranger')}"
        assert (await api.get(path)).status_code == 404


async def test_a_line_that_waits_is_told_what_its_plan_would_decide(
    open_workers: OpenWorkers, settings: Settings, api_key: str, sql: Sql
) -> None:
    async with opened(open_workers, settings, api_key) as (workers, api):
        await make_batch(api, content(60))
        await workers.planner.plan_batches()
        assert await sql.value("SELECT plan FROM batches") is not None
        line_id = (await api.get("/v1/jobs", params={"limit": 1})).json()["data"][0]["id"]
        told = (await api.get(f"/v1/jobs/{line_id}/explain")).json()
    assert told["outlook"]["reason"] == "batch_plan"


async def test_few_lines_or_a_policy_of_single_jobs_wait_for_no_plan(
    open_workers: OpenWorkers, settings: Settings, api_key: str, sql: Sql
) -> None:
    async with opened(open_workers, settings, api_key) as (_workers, api):
        for count, wanted, planned in (
            (49, {}, False),
            (50, {}, True),
            (50, {"router": {"policy": "fastest"}}, False),
            (50, {"router": {"policy": "alone"}}, False),
            (3, {"router": {"policy": "fastest"}, "budget_usd": 1.0}, True),
        ):
            batch = await make_batch(api, content(count), **wanted)
            row = await sql.one("SELECT plan_due_at, plan_until FROM batches ORDER BY id DESC LIMIT 1")
            assert [value is not None for value in row.values()] == [planned, planned], (count, wanted)
            told = (await api.get(f"/v1/batches/{batch['id']}/plan")).json()
            assert told["status"] == ("awaited" if planned else "none")
        waits_s = await sql.value("SELECT extract(epoch FROM plan_until - now()) FROM batches ORDER BY id DESC LIMIT 1")
        assert waits_s > 23 * 3600, "without its plan nobody keeps the budget"
        refused = await api.post(
            "/v1/batches",
            json={
                "input_file_id": await upload(api, content(3)),
                "endpoint": CHAT,
                "router": {"policy": "alone"},
                "budget_usd": 1,
            },
        )
        assert refused.status_code == 400
        assert "plan: false" in refused.json()["error"]["message"]


async def test_a_line_that_takes_too_long_for_the_time_is_told_beside_the_quote_of_the_others(
    open_workers: OpenWorkers, settings: Settings, api_key: str
) -> None:
    slow = entry("slow", router={"latency_ms_p50": 100_000})
    workers = await open_workers(*ENTRIES, slow, router=TARGET)
    async with running(settings) as app, client_of(app, key=api_key) as api:
        late = line(99)
        late["body"]["model"] = "slow"
        file_id = await upload(api, jsonl(*(line(number) for number in range(20)), late))
        told = (await ask(workers, api, file_id, finish_within_s=60)).json()
    assert told["status"] == "possible"
    assert told["note"].startswith("1 jobs take longer than the 58.5 s that are left, the longest 100 s")
