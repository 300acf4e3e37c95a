"""Every row of the table of replies, from what providers really answer to what becomes of the job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.catalog.models import ErrorKind, Retries
from router_service.jobs.spec import Fallback
from router_service.policy.after import DeadLetter, Fail, Next, RetryLater, after
from router_service.policy.outcomes import Failed, ModelUnfit, Refused, Throttled, Verdict
from router_service.policy.replies import ROWS, ErrorReply, Row, kind_of, outcome_of

RETRIES = Retries(tries=3, base_s=1.0, most_s=10.0)
RETRY = RetryLater(delay_s=0.5, counted=True)
WAIT = RetryLater(delay_s=5.25, counted=False)
OTHER = DeadLetter(kind=Fallback.GENERAL)
LONGER = DeadLetter(kind=Fallback.CONTEXT_WINDOW)

replies = st.builds(
    ErrorReply,
    status=st.integers(100, 599),
    codes=st.frozensets(st.sampled_from(sorted({code for row in ROWS for code in row.codes} | {"other"})), max_size=2),
    words=st.text(max_size=20) | st.sampled_from(sorted({phrase for row in ROWS for phrase in row.phrases})),
    retry_after_s=st.none() | st.floats(0, 3600),
)


def fitting(row: Row) -> list[ErrorReply]:
    """Replies that show each of the signs that a row looks for, one at a time."""
    status = min(row.statuses) if row.statuses is not None else 418
    return [
        *(ErrorReply(status=status, codes=frozenset({code})) for code in sorted(row.codes)),
        *(ErrorReply(status=status, words=f"so: {phrase}, sorry") for phrase in row.phrases),
        *([ErrorReply(status=status, retry_after_s=1.0)] if row.told_to_wait else []),
        *(ErrorReply(status=each) for each in sorted(row.statuses or ()) if not (row.codes or row.phrases)),
    ]


@pytest.mark.parametrize("row", ROWS, ids=[f"{number} {row.kind}" for number, row in enumerate(ROWS)])
def test_no_row_is_hidden_by_an_earlier_one(row: Row) -> None:
    assert fitting(row)
    assert [kind_of(reply) for reply in fitting(row)] == [row.kind] * len(fitting(row))


def reply(status: int, *codes: str, words: str = "", wait_s: float | None = None) -> ErrorReply:
    return ErrorReply(status=status, codes=frozenset(codes), words=words, retry_after_s=wait_s)


@pytest.mark.parametrize(
    ("said", "kind", "outcome", "verdict", "follows"),
    [
        # the request
        (reply(400), "BadRequestError", Refused, None, Fail()),
        (reply(400, "invalid_value", "invalid_request_error"), "BadRequestError", Refused, None, Fail()),
        (reply(422), "BadRequestError", Refused, None, Fail()),
        # the content
        (reply(400, "content_filter"), "ContentPolicyViolationError", Refused, None, Fail()),
        (reply(400, "content_policy_violation"), "ContentPolicyViolationError", Refused, None, Fail()),
        (reply(400, "responsibleaipolicyviolation"), "ContentPolicyViolationError", Refused, None, Fail()),
        (reply(500, "content_filter"), "ContentPolicyViolationError", Refused, None, Fail()),
        (reply(200, "content_filter"), "ContentPolicyViolationError", Refused, None, Fail()),
        (
            reply(400, "invalid_request_error", words="output blocked by content filtering policy"),
            "ContentPolicyViolationError",
            Refused,
            None,
            Fail(),
        ),
        (reply(403, words="your input was flagged"), "ContentPolicyViolationError", Refused, None, Fail()),
        # what a message says beside a refusal leads nowhere
        (
            reply(400, "content_filter", words="maximum context length; api key; does not support"),
            "ContentPolicyViolationError",
            Refused,
            None,
            Fail(),
        ),
        # too long
        (reply(400, "context_length_exceeded"), "ContextWindowExceededError", ModelUnfit, None, LONGER),
        (
            reply(400, "badrequesterror", words="this model's maximum context length is 4096 tokens"),
            "ContextWindowExceededError",
            ModelUnfit,
            None,
            LONGER,
        ),
        (reply(500, "exceed_context_size_error"), "ContextWindowExceededError", ModelUnfit, None, LONGER),
        (reply(413), "ContextWindowExceededError", ModelUnfit, None, LONGER),
        (reply(413, "rate_limit_exceeded"), "ContextWindowExceededError", ModelUnfit, None, LONGER),
        (
            reply(
                429,
                "rate_limit_exceeded",
                words="request too large for gpt-x on tokens per min: limit 10, requested 12",
            ),
            "ContextWindowExceededError",
            ModelUnfit,
            None,
            LONGER,
        ),
        # a parameter
        (reply(400, "unsupported_parameter"), "UnsupportedParamsError", ModelUnfit, None, OTHER),
        (reply(400, "unknown_parameter"), "UnsupportedParamsError", ModelUnfit, None, OTHER),
        (reply(400, words="it does not support image inputs"), "UnsupportedParamsError", ModelUnfit, None, OTHER),
        # the account, the key, the model
        (reply(401), "AuthenticationError", ModelUnfit, "failed", OTHER),
        (reply(403), "AuthenticationError", ModelUnfit, "failed", OTHER),
        (reply(400, words="api key not valid"), "AuthenticationError", ModelUnfit, "failed", OTHER),
        (reply(402), "BudgetExceededError", ModelUnfit, "failed", OTHER),
        (reply(429, "insufficient_quota"), "BudgetExceededError", ModelUnfit, "failed", OTHER),
        (reply(400, words="your credit balance is too low"), "BudgetExceededError", ModelUnfit, "failed", OTHER),
        (reply(404), "NotFoundError", ModelUnfit, "failed", OTHER),
        (reply(400, "model_not_found"), "NotFoundError", ModelUnfit, "failed", OTHER),
        (reply(503, "model_not_found", wait_s=3.0), "NotFoundError", ModelUnfit, "failed", OTHER),
        (reply(405), "NotFoundError", ModelUnfit, "failed", OTHER),
        (reply(501), "NotFoundError", ModelUnfit, "failed", OTHER),
        # busy
        (reply(429), "RateLimitError", Throttled, None, WAIT),
        (reply(429, words="you exceeded your current quota"), "RateLimitError", Throttled, None, WAIT),
        (reply(503, wait_s=5.0), "RateLimitError", Throttled, None, WAIT),
        (reply(503, words="the engine is currently overloaded"), "RateLimitError", Throttled, None, WAIT),
        (reply(529, "overloaded_error"), "RateLimitError", Throttled, None, WAIT),
        # the provider
        (reply(408), "TimeoutError", Failed, "failed", RETRY),
        (reply(504), "TimeoutError", Failed, "failed", RETRY),
        (reply(524), "TimeoutError", Failed, "failed", RETRY),
        (reply(500), "InternalServerError", Failed, "failed", RETRY),
        (reply(500, words="overloaded"), "InternalServerError", Failed, "failed", RETRY),
        (reply(502), "InternalServerError", Failed, "failed", RETRY),
        (reply(503), "InternalServerError", Failed, "failed", RETRY),
        (reply(529), "InternalServerError", Failed, "failed", RETRY),
        (reply(409), "InternalServerError", Failed, "failed", RETRY),
        (reply(418), "InternalServerError", Failed, "failed", RETRY),
        (reply(302), "InternalServerError", Failed, "failed", RETRY),
        (reply(200), "InternalServerError", Failed, "failed", RETRY),
        (reply(500, wait_s=7.0), "InternalServerError", Failed, "failed", RetryLater(delay_s=7.5, counted=True)),
    ],
)
def test_what_a_provider_says_decides_what_becomes_of_the_job(
    said: ErrorReply, kind: str, outcome: type, verdict: Verdict, follows: Next
) -> None:
    assert kind_of(said) == kind
    became = outcome_of(said, code="c", message="m", body="{}")
    assert isinstance(became, outcome)
    assert became.verdict == verdict
    assert after(became, tries=0, retries=RETRIES, jitter=0.5) == follows


@given(replies)
def test_whatever_is_said_there_is_one_outcome_of_its_kind(said: ErrorReply) -> None:
    became = outcome_of(said, code="c", message="m", body="{}")
    if not isinstance(became, Throttled):
        assert became.kind is kind_of(said)
    assert became.status_code == said.status or (
        isinstance(became, Refused) and said.status < became.status_code == 400
    )


@given(replies, st.integers(0, 5))
def test_a_refused_content_goes_on_only_where_the_catalog_says_so(said: ErrorReply, tries: int) -> None:
    codes = said.codes | {"content_filter"}
    became = outcome_of(
        ErrorReply(status=said.status, codes=codes, words=said.words, retry_after_s=said.retry_after_s),
        code="c",
        message="m",
        body="{}",
    )
    assert after(became, tries=tries, retries=RETRIES, jitter=0.5) == Fail()
    assert after(became, tries=tries, retries=RETRIES, jitter=0.5, past_refusal=True) == DeadLetter(
        kind=Fallback.CONTENT_POLICY
    )


def test_every_kind_of_error_but_our_own_has_a_row_or_is_what_is_left() -> None:
    assert {row.kind for row in ROWS} == set(ErrorKind) - {ErrorKind.INTERNAL, ErrorKind.NOT_CALLED}
