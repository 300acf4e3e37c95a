from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import httpx
import pytest

from router_service.cli.client import ApiClient, is_loopback
from router_service.cli.exits import ExitCode, OperationFailedError, exit_code
from router_service.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
    WaybillError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, *, slept: list[float] | None = None) -> ApiClient:
    return ApiClient(
        "http://127.0.0.1:1",
        key="k",
        transport=httpx.MockTransport(handler),
        sleep=(slept if slept is not None else []).append,
    )


def refusing(status: int) -> Handler:
    error = {"error": {"message": "what is wrong", "type": "t", "param": "p", "code": "c"}}
    return lambda _: httpx.Response(status, json=error)


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, InvalidRequestError, ExitCode.USAGE),
        (401, AuthenticationError, ExitCode.UNREACHABLE),
        (403, AuthenticationError, ExitCode.UNREACHABLE),
        (404, NotFoundError, ExitCode.NOT_FOUND),
        (409, ConflictError, ExitCode.FAILED),
        (413, TooLargeError, ExitCode.USAGE),
        (429, UnavailableError, ExitCode.UNREACHABLE),
        (500, OperationFailedError, ExitCode.FAILED),
        (503, UnavailableError, ExitCode.UNREACHABLE),
    ],
)
def test_each_status_is_an_error_with_the_services_words_and_an_exit_code(
    status: int, error: type[WaybillError], code: ExitCode
) -> None:
    with pytest.raises(error, match="what is wrong") as caught:
        client_of(refusing(status)).batch("batch_1")
    assert exit_code(caught.value) is code


def test_nobody_there_is_unreachable() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(UnavailableError, match="not reachable"):
        client_of(refuse).models()


def test_a_busy_service_is_asked_again_as_late_as_it_says() -> None:
    seen: list[str] = []

    def busy_once(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        if len(seen) == 1:
            return httpx.Response(503, headers={"retry-after": "2"})
        return httpx.Response(200, json={"id": "batch_1"})

    slept: list[float] = []
    assert client_of(busy_once, slept=slept).create_batch("file-1", metadata={}) == {"id": "batch_1"}
    assert (seen, slept) == (["/v1/batches"] * 2, [2.0])


def test_a_lost_answer_is_asked_for_again_and_then_given_up() -> None:
    tries: list[str] = []

    def cut(request: httpx.Request) -> httpx.Response:
        tries.append(request.url.path)
        raise httpx.ReadError("cut", request=request)

    with pytest.raises(UnavailableError):
        client_of(cut).job("job_1")
    assert len(tries) == 3


@pytest.mark.parametrize("lost", [httpx.ReadError, httpx.RemoteProtocolError, 502, 503, 504])
def test_a_create_whose_answer_was_lost_is_not_sent_again(lost: type[httpx.TransportError] | int) -> None:
    tries: list[str] = []

    def lose(request: httpx.Request) -> httpx.Response:
        tries.append(request.url.path)
        if isinstance(lost, int):
            return httpx.Response(lost)
        raise lost("lost", request=request)

    with pytest.raises(UnavailableError):
        client_of(lose).create_batch("file-1", metadata={})
    assert len(tries) == 1


@pytest.mark.parametrize("identifier", ["", "../keys", "a/b", "a?b", "a b", "a%2fb"])
def test_an_id_never_becomes_another_route(identifier: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not an id"):
        client_of(refusing(500)).batch(identifier)


def test_a_page_leads_to_the_next_until_there_is_no_more() -> None:
    def pages(request: httpx.Request) -> httpx.Response:
        after = request.url.params.get("after")
        ids = {None: ["dl_1", "dl_2"], "dl_2": ["dl_3"]}[after]
        return httpx.Response(
            200, json={"data": [{"id": one} for one in ids], "has_more": after is None, "last_id": ids[-1]}
        )

    letters = client_of(pages).dead_letters({"model": "m"})
    assert [letter["id"] for letter in letters] == ["dl_1", "dl_2", "dl_3"]


def test_lines_end_at_line_feeds_and_nowhere_else() -> None:
    first, second = {"text": "a\u2028b"}, {"text": "c\r"}
    raw = "\n".join(json.dumps(line, ensure_ascii=False) for line in (first, second)).encode()
    lines = client_of(lambda _: httpx.Response(200, content=raw)).file_documents("file-1")
    assert list(lines) == [first, second]


def test_the_key_travels_and_the_file_arrives_whole() -> None:
    def accept(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer k"
        body = request.read()
        assert b'name="purpose"\r\n\r\nbatch' in body
        assert b'filename="in.jsonl"' in body
        assert b'{"custom_id":"1"}' in body
        return httpx.Response(200, json={"id": "file-1"})

    assert client_of(accept).upload(io.BytesIO(b'{"custom_id":"1"}\n'), name="in.jsonl") == {"id": "file-1"}


def test_an_answer_that_is_no_json_says_so() -> None:
    with pytest.raises(UnavailableError, match="is this Waybill"):
        client_of(lambda _: httpx.Response(200, text="<html>")).models()


def test_a_probe_takes_any_status_and_never_asks_twice() -> None:
    asked: list[str] = []

    def unready(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503, json={"ready": False})

    assert client_of(unready).probe("/readyz") == (503, {"ready": False})
    assert asked == ["/readyz"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost"])
def test_this_machine_is_loopback(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize("url", ["http://10.0.0.1", "https://localhost.example", "http://127.0.0.1.example"])
def test_another_machine_is_not_loopback(url: str) -> None:
    assert not is_loopback(url)
