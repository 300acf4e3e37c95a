"""The API as the commands see it: one method per route, HTTP mapped to the project's error tree in one place.

A question is asked again where the service is busy or its answer was lost. What changes something is sent again only where
the service said that it was not taken: after a lost answer a second try could make a second object.
"""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Self, TypeAlias

import httpx

from router_service.cli.exits import OperationFailedError
from router_service.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Json: TypeAlias = dict[str, Any]

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
UPLOAD_TIMEOUT = httpx.Timeout(600.0, connect=5.0)
LONG_POLL_S = 30
PAGE = 100
TRIES = 3
BUSY = frozenset({408, 429, 502, 503, 504})
MAX_BACKOFF_S = 10.0
ERRORS: Mapping[int, type[InvalidRequestError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    413: TooLargeError,
}


class ApiClient:
    """A connection to one service. `transport` is where a test puts its own server."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str | None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT,
            # Sooner than the service lets go: a POST on a connection that it just closed would be lost.
            limits=httpx.Limits(keepalive_expiry=2.0),
            transport=transport,
            trust_env=not is_loopback(self.base_url),
            # Plain HTTP needs no certificates, and reading them takes longer than a status does.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if base_url.startswith("http:") else True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # Files and batches

    def upload(self, file: IO[bytes], *, name: str) -> Json:
        """Store a JSONL file of requests. Sent once: a stream cannot be rewound in the middle."""
        with self._border():
            answer = self._http.post(
                "/v1/files",
                data={"purpose": "batch"},
                files={"file": (name, file, "application/jsonl")},
                timeout=UPLOAD_TIMEOUT,
            )
            return _document(answer)

    def delete_file(self, file_id: str) -> None:
        self._send(self._http.build_request("DELETE", f"/v1/files/{_segment(file_id)}"))

    def create_batch(self, file_id: str, *, metadata: Mapping[str, str], goal: Json | None = None) -> Json:
        """`goal`: its budget_usd, finish_within_s and router, where they are given."""
        body = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": dict(metadata),
            **(goal or {}),
        }
        return self._post("/v1/batches", body)

    def batch(self, batch_id: str) -> Json:
        return self._get(f"/v1/batches/{_segment(batch_id)}")

    def batch_plan(self, batch_id: str) -> Json:
        return self._get(f"/v1/batches/{_segment(batch_id)}/plan")

    def quote(self, wanted: Json) -> Json:
        return self._post("/v1/batches/quote", wanted)

    def read_quote(self, quote_id: str) -> Json:
        return self._get(f"/v1/batches/quote/{_segment(quote_id)}")

    def newest_batches(self, limit: int) -> list[Json]:
        found: list[Json] = self._get("/v1/batches", {"limit": limit})["data"]
        return found

    def cancel_batch(self, batch_id: str) -> Json:
        return self._post(f"/v1/batches/{_segment(batch_id)}/cancel", {})

    def progress(self, batch_id: str) -> Json:
        return self._get(f"/v1/batches/{_segment(batch_id)}/progress")

    def file_chunks(self, file_id: str) -> Iterator[bytes]:
        """The bytes of a file as they arrive."""
        with self._border(), self._http.stream("GET", f"/v1/files/{_segment(file_id)}/content") as answer:
            if answer.is_error:
                answer.read()
            _refuse(answer)
            yield from answer.iter_bytes()

    def file_lines(self, file_id: str) -> Iterator[bytes]:
        """The lines of a JSONL file, one at a time. They end at a line feed and nowhere else."""
        rest = b""
        for chunk in self.file_chunks(file_id):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line for line in lines if line.strip())
        if rest.strip():
            yield rest

    def file_documents(self, file_id: str) -> Iterator[Json]:
        return (json.loads(line) for line in self.file_lines(file_id))

    # Jobs

    def job(self, job_id: str, *, wait_s: int = 0) -> Json:
        return self._get(f"/v1/jobs/{_segment(job_id)}", {"wait": wait_s} if wait_s else {})

    def jobs(self, *, batch_id: str) -> Iterator[Json]:
        return self._pages("/v1/jobs", {"batch_id": batch_id})

    def cancel_job(self, job_id: str) -> Json:
        return self._post(f"/v1/jobs/{_segment(job_id)}/cancel", {})

    def explain(self, job_id: str) -> Json:
        return self._get(f"/v1/jobs/{_segment(job_id)}/explain")

    # Decisions

    def replay_decisions(self, which: Json) -> Json:
        return self._post("/v1/decisions/replay", which)

    def what_if(self, policy: Json, which: Json) -> Json:
        return self._post("/v1/decisions/what-if", {**which, "policy": policy})

    def shadow(self, which: Json) -> Json:
        return self._post("/v1/decisions/shadow", which)

    # Dead letters

    def dead_letters(self, filters: Mapping[str, str]) -> Iterator[Json]:
        return self._pages("/v1/dead-letters", filters)

    def dead_letter(self, letter_id: str) -> Json:
        return self._get(f"/v1/dead-letters/{_segment(letter_id)}")

    def replay(self, selection: Json) -> Iterator[Json]:
        """Replay what is selected; one answer for each part of it, where it is much."""
        return self._parts("/v1/dead-letters/replay", selection)

    def discard(self, selection: Json) -> Iterator[Json]:
        return self._parts("/v1/dead-letters/discard", selection)

    # The service

    def models(self) -> list[Json]:
        found: list[Json] = self.model_list()["data"]
        return found

    def model_list(self) -> Json:
        """All models, and beside them what was mended of late."""
        return self._get("/v1/models")

    def queue(self) -> Json:
        """What waits in line, in Postgres."""
        return self._get("/v1/queue")

    def probe(self, path: str) -> tuple[int, Json]:
        """Ask once and take any status as an answer. Raises UnavailableError where nobody answers."""
        with self._border():
            answer = self._http.get(path, timeout=5.0)
            try:
                body = answer.json()
            except ValueError:
                body = {}
            return answer.status_code, body if isinstance(body, dict) else {}

    def _pages(self, path: str, filters: Mapping[str, str]) -> Iterator[Json]:
        after: dict[str, str] = {}
        while True:
            page = self._get(path, {"limit": PAGE, **filters, **after})
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            after = {"after": page.get("last_id") or page["data"][-1]["id"]}

    def _parts(self, path: str, body: Json) -> Iterator[Json]:
        """Ask until nothing is left. The service's `until` keeps what fails meanwhile from coming round again."""
        while True:
            answer = self._post(path, body)
            yield answer
            if not answer.get("has_more"):
                return
            body = {**body, "until": answer["until"]}

    def _get(self, path: str, params: Mapping[str, str | int] | None = None) -> Json:
        # The server may hold a long poll for as long as it was asked to.
        held_s = float((params or {}).get("wait", 0))
        timeout = httpx.Timeout(30.0 + held_s, connect=5.0)
        request = self._http.build_request("GET", path, params=params, timeout=timeout)
        return self._send(request)

    def _post(self, path: str, body: Json) -> Json:
        return self._send(self._http.build_request("POST", path, json=body))

    def _send(self, request: httpx.Request) -> Json:
        """Send up to three times, where another try can do no harm."""
        is_question = request.method == "GET"
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            with self._border():
                try:
                    answer = self._http.send(request)
                except (httpx.ReadError, httpx.RemoteProtocolError):
                    if last or not is_question:
                        raise
                    self._sleep(_backoff_s(attempt, None))
                    continue
                if last or not (answer.status_code in BUSY if is_question else _was_not_taken(answer)):
                    return _document(answer)
            self._sleep(_backoff_s(attempt, answer.headers.get("retry-after")))
        raise AssertionError("unreachable: the last try returns or raises")

    @contextmanager
    def _border(self) -> Iterator[None]:
        """Foreign errors become ours here and nowhere else."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise UnavailableError("api", f"{self.base_url} did not answer in time") from error
        except httpx.UnsupportedProtocol as error:
            raise InvalidRequestError(
                f"--url {self.base_url}: {error}; http://HOST:PORT would be right", param="url"
            ) from error
        except httpx.TransportError as error:
            raise UnavailableError("api", f"{self.base_url} is not reachable: {error}") from error


def is_loopback(url: str) -> bool:
    """Whether the address is this machine: no proxy and no other key belongs in between."""
    host = httpx.URL(url).host
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _was_not_taken(answer: httpx.Response) -> bool:
    """Whether the service refused before it did anything. A 503 says so by telling when to come back."""
    return answer.status_code == 429 or (answer.status_code == 503 and "retry-after" in answer.headers)


def _document(answer: httpx.Response) -> Json:
    _refuse(answer)
    try:
        body = answer.json()
    except ValueError as error:
        raise UnavailableError("api", f"{answer.url} did not answer with JSON: is this Waybill?") from error
    if not isinstance(body, dict):
        raise UnavailableError("api", f"{answer.url} did not answer with a JSON object: is this Waybill?")
    return body


def _refuse(answer: httpx.Response) -> None:
    """Raise what the status means, with the service's own message."""
    status = answer.status_code
    if answer.is_success:
        return
    message, param, code = _reason(answer)
    if status in BUSY:
        raise UnavailableError("api", f"{answer.url.path}: HTTP {status}: {message}")
    if status >= 500:
        raise OperationFailedError(f"{answer.url.path}: HTTP {status}: {message}; its log says why")
    raise ERRORS.get(status, InvalidRequestError)(message, param=param, code=code)


def _reason(answer: httpx.Response) -> tuple[str, str | None, str | None]:
    try:
        error = answer.json()["error"]
        return str(error["message"]), error.get("param"), error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {answer.status_code} {answer.reason_phrase}", None, None


def _segment(identifier: str) -> str:
    """An id as one path segment: nothing typed at a prompt may name another route."""
    if not identifier or not all(letter.isalnum() or letter in "-_" for letter in identifier):
        raise InvalidRequestError(f"{identifier!r} is not an id: letters, digits, '-' and '_' would be right")
    return identifier


def _backoff_s(attempt: int, retry_after: str | None) -> float:
    if retry_after is not None and retry_after.replace(".", "", 1).isdigit():
        return min(float(retry_after), MAX_BACKOFF_S)
    return 0.5 * 2.0**attempt
