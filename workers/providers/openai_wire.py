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
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic_core import from_json

from router_service.catalog.models import ErrorKind
from router_service.chat.request import ROUTING_FIELDS
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome
from router_service.policy.replies import ErrorReply, kind_of, outcome_of
from workers.providers.rate_headers import read_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_service.catalog.models import Model

MOST_BYTES = 32_000_000
MOST_TOKENS = 2**31 - 1  # what the store's columns hold
CONNECT_S = 10.0
KEEP_ALIVE_S = 30.0
MOST_RETRY_AFTER_S = 3600.0
# Identifiers such as rate_limit_exceeded, and nothing that could be a sentence: what a provider calls a code may quote a prompt.
CODE = re.compile(r"[A-Za-z]{2,40}([_.][a-z0-9]{1,20}){0,6}")
REFUSED = "content_filter"  # the finish reason of an answer that the provider withheld


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
        for field in ROUTING_FIELDS:
            request.pop(field, None)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        try:
            async with self._client.stream(
                "POST", f"{model.api_base}/chat/completions", content=json.dumps(request), headers=headers
            ) as response:
                content = await _read(response)
        except (httpx.HTTPError, aiohttp.ClientError) as error:  # the transport does not map all of aiohttp's
            return Failed(code="connection_error", message=f"the call to {model.id} broke: {type(error).__name__}")
        now_s = time.time()
        if content is None:
            seen = read_limits(response.headers, now_s=now_s)
            return Failed(code="answer_too_large", message=f"the answer is over {MOST_BYTES} bytes", seen=seen)
        return read_reply(response.status_code, response.headers, content, now_s=now_s)

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
    """Map a reply to its outcome. `now_s` (Unix time) is what dates in headers are held against."""
    outcome = _read_answer(content) if status == 200 else None
    if outcome is None:
        outcome = _read_error(status, content, told_s=retry_after_s(headers, now_s=now_s))
    return replace(outcome, seen=read_limits(headers, now_s=now_s))


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` (seconds or a date, RFC 9110, section 10.2.3).

    None where neither says anything.
    """
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
    return None


def _read_answer(content: bytes) -> Outcome | None:
    """What a reply of status 200 holds; None where it is an error after all."""
    answer = _parse(content)
    if answer is None:
        return Failed(code="bad_answer", message="the answer is not a JSON object", status_code=200)
    if answer.get("error"):
        return None
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not all(_is_choice(choice) for choice in choices):
        return Failed(code="bad_answer", message="the answer has no whole choice", status_code=200)
    body = _line(answer)
    if body is None:
        return Failed(code="bad_answer", message="the answer has numbers that JSON does not have", status_code=200)
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens_in = _count(counts.get("prompt_tokens"), least=1)
    # A server that counts nothing says 0 of both.
    tokens_out = _count(counts.get("completion_tokens"), least=1 if tokens_in is None else 0)
    return Answered(body=body, tokens_in=tokens_in, tokens_out=tokens_out)


def _count(value: object, *, least: int) -> int | None:
    """A count that can be true; None where the provider did not say, or said something that no call can use."""
    return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST_TOKENS else None


def _is_choice(choice: object) -> bool:
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        return False
    message = choice["message"]
    if choice.get("finish_reason") == REFUSED:
        return True  # a refusal is an answer, with or without words
    return any(message.get(part) for part in ("content", "tool_calls", "function_call", "refusal", "audio"))


def _read_error(status: int, content: bytes, *, told_s: float | None) -> Outcome:
    """An error's outcome. Its words may quote the prompt: they are looked at, and kept only in the body of a refused request."""
    error = _error_within(content)
    inner = error.get("innererror")  # Azure's
    told = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    given = [value for value in told if isinstance(value, str)]
    words = error.get("message")
    reply = ErrorReply(
        status=_status_within(error) if status == 200 else status,
        codes=frozenset(value.lower() for value in given),
        words=words.lower() if isinstance(words, str) else "",
        retry_after_s=told_s,
    )
    code = next((value for value in given if CODE.fullmatch(value)), "provider_error")
    message = f"the provider answered with the error {'it did not name' if code == 'provider_error' else code}"
    if reply.status < 400 and kind_of(reply) is ErrorKind.INTERNAL:
        code = "error_in_answer" if status == 200 else "unexpected_status"
        message = f"status {status} with an error in the body" if status == 200 else f"status {status} is no answer"
    body = _one_line(content) or json.dumps({"error": {"message": message, "code": code}})
    return outcome_of(reply, code=code, message=message, body=body)


def _error_within(content: bytes) -> dict[str, Any]:
    """The error object of a reply: under `error`, or the whole (vLLM), also within a list (Google). Empty where there is none."""
    whole = _load(content)
    whole = whole[0] if isinstance(whole, list) and whole else whole
    if not isinstance(whole, dict):
        return {}
    error = whole if whole.get("object") == "error" else whole.get("error")
    return error if isinstance(error, dict) else {}


def _status_within(error: Mapping[str, Any]) -> int:
    """The status that an error within a 200 names, as OpenRouter's do; 200 where it names none."""
    status = error.get("code")
    return status if isinstance(status, int) and not isinstance(status, bool) and 400 <= status < 600 else 200


def _parse(content: bytes) -> dict[str, Any] | None:
    value = _load(content)
    return value if isinstance(value, dict) else None


def _load(content: bytes) -> Any:
    """The JSON value; None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


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
