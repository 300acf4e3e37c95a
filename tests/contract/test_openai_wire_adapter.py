"""The OpenAI adapter over real sockets, against servers that break every rule."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused, Seen, Throttled
from tests.support.catalogs import model_of
from tests.support.hostile import hostile, reply
from workers.providers import openai_wire
from workers.providers.openai_wire import OpenAIWireAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.hostile import Behaviour, HostileServer

GOOD = json.dumps(
    {"choices": [{"message": {"content": "ships"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
).encode()
BODY = json.dumps({"model": "alias", "messages": [{"role": "user", "content": "a harbour \u00e9"}], "seed": 7})


@pytest.fixture
async def adapter() -> AsyncIterator[OpenAIWireAdapter]:
    adapter = OpenAIWireAdapter()
    yield adapter
    await adapter.close()


def answering(raw: bytes) -> Behaviour:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(raw)

    return behave


async def asked(
    adapter: OpenAIWireAdapter, server: HostileServer, *, key: str | None = "sk-canary", **params: Any
) -> Outcome:
    given = {"api_base": f"{server.url}/v1/", "api_key": "os.environ/KEY"} | params
    async with asyncio.timeout(10):
        return await adapter.complete(model_of(model="openai/real-name", params=given), BODY, key=key, attempt=1)


async def test_what_is_said_to_the_router_is_not_sent_on(adapter: OpenAIWireAdapter) -> None:
    body = json.dumps(json.loads(BODY) | {"provider": {"sort": "price"}, "router": {"residency": "eu"}})
    async with hostile(answering(reply(200, GOOD))) as server:
        model = model_of(model="openai/real-name", params={"api_base": f"{server.url}/v1/"})
        async with asyncio.timeout(10):
            await adapter.complete(model, body, key=None, attempt=1)
    sent = json.loads(server.requests[0].partition(b"\r\n\r\n")[2])
    assert sent == json.loads(BODY) | {"model": "real-name"}


async def test_the_request_is_the_jobs_body_under_the_models_own_name(adapter: OpenAIWireAdapter) -> None:
    async with hostile(answering(reply(200, GOOD))) as server:
        outcome = await asked(adapter, server)
    assert isinstance(outcome, Answered)
    assert (outcome.tokens_in, outcome.tokens_out) == (7, 3)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    assert json.loads(body) == json.loads(BODY) | {"model": "real-name"}


async def test_the_key_is_sent_as_authorization_and_nowhere_else(adapter: OpenAIWireAdapter) -> None:
    async with hostile(answering(reply(200, GOOD))) as server:
        await asked(adapter, server)
    lines = [line for line in server.requests[0].split(b"\r\n") if b"sk-canary" in line]
    assert [line.lower() for line in lines] == [b"authorization: bearer sk-canary"]


async def test_a_model_without_a_key_sends_none(adapter: OpenAIWireAdapter) -> None:
    async with hostile(answering(reply(200, GOOD))) as server:
        assert isinstance(await asked(adapter, server, key=None, api_key=None), Answered)
    assert b"authorization" not in server.requests[0].lower()


async def test_a_model_whose_key_is_missing_is_not_called(adapter: OpenAIWireAdapter) -> None:
    async with hostile(answering(reply(200, GOOD))) as server:
        outcome = await asked(adapter, server, key=None)
    assert isinstance(outcome, ModelUnfit)
    assert outcome.code == "no_api_key"
    assert server.requests == []


async def test_nothing_of_the_environment_is_used(adapter: OpenAIWireAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    async with hostile(answering(reply(200, GOOD))) as proxy, hostile(answering(reply(200, GOOD))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
        fresh = OpenAIWireAdapter()
        for each in (adapter, fresh):
            assert isinstance(await asked(each, server, key=None, api_key=None), Answered)
        await fresh.close()
    assert proxy.requests == []
    assert b"sk-environment" not in b"".join(server.requests)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(adapter: OpenAIWireAdapter, status: int) -> None:
    async with hostile(answering(reply(200, GOOD))) as elsewhere:
        redirect = reply(status, b"", f"location: {elsewhere.url}/v1/chat/completions")
        async with hostile(answering(redirect)) as server:
            outcome = await asked(adapter, server)
    assert isinstance(outcome, Failed)
    assert outcome.code == "unexpected_status"
    assert elsewhere.requests == []


async def test_a_cookie_is_not_sent_back(adapter: OpenAIWireAdapter) -> None:
    async with hostile(answering(reply(200, GOOD, "set-cookie: tenant=one; Path=/"))) as server:
        named = server.url.replace("127.0.0.1", "localhost")
        for _call in range(2):
            assert isinstance(await asked(adapter, server, api_base=f"{named}/v1"), Answered)
    assert b"cookie" not in server.requests[1].lower()


@pytest.mark.parametrize("how", ["content-length: 1000000000", "transfer-encoding: chunked"])
async def test_a_body_over_the_cap_is_cut_off(
    adapter: OpenAIWireAdapter, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(openai_wire, "MOST_BYTES", 100_000)
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(f"HTTP/1.1 200 OK\r\n{how}\r\n\r\n".encode())
        piece = b" " * 10_000
        for _piece in range(20_000):
            writer.write(b"2710\r\n" + piece + b"\r\n" if "chunked" in how else piece)
            await writer.drain()
            sent += len(piece)

    async with hostile(endless) as server:
        outcome = await asked(adapter, server)
    assert isinstance(outcome, Failed)
    assert outcome.code == "answer_too_large"
    assert sent < 100_000_000


async def test_a_body_that_unpacks_to_more_than_the_cap_is_cut_off(
    adapter: OpenAIWireAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_wire, "MOST_BYTES", 100_000)
    bomb = gzip.compress(b" " * 50_000_000)
    async with hostile(answering(reply(200, bomb, "content-encoding: gzip"))) as server:
        outcome = await asked(adapter, server)
    assert isinstance(outcome, Failed)
    assert outcome.code == "answer_too_large"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + GOOD,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
    ids=[
        "closed",
        "garbage",
        "cut",
        "cut chunk",
        "bad chunk",
        "bad length",
        "bad gzip",
        "status",
        "huge header",
        "ssh",
    ],
)
async def test_a_broken_or_cut_answer_is_a_failed_call_that_may_be_tried_again(
    adapter: OpenAIWireAdapter, raw: bytes
) -> None:
    async with hostile(answering(raw)) as server:
        outcome = await asked(adapter, server)
    assert isinstance(outcome, Failed), outcome
    assert "sk-canary" not in repr(outcome)
    assert "harbour" not in repr(outcome)


async def test_nobody_there_is_a_failed_call(adapter: OpenAIWireAdapter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    model = model_of(model="openai/x", params={"api_base": f"http://127.0.0.1:{port}/v1"})
    outcome = await adapter.complete(model, BODY, key=None, attempt=1)
    assert isinstance(outcome, Failed)
    assert outcome.code == "connection_error"


async def test_a_name_that_does_not_resolve_is_a_failed_call(adapter: OpenAIWireAdapter) -> None:
    model = model_of(model="openai/x", params={"api_base": "http://no.such.host.invalid/v1"})
    assert isinstance(await adapter.complete(model, BODY, key=None, attempt=1), Failed)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (reply(429, b"{}", "retry-after: 7"), Throttled(retry_after_s=7.0, message="")),
        (reply(401, b'{"error": {"code": "invalid_api_key"}}'), ModelUnfit(code="invalid_api_key", message="")),
        (
            reply(400, b'{"error": {"code": "bad_value"}}'),
            Refused(code="bad_value", message="", status_code=400, body=""),
        ),
        (reply(503, b"<html>"), Failed(code="provider_error", message="")),
    ],
)
async def test_a_status_arrives_as_its_outcome(adapter: OpenAIWireAdapter, raw: bytes, expected: Outcome) -> None:
    async with hostile(answering(raw)) as server:
        outcome = await asked(adapter, server)
    assert type(outcome) is type(expected)
    assert outcome.code == expected.code  # type: ignore[union-attr]
    if isinstance(outcome, Throttled) and isinstance(expected, Throttled):
        assert outcome.retry_after_s == expected.retry_after_s


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (reply(200, GOOD, "X-RateLimit-Limit-Requests: 60"), Seen(rpm=60)),
        (reply(429, b"{}", "anthropic-ratelimit-input-tokens-limit: 900"), Seen(itpm=900)),
        (
            reply(
                500,
                b"",
                "x-ratelimit-limit-tokens: 600",
                "x-ratelimit-remaining-tokens: 0",
                "x-ratelimit-reset-tokens: 1m",
            ),
            Seen(tpm=600, exhausted_s=1.0),
        ),
        (reply(200, GOOD, "x-ratelimit-limit-requests: lots", "x-ratelimit-reset-requests: \xff"), None),
    ],
)
async def test_the_limits_in_the_headers_arrive(adapter: OpenAIWireAdapter, raw: bytes, seen: Seen | None) -> None:
    async with hostile(answering(raw)) as server:
        assert (await asked(adapter, server)).seen == seen


async def test_the_limits_in_the_headers_of_a_body_over_the_cap_arrive_too(
    adapter: OpenAIWireAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_wire, "MOST_BYTES", 10)
    async with hostile(answering(reply(200, GOOD, "x-ratelimit-limit-requests: 60"))) as server:
        outcome = await asked(adapter, server)
    assert isinstance(outcome, Failed)
    assert outcome.seen == Seen(rpm=60)


async def test_a_call_that_is_cut_off_closes_its_connection(adapter: OpenAIWireAdapter) -> None:
    closed = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.transport.is_closing():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            closed.set()

    async with hostile(silent) as server:
        call = asyncio.create_task(asked(adapter, server))
        while not server.requests:
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        async with asyncio.timeout(5):
            await closed.wait()


async def test_hundreds_of_calls_go_at_once(adapter: OpenAIWireAdapter) -> None:
    arrived = 0
    together = asyncio.Event()

    async def behave(writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 200:
            together.set()
        await together.wait()
        writer.write(reply(200, GOOD))

    async with hostile(behave) as server:
        outcomes = await asyncio.gather(*(asked(adapter, server) for _ in range(200)))
    assert {type(outcome) for outcome in outcomes} == {Answered}
