"""The OpenAI wire over HTTP: api.openai.com, or any server that speaks it.

Replies are not trusted: only a whole, well-formed answer is an answer.

httpx's API over aiohttp's transport, which costs a twentieth of httpx's own pool at 64 calls in flight (docs/decisions/0003).
"""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic_core import from_json

from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused, Throttled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_service.catalog.models import Model

MOST_BYTES = 32_000_000
MOST_TOKENS = 2**31 - 1  # what the store's columns hold
CONNECT_S = 10.0
KEEP_ALIVE_S = 30.0
DEFAULT_RETRY_AFTER_S = 5.0
MOST_RETRY_AFTER_S = 3600.0
MODEL_UNFIT = frozenset({401, 402, 403, 404, 405, 501})
REQUEST_AT_FAULT = frozenset({400, 413, 422})
# Identifiers such as rate_limit_exceeded, and nothing that could be a sentence: what a provider calls a code may quote a prompt.
CODE = re.compile(r"[A-Za-z]{2,40}([_.][a-z0-9]{1,20}){0,6}")
OTHER_MODEL_MAY = frozenset(
    {"context_length_exceeded", "model_not_found", "unsupported_parameter", "unsupported_value"}
)


class OpenAIWireAdapter:
    """One client for all hosts. No redirects, no proxies from the environment: a key goes to the catalog's host alone."""

    def __init__(self, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            transport=transport or _transport(),
            cookies=CookieJar(
                policy=DefaultCookiePolicy(allowed_domains=())
            ),  # calls of different tenants share the client
            timeout=httpx.Timeout(None, connect=CONNECT_S),  # the worker bounds the whole call
            follow_redirects=False,
            trust_env=False,
        )

    async def complete(self, model: Model, body: str, *, key: str | None, attempt: int) -> Outcome:  # noqa: ARG002
        if model.api_key is not None and key is None:
            return ModelUnfit(code="no_api_key", message=f"this worker has no key for model {model.id}")
        request = json.loads(body) | {"model": model.upstream}
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        try:
            async with self._client.stream(
                "POST", f"{model.api_base}/chat/completions", content=json.dumps(request), headers=headers
            ) as response:
                content = await _read(response)
        except (httpx.HTTPError, aiohttp.ClientError) as error:  # the transport does not map all of aiohttp's
            return Failed(code="connection_error", message=f"the call to {model.id} broke: {type(error).__name__}")
        if content is None:
            return Failed(code="answer_too_large", message=f"the answer is over {MOST_BYTES} bytes")
        return read_reply(response.status_code, response.headers, content, now_s=time.time())

    async def close(self) -> None:
        await self._client.aclose()


def _transport() -> AiohttpTransport:
    """Aiohttp without its own limit of 100 connections (the catalog's slots are the limit) and without its cookies."""
    context = httpx.create_ssl_context()

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=context)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return AiohttpTransport(verify=context, client=session)


async def _read(response: httpx.Response) -> bytes | None:
    """The decoded body; None once it is over the cap."""
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > MOST_BYTES:
            return None
    return bytes(content)


def read_reply(status: int, headers: Mapping[str, str], content: bytes, *, now_s: float) -> Outcome:
    """Map a reply to its outcome. `now_s` (Unix time) is what a Retry-After date is held against."""
    if status == 200:
        return _read_answer(content)
    code, message = _read_error(content)
    if status == 429 and code != "insufficient_quota":
        return Throttled(retry_after_s=retry_after_s(headers, now_s=now_s), message=message)
    if status in REQUEST_AT_FAULT and code not in OTHER_MODEL_MAY:
        body = _one_line(content) or json.dumps({"error": {"message": message, "code": code}})
        return Refused(code=code, message=message, status_code=status, body=body)
    if status in MODEL_UNFIT or status in REQUEST_AT_FAULT or status == 429:
        return ModelUnfit(code=code, message=message, status_code=status)
    return Failed(code=code if status >= 400 else "unexpected_status", message=message, status_code=status)


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (seconds or a date, RFC 9110, section 10.2.3)."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            wait_s = float(value) * scale
        except ValueError:
            try:
                wait_s = email.utils.parsedate_to_datetime(value).timestamp() - now_s
            except ValueError:
                continue
        if not math.isnan(wait_s):
            return min(max(wait_s, 0.0), MOST_RETRY_AFTER_S)
    return DEFAULT_RETRY_AFTER_S


def _read_answer(content: bytes) -> Outcome:
    answer = _parse(content)
    if answer is None:
        return Failed(code="bad_answer", message="the answer is not a JSON object", status_code=200)
    if answer.get("error"):
        return Failed(code="error_in_answer", message="status 200 with an error in the body", status_code=200)
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not all(_is_choice(choice) for choice in choices):
        return Failed(code="bad_answer", message="the answer has no whole choice", status_code=200)
    body = _line(answer)
    if body is None:
        return Failed(code="bad_answer", message="the answer has numbers that JSON does not have", status_code=200)
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Answered(
        body=body, tokens_in=_count(counts.get("prompt_tokens")), tokens_out=_count(counts.get("completion_tokens"))
    )


def _count(value: object) -> int:
    """A count that can be true; 0 where the provider did not say, or said something that no call can use."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else 0


def _is_choice(choice: object) -> bool:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return False
    message = choice["message"]
    return any(message.get(part) for part in ("content", "tool_calls", "function_call", "refusal", "audio"))


def _read_error(content: bytes) -> tuple[str, str]:
    """A stable code and a short message. The provider's own words may quote the prompt, so they are not kept here."""
    error = (_parse(content) or {}).get("error")
    error = error if isinstance(error, dict) else {}
    given = [value for value in (error.get("code"), error.get("type")) if isinstance(value, str)]
    code = next((value for value in given if CODE.fullmatch(value)), None)
    return code or "provider_error", f"the provider answered with the error {code or 'it did not name'}"


def _parse(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _one_line(content: bytes) -> str | None:
    value = _parse(content)
    return None if value is None else _line(value)


def _line(value: dict[str, Any]) -> str | None:
    """One line of JSON that every reader takes; None where that cannot be: NaN, infinities, a depth of hundreds.

    Half a surrogate pair, as where an answer was cut within an emoji, becomes U+FFFD.
    """
    try:
        line = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        line = line.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        from_json(line)
    except (ValueError, RecursionError):
        return None
    return line
