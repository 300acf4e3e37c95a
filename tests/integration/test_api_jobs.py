from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from router_service.api.app import make_app
from router_service.jobs.states import JobState
from tests.conftest import client_of, publish, running
from tests.support.catalogs import document, entry
from tests.support.polling import until
from tests.support.requests import MESSAGES, accept_job
from tests.support.steps import answered, gone_wrong

if TYPE_CHECKING:
    from pathlib import Path

    import httpx
    import redis
    from fastapi import FastAPI

    from router_service.capacity.limiter import Limiter
    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps

INPUT = {"messages": MESSAGES}


def uuid_of(job_id: str) -> UUID:
    return UUID(hex=job_id.removeprefix("job_"))


async def test_an_accepted_job_is_durable_and_can_be_read(api: httpx.AsyncClient, sql: Sql) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=1)
    response = await api.post(
        "/v1/jobs",
        json={
            "model": "auto",
            "input": INPUT | {"max_tokens": 9, "temperature": 0},
            "priority": 3,
            "deadline": deadline.isoformat(),
            "metadata": {"k": "v"},
        },
    )
    assert response.status_code == 202
    shown = response.json()
    assert (
        shown
        | {
            "object": "job",
            "status": "queued",
            "model": "auto",
            "routed_model": None,
            "attempts": 0,
            "priority": 3,
            "metadata": {"k": "v"},
            "result": None,
            "error": None,
        }
        == shown
    )
    row = await sql.job(uuid_of(shown["id"]))
    assert (row["state"], row["tenant_id"], row["tokens_out"], row["deadline"]) == ("queued", "acme", 9, deadline)
    body = json.loads(await sql.value("SELECT body FROM job_inputs"))
    assert body == INPUT | {"max_tokens": 9, "temperature": 0, "model": "auto"}
    assert (await api.get(f"/v1/jobs/{shown['id']}")).json() == shown


async def test_an_accepted_job_rings_the_doorbell_once(api: httpx.AsyncClient, admin_redis: redis.Redis) -> None:
    for _job in range(3):
        await accept_job(api)

    async def rung() -> bool:
        return bool(admin_redis.llen("route"))

    await until(rung)
    assert admin_redis.llen("route") == 1


@pytest.mark.parametrize(
    ("wrong", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": None}, 400, "input"),
        ({"input": {}}, 400, "input.messages"),
        ({"input": {"messages": [{"role": "user"}]}}, 400, "input.messages[0].content"),
        ({"input": {"messages": [{"role": [], "content": "x"}]}}, 400, "input.messages[0].role"),
        ({"input": INPUT | {"stream": True}}, 400, "input.stream"),
        ({"input": INPUT | {"max_tokens": 0}}, 400, "input.max_tokens"),
        ({"input": INPUT, "model": "nobody"}, 400, "model"),
        ({"input": INPUT, "model": ""}, 400, "model"),
        ({"input": INPUT, "model": "x" * 201}, 400, "model"),
        ({"input": INPUT, "surprise": 1}, 400, "surprise"),
        ({"input": INPUT, "priority": 101}, 400, "priority"),
        ({"input": INPUT, "priority": "high"}, 400, "priority"),
        ({"input": INPUT, "quality": 1.5}, 400, "quality"),
        ({"input": INPUT, "residency": "EU"}, 400, "residency"),
        ({"input": INPUT, "deadline": "2020-01-01T00:00:00Z"}, 400, "deadline"),
        ({"input": INPUT, "deadline": "2099-01-01T00:00:00"}, 400, "deadline"),
        ({"input": INPUT, "deadline": "soon"}, 400, "deadline"),
        ({"input": INPUT, "metadata": {f"k{n}": "v" for n in range(17)}}, 400, "metadata"),
        ({"input": INPUT, "metadata": {"k": "v" * 513}}, 400, "metadata.k"),
        ({"input": INPUT, "metadata": {"k" * 65: "v"}}, 400, "metadata"),
        ({"input": INPUT, "metadata": {"k": 1}}, 400, "metadata.k"),
        ({"input": INPUT, "metadata": {"k": "a\x00b"}}, 400, "metadata"),
        ({"input": INPUT, "metadata": {"a\x00b": "v"}}, 400, "metadata"),
        ({"input": INPUT, "model": "a\x00b"}, 400, "input.model"),
        ({"input": INPUT, "residency": "eu"}, 422, "model"),
        ({"input": INPUT, "quality": 0.5}, 422, "model"),
        ({"input": {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}}, 422, "model"),
    ],
)
async def test_a_wrong_job_is_refused_with_its_path_and_not_stored(
    api: httpx.AsyncClient, sql: Sql, wrong: dict[str, Any], status: int, param: str
) -> None:
    response = await api.post("/v1/jobs", json={"model": "alpha"} | wrong)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (status, "invalid_request_error")
    assert error["param"].startswith(param), error
    assert await sql.value("SELECT count(*) FROM jobs") == 0


@pytest.mark.parametrize(
    "raw",
    [
        '{"model":"alpha","input":{"messages":[{"role":"user","content":"\\ud800"}]}}',
        '{"model":"alpha","input":{"messages":[{"role":"user","content":"x"}],"user":"\\ud800"}}',
        '{"model":"alpha","input":{"messages":[{"role":"user","content":"x"}]},"metadata":{"k":"\\udfff"}}',
        '{"model":"\\ud800","input":{"messages":[{"role":"user","content":"x"}]}}',
        '{"model":"alpha","input":{"messages":[{"role":"\\ud800","content":"x"}]}}',
        '{"model":"alpha","input":{"messages":[{"role":"user","content":"x"}],"temperature":NaN}}',
        '{"model":"alpha","input":{"messages":[{"role":"user","content":"x"}],"temperature":1e999}}',
        '{"model":"alpha","input":{"messages":[{"role":"user","content":[{"type":"\\ud800"}]}]}}',
        '{"model":"alpha","\\ud800":1,"input":{"messages":[{"role":"user","content":"x"}]}}',
    ],
)
async def test_text_and_numbers_that_cannot_be_stored_are_the_callers_fault(
    api: httpx.AsyncClient, sql: Sql, raw: str
) -> None:
    response = await api.post("/v1/jobs", content=raw, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"]
    assert await sql.value("SELECT count(*) FROM jobs") == 0


async def test_a_nul_within_a_prompt_is_content_like_any_other(api: httpx.AsyncClient, sql: Sql) -> None:
    await accept_job(api, input={"messages": [{"role": "user", "content": "a\x00b"}]})
    assert json.loads(await sql.value("SELECT body FROM job_inputs"))["messages"][0]["content"] == "a\x00b"


async def test_a_finished_job_shows_its_result_its_cost_and_its_usage(api: httpx.AsyncClient, steps: Steps) -> None:
    job_id = await accept_job(api)
    (claim,) = await steps.run_on()
    assert (await api.get(f"/v1/jobs/{job_id}")).json()["status"] == "running"
    await steps.finish(answered(claim))
    shown = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert (shown["status"], shown["attempts"], shown["error"]) == ("succeeded", 1, None)
    assert shown["result"] == {
        "status_code": 200,
        "model": "alpha",
        "body": {"choices": [{"message": {"content": "ships"}}]},
        "usage": {"input_tokens": 7, "output_tokens": 3},
        "cost_usd": 0.5,
    }


@pytest.mark.parametrize(
    "body",
    [
        '{"text":"NUL \\u0000"}',
        '{"text":"\\u2028 \\ud83d\\udea2"}',
        '{"deep":' + "[" * 195 + "]" * 195 + "}",
        '{"big":123456789012345678901234567890.5}',
    ],
    ids=["nul", "separators", "deep", "big"],
)
async def test_whatever_a_provider_answered_can_be_read(api: httpx.AsyncClient, steps: Steps, body: str) -> None:
    job_id = await accept_job(api)
    (claim,) = await steps.run_on()
    await steps.finish(answered(claim, body=body))
    response = await api.get(f"/v1/jobs/{job_id}")
    assert response.status_code == 200
    assert json.loads(response.content)["result"]["body"] == json.loads(body)


async def test_a_failed_job_shows_its_error_and_the_providers_words(api: httpx.AsyncClient, steps: Steps) -> None:
    job_id = await accept_job(api)
    (claim,) = await steps.run_on()
    await steps.finish(gone_wrong(claim, JobState.FAILED, status_code=400, body='{"error":{"message":"no"}}'))
    shown = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert shown["status"] == "failed"
    assert shown["error"] == {"code": "provider_error", "message": "the provider failed"}
    assert shown["result"]["body"] == {"error": {"message": "no"}}


async def test_waiting_answers_when_the_job_is_finished(api: httpx.AsyncClient, steps: Steps) -> None:
    job_id = await accept_job(api)
    waiting = asyncio.create_task(api.get(f"/v1/jobs/{job_id}", params={"wait": 30}))
    (claim,) = await steps.run_on()
    assert not waiting.done()
    await steps.finish(answered(claim))
    async with asyncio.timeout(5):
        assert (await waiting).json()["status"] == "succeeded"


async def test_waiting_in_vain_shows_the_job_as_it_stands(api: httpx.AsyncClient) -> None:
    job_id = await accept_job(api)
    assert (await api.get(f"/v1/jobs/{job_id}", params={"wait": 0.05})).json()["status"] == "queued"


@pytest.mark.parametrize("wait", ["-1", "61", "soon", "nan", "inf"])
async def test_a_wait_out_of_bounds_is_refused(api: httpx.AsyncClient, wait: str) -> None:
    job_id = await accept_job(api)
    response = await api.get(f"/v1/jobs/{job_id}", params={"wait": wait})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "wait"


@pytest.mark.parametrize("identity", ["job_x", "x", "job_" + "0" * 32, "batch_" + "0" * 32, "job_" + "A" * 32, "%00"])
async def test_an_id_that_nobody_has_is_404(api: httpx.AsyncClient, identity: str) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/explain")):
        response = await api.request(method, f"/v1/jobs/{identity}{path}")
        assert response.status_code == 404
        assert response.json()["error"]["type"] == "not_found_error"


async def test_a_list_is_paged_to_its_end_newest_first(api: httpx.AsyncClient) -> None:
    made = [await accept_job(api) for _ in range(5)]
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await api.get("/v1/jobs", params={"limit": 2, **after})).json()
        assert page["object"] == "list"
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        assert page["last_id"] == page["data"][-1]["id"]
        after = {"after": page["last_id"]}
    assert seen == sorted(made, reverse=True)


async def test_a_list_is_filtered(api: httpx.AsyncClient) -> None:
    alpha, beta = await accept_job(api), await accept_job(api, model="beta")
    for params, wanted in (
        ({"model": "beta"}, [beta]),
        ({"status": "queued", "model": "alpha"}, [alpha]),
        ({"status": "failed"}, []),
        ({"batch_id": "batch_" + "0" * 32}, []),
    ):
        assert [job["id"] for job in (await api.get("/v1/jobs", params=params)).json()["data"]] == wanted


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"status": "lost"}, {"model": "x" * 201}]
)
async def test_a_wrong_filter_is_400(api: httpx.AsyncClient, params: dict[str, str]) -> None:
    assert (await api.get("/v1/jobs", params=params)).status_code == 400


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/dead-letters", "/v1/files", "/v1/batches"])
@pytest.mark.parametrize("name", ["after", "model", "purpose", "code"])
async def test_a_nul_in_a_filter_is_no_error_of_ours(api: httpx.AsyncClient, path: str, name: str) -> None:
    response = await api.get(path, params={name: "a\x00b"})
    assert response.status_code < 500


async def test_a_waiting_job_is_cancelled_and_again_without_harm(api: httpx.AsyncClient) -> None:
    job_id = await accept_job(api)
    for _ in range(2):
        response = await api.post(f"/v1/jobs/{job_id}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert response.json()["error"]["code"] == "cancelled"


async def test_a_job_that_has_ended_cannot_be_cancelled(api: httpx.AsyncClient, steps: Steps) -> None:
    job_id = await accept_job(api)
    await steps.finish(*[answered(claim) for claim in await steps.run_on()])
    response = await api.post(f"/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict")


async def test_explaining_tells_every_decision_call_and_dead_letter(api: httpx.AsyncClient, steps: Steps) -> None:
    job_id = await accept_job(api)
    waiting = (await api.get(f"/v1/jobs/{job_id}/explain")).json()
    assert (waiting["status"], waiting["decisions"], waiting["attempts"]) == ("queued", [], [])
    assert waiting["outlook"]["model"] == "alpha"
    (claim,) = await steps.run_on()
    await steps.finish(gone_wrong(claim, JobState.DEAD))
    told = (await api.get(f"/v1/jobs/{job_id}/explain")).json()
    assert told["status"] == "dead"
    assert [each["epoch"] for each in told["decisions"]] == [1]
    assert [(each["model"], each["outcome"]) for each in told["attempts"]] == [("alpha", "failed")]
    assert [(each["model"], each["state"]) for each in told["dead_letters"]] == [("alpha", "open")]


async def test_what_no_model_may_take_is_told_by_reason(
    api: httpx.AsyncClient, app: FastAPI, database: Database
) -> None:
    eu = {"data_residency": {"inference": "eu", "storage": "eu"}}
    await publish(database, document(entry("alpha"), entry("beta", router=eu)))
    await app.state.waybill.refresh_catalog()
    refused = await api.post("/v1/jobs", json={"model": "auto", "input": INPUT, "residency": "us"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "no_compliant_model")
    assert "residency_unknown (1)" in refused.json()["error"]["message"]
    assert "residency (1)" in refused.json()["error"]["message"]
    accepted = await api.post("/v1/jobs", json={"model": "auto", "input": INPUT, "residency": "eu"})
    assert accepted.status_code == 202


async def test_with_redis_down_jobs_are_accepted_and_readiness_says_so(
    settings: Settings, catalog: object, api_key: str, tmp_path: Path
) -> None:
    nobody = f"unix://{tmp_path}/nobody.sock"
    down = type(settings)(
        database_url=settings.database_url, redis_url=nobody, broker_url=nobody.replace("unix", "redis+socket")
    )
    async with running(down) as app, client_of(app, key=api_key) as api:
        async with asyncio.timeout(5):
            job_id = await accept_job(api)
        assert (await api.post(f"/v1/jobs/{job_id}/cancel")).status_code == 200
        ready = await api.get("/readyz")
        models = await api.get("/v1/models")
        metrics = await api.get("/metrics")
    assert ready.status_code == 503
    assert [name for name, check in ready.json()["checks"].items() if not check["ok"]] == [
        "redis",
        "broker",
        "workers",
    ]
    assert models.json()["data"][0]["waybill"]["deployments"][0]["in_flight"] is None
    assert 'waybill_up{dependency="redis"} 0.0' in metrics.text


async def test_with_postgres_down_the_answer_is_503_and_names_it(
    settings: Settings, redis_url: str, tmp_path: Path
) -> None:
    down = type(settings)(
        database_url=f"postgresql://u:p@/db?host={tmp_path}",
        redis_url=settings.redis_url,
        broker_url=settings.broker_url,
    )
    app = make_app(down)
    async with app.router.lifespan_context(app), client_of(app, key="wb_0123456789ab_x") as api:
        response = await api.get("/v1/jobs")
        ready = await api.get("/readyz")
        metrics = await api.get("/metrics")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert "postgres" in response.json()["error"]["message"]
    assert not ready.json()["checks"]["postgres"]["ok"]
    assert 'waybill_up{dependency="postgres"} 0.0' in metrics.text


async def test_readiness_waits_for_the_roles_that_were_asked_for(
    settings: Settings, catalog: object, limiter: Limiter, admin_redis: redis.Redis
) -> None:
    wanted = settings.model_copy(update={"readiness_roles": ("router",)})
    async with running(wanted) as app, client_of(app, key=None) as nobody:
        missing = await nobody.get("/readyz")
        await app.state.waybill.presence.tell(role="router", name="r1")
        ready = await nobody.get("/readyz")
    assert (missing.status_code, ready.status_code) == (503, 200)
    assert "router" in missing.json()["checks"]["workers"]["detail"]
    assert ready.json()["ready"]
