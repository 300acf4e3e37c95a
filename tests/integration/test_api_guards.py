"""What guards the API: nothing is read for nobody, nothing a caller sends is an error of ours, nothing stays held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from router_service.api.app import make_app
from router_service.errors import UnavailableError
from router_service.store import migrate
from tests.conftest import client_of, issue_key
from tests.support.requests import MESSAGES, accept_job, jsonl, make_batch, request_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.support.steps import Sql


class Body:
    """A request's body that knows how much of it was asked for."""

    def __init__(self, *, pieces: int = 5) -> None:
        self.read = 0
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _piece in range(self._pieces):
            self.read += 1
            yield b"x" * 1000


@pytest.mark.parametrize("key", [None, "wb_0123456789ab_wrong"])
@pytest.mark.parametrize("path", ["/v1/files", "/v1/jobs", "/v1/batches", "/nowhere"])
async def test_nothing_is_read_of_a_body_that_comes_without_a_key(app: FastAPI, key: str | None, path: str) -> None:
    body = Body()
    async with client_of(app, key=key) as nobody:
        refused = await nobody.post(path, content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.headers["x-request-id"]
    assert body.read == 0


async def test_a_body_that_comes_with_a_key_is_read(api: httpx.AsyncClient) -> None:
    body = Body()
    answer = await api.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, body.read) == (400, 5)


async def test_with_postgres_gone_a_key_cannot_be_checked_and_that_is_503(settings: Settings, tmp_path: Path) -> None:
    nobody = SecretStr(f"postgresql://u:p@/db?host={tmp_path}")
    app = make_app(settings.model_copy(update={"database_url": nobody}))
    async with app.router.lifespan_context(app), client_of(app, key=f"wb_{'0' * 12}_x") as client:
        answer = await client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


async def test_an_error_of_ours_and_its_log_line_carry_the_request_id(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_registry: object) -> bytes:
        raise RuntimeError("a defect")

    monkeypatch.setattr("router_service.api.metrics.generate_latest", fail)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://waybill") as client:
        with capture_logs() as lines:
            answer = await client.get("/metrics")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    (line,) = [line for line in lines if line["event"] == "a request failed"]
    assert line["request"] == answer.headers["x-request-id"]
    assert line["request"].startswith("req_")


@pytest.mark.parametrize("key", ["\x00k", "a\nb", "\x7f", "\u202e"])
async def test_a_strange_key_in_a_batch_line_is_told_in_characters_that_can_be_stored(
    api: httpx.AsyncClient, key: str
) -> None:
    batch = await make_batch(api, jsonl(request_line(1) | {key: 1}))
    (error,) = batch["errors"]["data"]
    assert (error["code"], error["param"]) == ("unknown_parameter", repr(key)[1:-1])


@pytest.mark.parametrize(
    "raw",
    [
        '{"model":"alpha","input":{"messages":[{"role":"user","content":"x"}]},"metadata":{"\\ud800":1}}',
        '{"model":"alpha","input":{"messages":[{"role":"user","content":"x"}]},"\\u0000":1}',
    ],
)
async def test_a_strange_key_in_a_job_is_the_callers_fault(api: httpx.AsyncClient, raw: str) -> None:
    answer = await api.post("/v1/jobs", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "deadline",
    [
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+12:00",
        2**53,
    ],
)
async def test_a_deadline_out_of_bounds_is_refused(api: httpx.AsyncClient, sql: Sql, deadline: Any) -> None:
    wanted = {"model": "alpha", "input": {"messages": MESSAGES}, "deadline": deadline}
    answer = await api.post("/v1/jobs", json=wanted)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "deadline")
    assert await sql.value("SELECT count(*) FROM jobs") == 0


async def test_a_deadline_within_ten_years_is_taken_and_one_beyond_is_refused(api: httpx.AsyncClient) -> None:
    within, beyond = ((datetime.now(UTC) + timedelta(days=days)).isoformat() for days in (3649, 3651))
    await accept_job(api, deadline=within)
    wanted = {"model": "alpha", "input": {"messages": MESSAGES}, "deadline": beyond}
    refused = (await api.post("/v1/jobs", json=wanted)).json()["error"]
    assert (refused["param"], "10 years" in refused["message"]) == ("deadline", True)


async def test_a_file_of_blank_lines_is_refused_by_their_number(api: httpx.AsyncClient) -> None:
    batch = await make_batch(api, jsonl(request_line(1)) + b"\n" * 150_000 + jsonl(request_line(2)))
    (error,) = batch["errors"]["data"]
    assert (batch["status"], error["code"]) == ("failed", "too_many_lines")
    assert "blank ones included" in error["message"]


async def test_no_more_errors_are_told_than_the_most(api: httpx.AsyncClient) -> None:
    batch = await make_batch(api, jsonl(*(request_line(number, method="GET") for number in range(100))))
    assert [error["line"] for error in batch["errors"]["data"]] == list(range(1, 21))


async def test_a_foreign_dead_letter_to_go_on_after_looks_like_a_random_one(
    app: FastAPI, api: httpx.AsyncClient, database: Database, sql: Sql
) -> None:
    letters: dict[str, str] = {}
    job_id = await accept_job(api)
    for tenant in ("other", "acme"):  # the foreign one is the newer
        letter = await sql.value(
            "INSERT INTO dead_letters (tenant_id, job_id, model_id, attempt, error_code, error_message, state, settled_at)"
            " VALUES (%s, %s, 'alpha', %s, 'x', 'x', 'parked', now()) RETURNING id",
            tenant,
            job_id.removeprefix("job_"),
            len(letters),
        )
        letters[tenant] = f"dl_{letter.hex}"
    async with client_of(app, key=await issue_key(database, tenant="other")) as other:
        assert len((await other.get("/v1/dead-letters")).json()["data"]) == 1
        for after in (letters["acme"], "dl_" + "0" * 32):
            assert (await other.get("/v1/dead-letters", params={"after": after})).json()["data"] == []


def test_a_migration_under_way_is_waited_for_with_a_bound(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_S", 1)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (migrate.ADVISORY_LOCK,))
        with pytest.raises(UnavailableError, match="another migration is under way"):
            migrate.upgrade(database_url)
    migrate.upgrade(database_url)
