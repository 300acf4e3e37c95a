"""Reads what the router needs from the body of a chat completion, and refuses a body that no provider would take.

Only what is looked at is checked; every other field goes to the provider as it came.
Source of the contract: OpenAI's chat completions (`messages`, `max_tokens`, `max_completion_tokens`, `tools`, `response_format`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from router_service.chat.tokens import estimate_tokens
from router_service.errors import InvalidRequestError
from router_service.jobs.spec import Feature

if TYPE_CHECKING:
    from router_service.chat.tokens import Count

ROUTING_FIELDS = ("provider", "router")  # for us: no provider gets them
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
PART_FEATURES = {"image_url": Feature.VISION, "input_audio": Feature.AUDIO}
TOKENS_PER_MESSAGE = 4
TOKENS_PER_IMAGE = 800
MOST_CHOICES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatShape:
    """The measures of one chat request. `tokens_out` counts all `choices` (`n`); None where the caller set no limit."""

    model: str
    tokens_in: int
    tokens_out: int | None
    features: tuple[str, ...]
    choices: int = 1


def read_chat(body: object, *, path: str = "body", count: Count = estimate_tokens) -> ChatShape:
    """Check and measure a chat completion's body. Raises InvalidRequestError with the JSON path at fault.

    `count` is for what was written. Tools, whose form before the model nobody tells, are always estimated.
    """
    if not isinstance(body, Mapping):
        raise InvalidRequestError(f"{path} must be an object, got {_kind(body)}", param=path)
    fields = cast("Mapping[str, Any]", body)
    model = fields.get("model")
    if not isinstance(model, str) or not model or "\x00" in model:
        raise InvalidRequestError(f"{path}.model must be the name of a model or 'auto'", param=f"{path}.model")
    if fields.get("stream"):
        raise InvalidRequestError(
            f"{path}.stream must be false or absent: a queued job answers whole", param=f"{path}.stream"
        )
    tokens_in, features = _read_messages(fields.get("messages"), path=f"{path}.messages", count=count)
    if fields.get("tools") or fields.get("functions"):
        features.add(Feature.TOOLS)
        tokens_in += estimate_tokens(str(fields.get("tools") or fields.get("functions")))
    if _wants_schema(fields.get("response_format"), path=f"{path}.response_format"):
        features.add(Feature.JSON_SCHEMA)
    limit, choices = _read_limit(fields, path=path), _read_choices(fields, path=path)
    return ChatShape(
        model=model,
        tokens_in=tokens_in,
        tokens_out=None if limit is None else limit * choices,
        features=tuple(sorted(features)),
        choices=choices,
    )


def _read_messages(messages: object, *, path: str, count: Count) -> tuple[int, set[str]]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise InvalidRequestError(f"{path} must be a list of at least one message", param=path)
    tokens, features = 0, set[str]()
    for index, message in enumerate(messages):
        at = f"{path}[{index}]"
        if not isinstance(message, Mapping):
            raise InvalidRequestError(f"{at} must be an object, got {_kind(message)}", param=at)
        role = message.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise InvalidRequestError(f"{at}.role must be one of {', '.join(sorted(ROLES))}", param=f"{at}.role")
        content = message.get("content")
        if isinstance(content, str):
            tokens += count(content)
        elif isinstance(content, Sequence):
            tokens += _read_parts(content, features, path=f"{at}.content", count=count)
        elif content is not None or role in {"user", "system", "developer"}:
            raise InvalidRequestError(
                f"{at}.content must be a string or a list of parts, got {_kind(content)}",
                param=f"{at}.content",
            )
        tokens += TOKENS_PER_MESSAGE
    return tokens, features


def _read_parts(parts: Sequence[object], features: set[str], *, path: str, count: Count) -> int:
    tokens = 0
    for index, part in enumerate(parts):
        at = f"{path}[{index}]"
        if not isinstance(part, Mapping) or not isinstance(part.get("type"), str):
            raise InvalidRequestError(f"{at} must be an object with a `type`", param=at)
        kind = part["type"]
        if kind in PART_FEATURES:
            features.add(PART_FEATURES[kind])
            tokens += TOKENS_PER_IMAGE
        elif kind in {"text", "refusal"}:
            text = part.get(kind)
            if not isinstance(text, str):
                raise InvalidRequestError(f"{at}.{kind} must be a string, got {_kind(text)}", param=f"{at}.{kind}")
            tokens += count(text)
        else:
            known = ", ".join(("text", "refusal", *PART_FEATURES))
            raise InvalidRequestError(f"{at}.type {kind[:40]!r} is not one of {known}", param=f"{at}.type")
    return tokens


def _read_limit(fields: Mapping[str, Any], *, path: str) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = fields.get(name)
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000_000:
            raise InvalidRequestError(
                f"{path}.{name} must be a whole number from 1 to 10000000", param=f"{path}.{name}"
            )
        return limit
    return None


def _read_choices(fields: Mapping[str, Any], *, path: str) -> int:
    choices = fields.get("n")
    if choices is None:
        return 1
    if isinstance(choices, bool) or not isinstance(choices, int) or not 1 <= choices <= MOST_CHOICES:
        raise InvalidRequestError(f"{path}.n must be a whole number from 1 to {MOST_CHOICES}", param=f"{path}.n")
    return choices


def _wants_schema(response_format: object, *, path: str) -> bool:
    if response_format is None:
        return False
    if not isinstance(response_format, Mapping) or not isinstance(response_format.get("type"), str):
        raise InvalidRequestError(f"{path} must be an object with a `type`", param=path)
    return bool(response_format["type"] == "json_schema")


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__
