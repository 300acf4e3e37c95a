"""One table: what a provider replied (status, codes, words) -> kind of error -> outcome.

The first row that fits decides, so what is told by a code comes before what only its status tells. The words of a message
are looked at and never kept: they may quote the prompt. Sources: the error references of OpenAI, Azure, Anthropic,
Google (its OpenAI wire), Groq and OpenRouter, and what vLLM and llama.cpp answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from router_service.catalog.models import ErrorKind
from router_service.policy.outcomes import Failed, ModelUnfit, Refused, Throttled

DEFAULT_RETRY_AFTER_S = 5.0
THROTTLED = "rate_limit_exceeded"
REQUEST_AT_FAULT = frozenset({400, 422})
BUSY = frozenset({503, 529})


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """An error as a provider told it. `codes` and `words` in lower case; `retry_after_s`: None where it did not say."""

    status: int
    codes: frozenset[str] = frozenset()
    words: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Fits a reply with one of `statuses` (None: any) that has one of the codes or phrases, or is `told_to_wait`.

    A row that asks for none of these fits by its status alone.
    """

    kind: ErrorKind
    statuses: frozenset[int] | None = None
    codes: frozenset[str] = frozenset()
    phrases: tuple[str, ...] = ()
    told_to_wait: bool = False

    def fits(self, reply: ErrorReply) -> bool:
        if self.statuses is not None and reply.status not in self.statuses:
            return False
        return (
            not (self.codes or self.phrases or self.told_to_wait)
            or not self.codes.isdisjoint(reply.codes)
            or any(phrase in reply.words for phrase in self.phrases)
            or (self.told_to_wait and reply.retry_after_s is not None)
        )


ROWS = (
    # The content was refused. First of all: nothing that a message says beside it may lead around a refusal.
    Row(
        kind=ErrorKind.CONTENT_POLICY,
        codes=frozenset(
            {
                "content_filter",
                "content_filter_error",
                "content_policy_violation",
                "responsibleaipolicyviolation",
                "invalid_prompt",
                "moderation_blocked",
            }
        ),
    ),
    Row(
        kind=ErrorKind.CONTENT_POLICY,
        statuses=REQUEST_AT_FAULT | {200},
        phrases=(
            "content management policy",
            "content filtering policy",
            "content policy",
            "usage policy",
            "safety system",
        ),
    ),
    Row(kind=ErrorKind.CONTENT_POLICY, statuses=REQUEST_AT_FAULT | {403}, phrases=("was flagged",)),
    # The account has no money or quota left. Google says "exceeded your current quota" of a rate too: only codes count.
    Row(
        kind=ErrorKind.BUDGET,
        codes=frozenset(
            {
                "insufficient_quota",
                "insufficient_balance",
                "insufficient_user_quota",
                "billing_hard_limit_reached",
                "billing_not_active",
                "billing_error",
            }
        ),
    ),
    Row(kind=ErrorKind.BUDGET, statuses=REQUEST_AT_FAULT | {403}, phrases=("credit balance",)),
    Row(kind=ErrorKind.BUDGET, statuses=frozenset({402})),
    # Too long for this model; also a request that is larger than all that a minute allows, which no waiting mends.
    Row(
        kind=ErrorKind.CONTEXT_WINDOW,
        codes=frozenset(
            {
                "context_length_exceeded",
                "context_window_exceeded",
                "exceed_context_size_error",
                "string_above_max_length",
                "request_too_large",
            }
        ),
    ),
    Row(
        kind=ErrorKind.CONTEXT_WINDOW,
        statuses=REQUEST_AT_FAULT,
        phrases=(
            "context length",
            "context limit",
            "context size",
            "context window",
            "exceeds the maximum number of tokens",
            "input tokens exceed",
            "input is too long",
            "prompt is too long",
            "too many tokens",
        ),
    ),
    Row(kind=ErrorKind.CONTEXT_WINDOW, statuses=frozenset({429}), phrases=("request too large",)),
    Row(kind=ErrorKind.CONTEXT_WINDOW, statuses=frozenset({413})),
    # The key.
    Row(
        kind=ErrorKind.AUTHENTICATION,
        codes=frozenset({"invalid_api_key", "authentication_error", "account_deactivated"}),
    ),
    Row(kind=ErrorKind.AUTHENTICATION, statuses=REQUEST_AT_FAULT, phrases=("api key",)),
    Row(kind=ErrorKind.AUTHENTICATION, statuses=frozenset({401, 403, 407})),
    # No such model; a model that does not know a parameter.
    Row(kind=ErrorKind.NOT_FOUND, codes=frozenset({"model_not_found", "model_not_available", "deploymentnotfound"})),
    Row(kind=ErrorKind.NOT_FOUND, statuses=frozenset({404, 405, 410, 501})),
    Row(
        kind=ErrorKind.UNSUPPORTED,
        codes=frozenset(
            {
                "unsupported_parameter",
                "unsupported_value",
                "unsupported_model",
                "unknown_parameter",
                "unsupported_feature",
            }
        ),
    ),
    Row(
        kind=ErrorKind.UNSUPPORTED,
        statuses=REQUEST_AT_FAULT,
        phrases=("does not support", "is not supported with this model", "is not a multimodal model"),
    ),
    # Busy, or we were too fast.
    Row(kind=ErrorKind.RATE_LIMIT, statuses=frozenset({429})),
    Row(
        kind=ErrorKind.RATE_LIMIT,
        statuses=BUSY,
        codes=frozenset({"overloaded_error", "overloaded", "engine_overloaded", "slow_down"}),
        phrases=("overloaded",),
        told_to_wait=True,
    ),
    # 522 and 524 are a CDN's words for an origin that did not answer in time.
    Row(kind=ErrorKind.TIMEOUT, statuses=frozenset({408, 504, 522, 524})),
    Row(kind=ErrorKind.BAD_REQUEST, statuses=REQUEST_AT_FAULT),
)


def kind_of(reply: ErrorReply) -> ErrorKind:
    """The kind of error of a reply that is no answer. What no row knows is a fault of the provider's."""
    return next((row.kind for row in ROWS if row.fits(reply)), ErrorKind.INTERNAL)


def outcome_of(reply: ErrorReply, *, code: str, message: str, body: str) -> Throttled | Failed | ModelUnfit | Refused:
    """The outcome of such a reply. `code` and `message` are kept as evidence, `body` as the answer of a refused request."""
    kind, status = kind_of(reply), reply.status
    match kind:
        case ErrorKind.RATE_LIMIT:
            wait_s = DEFAULT_RETRY_AFTER_S if reply.retry_after_s is None else reply.retry_after_s
            code = THROTTLED if status == 429 else code  # whatever its provider calls it
            return Throttled(retry_after_s=wait_s, status_code=status, code=code, message=message)
        case ErrorKind.BAD_REQUEST | ErrorKind.CONTENT_POLICY:
            # An error within a 200 is none to those who read the status.
            return Refused(code=code, message=message, status_code=max(status, 400), body=body, kind=kind)
        case ErrorKind.TIMEOUT | ErrorKind.INTERNAL:
            asked_s = reply.retry_after_s or 0.0
            return Failed(code=code, message=message, status_code=status, kind=kind, retry_after_s=asked_s)
        case _:
            return ModelUnfit(code=code, message=message, status_code=status, kind=kind)
