"""Stored decisions taken again over HTTP: the same as they were, and under another policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.preferences import Preferences
from tests.conftest import client_of, issue_key, running
from tests.support.catalogs import entry
from tests.support.steps import new_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

SMALL = entry("small", cost=1e-6, router={"quality": {"default": 0.6}}, params={"max_parallel_requests": 100})
IN_EU = {"data_residency": {"inference": "eu", "storage": "eu"}}
BIG = entry("big", cost=1e-5, router={"quality": {"default": 0.9}} | IN_EU, params={"max_parallel_requests": 100})


@pytest.fixture
async def api(
    settings: Settings, open_workers: OpenWorkers, steps: Steps, api_key: str
) -> AsyncIterator[httpx.AsyncClient]:
    """After twenty decisions for the cheaper of two models."""
    workers = await open_workers(SMALL, BIG)
    await steps.accept(*(new_job(model="auto", tokens_in=100, tokens_out=100) for _ in range(20)))
    await workers.route()
    async with running(settings) as app, client_of(app, key=api_key) as client:
        yield client


async def ask(api: httpx.AsyncClient, what: str, **body: Any) -> dict[str, Any]:
    response = await api.post(f"/v1/decisions/{what}", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_each_decision_comes_out_the_same(api: httpx.AsyncClient) -> None:
    told = await ask(api, "replay")
    assert (told["decisions"], told["same"], told["different"]) == (20, 20, [])
    assert (await ask(api, "replay", limit=7))["decisions"] == 7


async def test_what_was_changed_behind_our_back_is_found(api: httpx.AsyncClient, sql: Sql) -> None:
    await sql.rows(
        "UPDATE decisions SET model_id = 'big' WHERE job_id IN (SELECT job_id FROM decisions ORDER BY 1 LIMIT 1)"
    )
    told = await ask(api, "replay")
    (different,) = told["different"]
    assert different["differences"] == ["model: stored 'big', now 'small'"]
    one = await ask(api, "replay", job_id=different["job_id"])
    assert (one["decisions"], one["same"]) == (1, 0)


async def test_what_is_not_stored_any_more_is_told(api: httpx.AsyncClient, sql: Sql) -> None:
    await sql.rows("DELETE FROM snapshots")
    told = await ask(api, "replay")
    assert told["same"] == 0
    assert "is not stored any more" in told["different"][0]["differences"][0]


async def test_another_policy_is_tried_on_what_has_happened(api: httpx.AsyncClient, sql: Sql) -> None:
    told = await ask(api, "what-if", policy={"quality_usd": 100})
    assert (told["decisions"], told["changed"]) == (20, 20)
    assert told["before"]["models"] == {"small": 20}
    assert told["after"]["models"] == {"big": 20}
    assert told["before"]["cost_usd"] == pytest.approx(20 * 200 * 1e-6)
    assert told["after"]["cost_usd"] == pytest.approx(20 * 200 * 1e-5)
    assert (told["before"]["quality"], told["after"]["quality"]) == (pytest.approx(0.6), pytest.approx(0.9))
    assert (told["before"]["places"], told["after"]["places"]) == ({"(not known)": 20}, {"eu": 20})
    assert told["moves"] == [{"from": "small", "to": "big", "jobs": 20}]
    assert await sql.value("SELECT count(*) FROM jobs WHERE model_id = 'big'") == 0


async def test_a_target_is_calibrated_on_the_history_that_it_is_tried_on(api: httpx.AsyncClient) -> None:
    assert (await ask(api, "what-if", policy={"quality_target": 0.6}))["changed"] == 0
    assert (await ask(api, "what-if", policy={"quality_target": 1.0}))["changed"] == 20


async def test_a_shadow_policy_decides_beside_the_one_in_force_and_moves_nothing(
    settings: Settings, open_workers: OpenWorkers, steps: Steps, api_key: str
) -> None:
    rich = {"policies": {"rich": {"quality_usd": 100}}, "shadow": {"policy": "rich", "share": 0.5}}
    workers = await open_workers(SMALL, BIG, router=rich)
    await steps.accept(*(new_job(model="auto", tokens_in=100, tokens_out=100) for _ in range(60)))
    await workers.route()
    async with running(settings) as app, client_of(app, key=api_key) as client:
        told = await ask(client, "shadow")
    assert told["name"] == "rich"
    assert 15 < told["decisions"] < 45
    assert told["changed"] == told["decisions"] == told["after"]["models"]["big"] == told["before"]["models"]["small"]


async def test_without_a_shadow_policy_there_is_no_report_on_one(api: httpx.AsyncClient) -> None:
    response = await api.post("/v1/decisions/shadow", json={})
    assert response.status_code == 400
    assert "router_settings.router.shadow" in response.json()["error"]["message"]


async def test_explaining_tells_what_was_not_known_and_the_rules_that_did_not_apply_because_of_it(
    open_workers: OpenWorkers, settings: Settings, api_key: str, steps: Steps
) -> None:
    rules: list[dict[str, Any]] = [
        {"name": "german", "when": {"language": ["de"]}, "only": ["big"]},
        {"name": "german law", "when": {"language": ["en"], "domain": ["law"]}, "only": ["big"]},
    ]
    workers = await open_workers(SMALL, BIG, router={"policies": {"default": {"rules": rules}}})
    preferences = Preferences(language="en")
    (job,) = await steps.accept(new_job(model="auto", preferences=preferences))
    async with running(settings) as app, client_of(app, key=api_key) as client:
        job_id = ids.public(Kind.JOB, job.id)
        waiting = (await client.get(f"/v1/jobs/{job_id}/explain")).json()["outlook"]["known"]
        await workers.route()
        (decision,) = (await client.get(f"/v1/jobs/{job_id}/explain")).json()["decisions"]
    assert waiting["is_read"] is False
    law = {"number": 2, "name": "german law", "applied": False, "unknown": ["domain"]}
    assert waiting["rules"] == [law]
    assert decision["known"]["is_read"] is True
    assert "domain" in decision["known"]["unknown"]
    assert decision["known"]["rules"] == [law]


async def test_a_wrong_policy_is_refused_with_its_path(api: httpx.AsyncClient) -> None:
    response = await api.post("/v1/decisions/what-if", json={"policy": {"strategy": "cheapest", "rulez": []}})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "policy: rulez: unknown key; did you mean 'rules'?"


async def test_every_problem_of_a_policy_is_told_on_one_line(api: httpx.AsyncClient) -> None:
    rule = {"name": "r", "when": {"domain": ["law"]}, "only": ["nobody"]}
    response = await api.post("/v1/decisions/what-if", json={"policy": {"strategy": "cheapest", "rules": [rule]}})
    message = response.json()["error"]["message"]
    assert message.startswith("policy: strategy: no strategy 'cheapest'; did you mean 'cheapest-capable'?")
    assert " | rules[0].only[0]: no model is named 'nobody'" in message
    assert "\\" not in message


async def test_decisions_of_others_are_not_seen(settings: Settings, api: httpx.AsyncClient, database: Database) -> None:
    stranger = await issue_key(database, tenant="stranger")
    async with running(settings) as app, client_of(app, key=stranger) as client:
        assert (await ask(client, "replay"))["decisions"] == 0
