"""Who may do what: keys, tenants, and what an error looks like from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute

from tests.conftest import client_of, issue_key
from tests.support.requests import accept_job, jsonl, request_line, upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from fastapi import FastAPI

    from router_service.store.session import Database
    from tests.support.steps import Sql

PUBLIC = {"/livez", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json"}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/files": {"files": {"file": b"{}\n"}, "data": {"purpose": "batch"}},
    "/v1/batches": {"json": {"input_file_id": "file-x", "endpoint": "/v1/chat/completions"}},
    "/v1/jobs": {"json": {"input": {"messages": [{"role": "user", "content": "x"}]}}},
    "/v1/jobs/{job_id}/feedback": {"json": {"score": 1}},
    "/v1/dead-letters/replay": {"json": {"all": True}},
    "/v1/dead-letters/discard": {"json": {"all": True}},
}


def operations(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Every method and path that the application documents, and those that it does not."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path
    for route in app.routes:
        path = getattr(route, "path", None)
        if path is not None and not isinstance(route, APIRoute):
            yield "GET", path


def is_error(response: httpx.Response) -> dict[str, Any]:
    """The error in OpenAI's shape."""
    body = response.json()
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    return error


async def test_every_route_but_the_public_ones_wants_a_key(app: FastAPI) -> None:
    seen = set()
    async with client_of(app, key=None) as nobody:
        for method, path in operations(app):
            concrete = re.sub(r"\{[^}]+\}", "x", path)
            response = await nobody.request(method, concrete, **BODIES.get(path, {}))
            seen.add(path)
            if path in PUBLIC:
                assert response.status_code < 500 or path == "/readyz", path
            else:
                assert response.status_code == 401, (method, path, response.status_code)
                assert is_error(response)["code"] == "invalid_api_key"
                assert response.headers["www-authenticate"] == "Bearer"
    assert seen >= PUBLIC | {"/v1/jobs", "/v1/files/{file_id}/content", "/v1/batches/{batch_id}/cancel"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer wb_0123456789ab_wrong",
        "Basic d2I6eA==",
        "wb_0123456789ab_x",
        "Bearer wb_\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff_x",
        "Bearer " + "x" * 10_000,
    ],
)
async def test_a_wrong_key_is_401(app: FastAPI, header: str) -> None:
    async with client_of(app, key=None) as nobody:
        response = await nobody.get("/v1/jobs", headers={b"authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert is_error(response)["type"] == "authentication_error"


async def test_the_scheme_is_read_in_any_case(app: FastAPI, api_key: str) -> None:
    async with client_of(app, key=None) as client:
        assert (await client.get("/v1/jobs", headers={"authorization": f"bearer {api_key}"})).status_code == 200


async def test_a_revoked_key_is_refused_once_it_is_forgotten(
    app: FastAPI, api: httpx.AsyncClient, api_key: str, sql: Sql
) -> None:
    assert (await api.get("/v1/jobs")).status_code == 200
    await sql.rows("UPDATE api_keys SET revoked_at = now()")
    app.state.waybill.principals.clear()
    assert (await api.get("/v1/jobs")).status_code == 401


async def test_a_foreign_id_looks_exactly_like_a_random_one_on_every_route(
    app: FastAPI, api: httpx.AsyncClient, database: Database, sql: Sql
) -> None:
    file_id = await upload(api, jsonl(request_line(1)))
    made = await api.post("/v1/batches", json={"input_file_id": file_id, "endpoint": "/v1/chat/completions"})
    job_id = await accept_job(api)
    letter = await sql.value(
        "INSERT INTO dead_letters (tenant_id, job_id, model_id, attempt, error_code, error_message, state, settled_at)"
        " VALUES ('acme', %s, 'alpha', 1, 'x', 'x', 'parked', now()) RETURNING id",
        job_id.removeprefix("job_"),
    )
    owned = {
        "job_id": job_id,
        "file_id": file_id,
        "batch_id": made.json()["id"],
        "letter_id": f"dl_{letter.hex}",
    }
    compared = 0
    async with client_of(app, key=await issue_key(database, tenant="other")) as other:
        for method, path in operations(app):
            (name,) = re.findall(r"\{(\w+)(?::\w+)?\}", path) or [""]
            if name not in owned:
                continue
            mine = owned[name]
            random = mine[: -len(uuid4().hex)] + uuid4().hex
            answers = [
                await other.request(method, path.replace(f"{{{name}}}", each), **BODIES.get(path, {}))
                for each in (mine, random)
            ]
            shown = [(each.status_code, each.text.replace(mine, "ID").replace(random, "ID")) for each in answers]
            assert shown[0] == shown[1], (method, path)
            assert shown[0][0] == 404, (method, path)
            is_error(answers[0])
            compared += 1
        assert compared >= 9
        foreign = await other.post("/v1/batches", json={"input_file_id": file_id, "endpoint": "/v1/chat/completions"})
        assert foreign.status_code == 404
        for listing in ("/v1/jobs", "/v1/files", "/v1/batches", "/v1/dead-letters"):
            assert (await other.get(listing)).json()["data"] == []
            for parameter, value in (("after", owned["job_id"]), ("batch_id", owned["batch_id"])):
                answer = await other.get(listing, params={parameter: value})
                assert answer.status_code in {200, 404}
                assert answer.status_code == 404 or answer.json()["data"] == []
        replayed = await other.post("/v1/dead-letters/replay", json={"ids": [owned["letter_id"]]})
        discarded = await other.post("/v1/dead-letters/discard", json={"all": True})
    assert (replayed.json(), discarded.json()) == ({"replayed": 0}, {"discarded": 0})
    assert (await api.get(f"/v1/files/{file_id}")).status_code == 200


async def test_an_unknown_path_or_method_is_an_error_in_the_same_shape(api: httpx.AsyncClient) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("PUT", "/v1/jobs", 405), ("GET", "/v1", 404)):
        response = await api.request(method, path)
        assert response.status_code == status
        is_error(response)


async def test_every_answer_has_a_request_id_of_its_own(api: httpx.AsyncClient) -> None:
    ids = {(await api.get(path)).headers["x-request-id"] for path in ("/v1/jobs", "/v1/jobs", "/nowhere", "/livez")}
    assert len(ids) == 4


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b'{"a":' * 2000, b"NaN"])
async def test_a_body_that_is_no_json_object_is_400(api: httpx.AsyncClient, body: bytes) -> None:
    for path in ("/v1/jobs", "/v1/batches", "/v1/dead-letters/replay"):
        response = await api.post(path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400, (path, response.text)
        is_error(response)


async def test_a_body_over_the_limit_is_413_by_its_declared_length_or_where_it_crosses_it(
    api: httpx.AsyncClient,
) -> None:
    async def endless() -> Any:
        for _piece in range(17):
            yield b" " * 1_000_000

    declared = await api.post("/v1/jobs", headers={"content-length": "16000001"}, content=b"{}")
    streamed = await api.post("/v1/jobs", content=endless(), headers={"content-type": "application/json"})
    for response in (declared, streamed):
        assert response.status_code == 413
        assert is_error(response)["code"] == "too_large"
        assert response.headers["x-request-id"]


async def test_the_public_pages_answer_and_tell_nothing_of_a_tenant(api: httpx.AsyncClient, app: FastAPI) -> None:
    await accept_job(api)
    async with client_of(app, key=None) as nobody:
        metrics = (await nobody.get("/metrics")).text
        assert (await nobody.get("/livez")).json() == {"live": True}
        assert (await nobody.get("/openapi.json")).status_code == 200
        assert (await nobody.get("/docs")).status_code == 200
    assert 'waybill_jobs{model="alpha",state="queued"} 1.0' in metrics
    assert "acme" not in metrics
