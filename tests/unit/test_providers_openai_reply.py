"""A reply is read without trust: only a whole, well-formed answer is an answer."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused, Seen, Throttled
from router_service.policy.replies import DEFAULT_RETRY_AFTER_S
from workers.providers.openai_wire import MOST_RETRY_AFTER_S, read_reply, retry_after_s

CHOICE = {"index": 0, "message": {"role": "assistant", "content": "ships"}, "finish_reason": "stop"}
GOOD = {"choices": [CHOICE], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
NOW_S = 1_700_000_000.0


def read(status: int, content: object, **headers: str) -> Outcome:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    named = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return read_reply(status, named, raw, now_s=NOW_S)


def error(code: str | None, *, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": "you said: my secret prompt", "type": kind, "code": code}}


def test_a_whole_answer_is_kept_as_one_line_with_its_own_counts() -> None:
    outcome = read(200, json.dumps(GOOD | {"x": "a\nb"}, indent=2).encode())
    assert isinstance(outcome, Answered)
    assert (outcome.tokens_in, outcome.tokens_out) == (7, 3)
    assert "\n" not in outcome.body
    assert json.loads(outcome.body) == GOOD | {"x": "a\nb"}


@pytest.mark.parametrize(
    "message",
    [
        {"content": "text"},
        {"content": None, "tool_calls": [{"id": "1"}]},
        {"content": None, "refusal": "no"},
        {"content": "", "audio": {"id": "1"}},
    ],
)
def test_an_answer_may_be_text_a_tool_call_a_refusal_or_sound(message: dict[str, Any]) -> None:
    assert isinstance(read(200, {"choices": [{"message": message}]}), Answered)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bad_answer"),
        (b"<html><body>It works!</body></html>", "bad_answer"),
        (b"\xff\xfe\x00{", "bad_answer"),
        (b'{"choices": [{"message": {"content": "\xff"}}]}', "bad_answer"),
        (b'{"choices": [{"message": {"content": "cut', "bad_answer"),
        (b"[" * 100_000, "bad_answer"),
        (b"null", "bad_answer"),
        (b"[]", "bad_answer"),
        (b'"text"', "bad_answer"),
        ({}, "bad_answer"),
        ({"choices": []}, "bad_answer"),
        ({"choices": {}}, "bad_answer"),
        ({"choices": [None]}, "bad_answer"),
        ({"choices": [{}]}, "bad_answer"),
        ({"choices": [{"message": None}]}, "bad_answer"),
        ({"choices": [{"message": {}}]}, "bad_answer"),
        ({"choices": [{"message": {"content": ""}}]}, "bad_answer"),
        ({"choices": [{"message": {"content": None}}]}, "bad_answer"),
        ({"choices": [CHOICE, {"message": {"content": ""}}]}, "bad_answer"),
        (GOOD | {"error": {"message": "overloaded"}}, "error_in_answer"),
        (error("server_error"), "error_in_answer"),
    ],
)
def test_status_200_without_a_whole_answer_is_a_failure(content: object, code: str) -> None:
    outcome = read(200, content)
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.status_code) == (code, 200)


@pytest.mark.parametrize(
    "content",
    [
        b'{"choices": [{"message": {"content": "NUL \\u0000 inside"}}]}',
        b'{"choices": [{"message": {"content": "half \\ud800 a pair"}}]}',
        b'{"choices": [{"message": {"content": "' + "\u2028 \U0001f6a2".encode() + b'"}}]}',
        b'{"choices": [{"message": {"content": "x"}, "deep": ' + b"[" * 190 + b"]" * 190 + b"}]}",
        b'{"choices": [{"message": {"content": "x"}, "deep": ' + b"[" * 900 + b"]" * 900 + b"}]}",
        b'{"choices": [{"message": {"content": "x"}, "logprob": NaN}]}',
        b'{"choices": [{"message": {"content": "x"}, "logprob": -Infinity}]}',
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": 1e999}}',
    ],
)
def test_an_answer_that_the_store_takes_stays_json_for_every_reader(content: bytes) -> None:
    outcome = read(200, content)
    if isinstance(outcome, Answered):
        outcome.body.encode()
        from_json(outcome.body, allow_inf_nan=False)
        json.loads(outcome.body, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_an_answer_that_was_cut_within_a_character_is_kept_with_a_replacement() -> None:
    outcome = read(200, b'{"choices": [{"message": {"content": "a ship \\ud83d"}}], "x": "\\ud83d\\udea2"}')
    assert isinstance(outcome, Answered)
    answer = json.loads(outcome.body)
    assert answer["choices"][0]["message"]["content"] == "a ship \ufffd"
    assert answer["x"] == "\U0001f6a2"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        (None, (None, None)),
        (5, (None, None)),
        ([], (None, None)),
        ({}, (None, None)),
        ({"prompt_tokens": "7", "completion_tokens": 3}, (None, 3)),
        ({"prompt_tokens": -1, "completion_tokens": -1}, (None, None)),
        ({"prompt_tokens": 1.5}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": True}, (None, None)),
        ({"prompt_tokens": 2**31, "completion_tokens": 10**30}, (None, None)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, (None, None)),
        ({"prompt_tokens": 7, "completion_tokens": 0}, (7, 0)),
    ],
)
def test_counts_that_cannot_be_are_no_counts(usage: object, counts: tuple[int | None, int | None]) -> None:
    outcome = read(200, {"choices": [CHOICE], "usage": usage})
    assert isinstance(outcome, Answered)
    assert (outcome.tokens_in, outcome.tokens_out) == counts


@pytest.mark.parametrize(
    ("status", "content", "expected"),
    [
        (400, error("invalid_request_error"), Refused),
        (413, error("too_large"), ModelUnfit),
        (422, error(None), Refused),
        (400, b"<html>", Refused),
        (400, error("context_length_exceeded"), ModelUnfit),
        (400, error("model_not_found"), ModelUnfit),
        (400, error("unsupported_parameter"), ModelUnfit),
        (401, error("invalid_api_key"), ModelUnfit),
        (402, b"", ModelUnfit),
        (403, b"", ModelUnfit),
        (404, error("model_not_found"), ModelUnfit),
        (404, b"<html>", ModelUnfit),
        (405, b"", ModelUnfit),
        (501, b"", ModelUnfit),
        (429, error("rate_limit_exceeded"), Throttled),
        (429, b"", Throttled),
        (429, error("insufficient_quota"), ModelUnfit),
        (503, error("overloaded_error"), Throttled),
        (529, error(None, kind="overloaded_error"), Throttled),
        (400, error("content_filter"), Refused),
        (408, b"", Failed),
        (409, b"", Failed),
        (500, b"", Failed),
        (500, error("server_error"), Failed),
        (502, b"<html>", Failed),
        (503, b"", Failed),
        (504, b"", Failed),
        (529, b"", Failed),
        (201, GOOD, Failed),
        (204, b"", Failed),
        (301, b"", Failed),
        (307, b"", Failed),
        (599, b"[]", Failed),
    ],
)
def test_a_status_decides_who_is_at_fault(status: int, content: object, expected: type) -> None:
    outcome = read(status, content)
    assert isinstance(outcome, expected)
    assert getattr(outcome, "status_code", None) == status


TOO_LONG = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."


@pytest.mark.parametrize(
    ("status", "content", "kind"),
    [
        (
            400,
            {"object": "error", "message": TOO_LONG, "type": "BadRequestError", "code": 400},
            "ContextWindowExceededError",
        ),
        (400, {"error": {"message": TOO_LONG, "type": "BadRequestError", "code": 400}}, "ContextWindowExceededError"),
        (
            400,
            [{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}],
            "AuthenticationError",
        ),
        (
            400,
            {"error": {"code": "x", "message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            "ContentPolicyViolationError",
        ),
        (200, {"error": {"code": 404, "message": "no"}}, "NotFoundError"),
        (200, {"error": {"code": "content_filter", "message": "no"}}, "ContentPolicyViolationError"),
        (200, {"error": {"message": "This violates our content policy"}}, "ContentPolicyViolationError"),
    ],
)
def test_an_error_is_found_in_every_servers_form(status: int, content: object, kind: str) -> None:
    outcome = read(status, content)
    assert isinstance(outcome, (Failed, ModelUnfit, Refused))
    assert outcome.kind == kind
    assert isinstance(outcome, Refused) == (kind == "ContentPolicyViolationError")


def test_an_error_within_a_200_that_names_its_status_is_taken_as_that_status() -> None:
    outcome = read(200, {"error": {"code": 429, "message": "slow down"}}, retry_after="3")
    assert isinstance(outcome, Throttled)
    assert (outcome.retry_after_s, outcome.status_code, outcome.code) == (3.0, 429, "rate_limit_exceeded")


@pytest.mark.parametrize("message", [{"content": ""}, {"content": None}, {"content": "I cannot help with that"}, {}])
def test_an_answered_refusal_is_an_answer(message: dict[str, Any]) -> None:
    outcome = read(200, {"choices": [{"message": message, "finish_reason": "content_filter"}]})
    assert isinstance(outcome, Answered)


def test_the_limits_that_a_reply_tells_come_with_every_outcome() -> None:
    for status, content in ((200, GOOD), (400, {}), (401, {}), (429, {}), (500, {}), (302, {})):
        outcome = read(status, content, x_ratelimit_limit_requests="60")
        assert outcome.seen == Seen(rpm=60.0)
        assert read(status, content).seen is None


def test_a_failure_that_says_when_to_come_back_is_believed() -> None:
    outcome = read(500, b"", retry_after="7")
    assert isinstance(outcome, Failed)
    assert outcome.retry_after_s == 7.0


def test_a_redirect_is_an_unexpected_status() -> None:
    outcome = read(302, b"", location="https://elsewhere.example")
    assert isinstance(outcome, Failed)
    assert outcome.code == "unexpected_status"


def test_the_providers_words_are_kept_only_in_the_body_of_a_refusal() -> None:
    for status in (400, 401, 429, 500):
        outcome = read(status, error("some_code"))
        assert not isinstance(outcome, Answered)
        assert "secret prompt" not in outcome.message
        assert "some_code" in outcome.message
    refused = read(400, error("some_code"))
    assert isinstance(refused, Refused)
    assert json.loads(refused.body) == error("some_code")


@pytest.mark.parametrize("code", ["<b>\n" + "x" * 500, "my secret prompt", "my-secret-prompt-7", "x" * 500])
def test_a_code_that_is_no_identifier_is_not_kept(code: str) -> None:
    outcome = read(500, error(code))
    assert isinstance(outcome, Failed)
    assert outcome.code == "provider_error"
    assert code not in outcome.message


def test_an_errors_type_stands_in_for_its_code() -> None:
    outcome = read(500, error(None, kind="overloaded_error"))
    assert isinstance(outcome, Failed)
    assert outcome.code == "overloaded_error"


def test_a_refusal_without_json_gets_a_body_of_ours() -> None:
    outcome = read(400, b"\xff<html>")
    assert isinstance(outcome, Refused)
    assert json.loads(outcome.body)["error"]["code"] == "provider_error"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, DEFAULT_RETRY_AFTER_S),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "-5"}, 0.0),
        ({"retry_after": "1e9"}, MOST_RETRY_AFTER_S),
        ({"retry_after": "inf"}, MOST_RETRY_AFTER_S),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "7"}, 0.25),
        ({"retry_after_ms": "soon", "retry_after": "7"}, 7.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0.0),
        ({"retry_after": "Tue, 14 Nov 2099 22:13:00 GMT"}, MOST_RETRY_AFTER_S),
        ({"retry_after": "soon"}, DEFAULT_RETRY_AFTER_S),
        ({"retry_after": ""}, DEFAULT_RETRY_AFTER_S),
        ({"retry_after": "nan"}, DEFAULT_RETRY_AFTER_S),
        ({"retry_after": "Tue, 99 Nov 2023 22:13:50 GMT"}, DEFAULT_RETRY_AFTER_S),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], wait_s: float) -> None:
    outcome = read(429, b"", **headers)
    assert isinstance(outcome, Throttled)
    assert outcome.retry_after_s == pytest.approx(wait_s)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=40)))
def test_whatever_a_header_says_the_wait_is_bounded(headers: dict[str, str]) -> None:
    wait_s = retry_after_s(headers, now_s=NOW_S)
    assert wait_s is None or 0 <= wait_s <= MOST_RETRY_AFTER_S


@given(st.integers(100, 599), st.binary(max_size=60) | st.just(json.dumps(GOOD).encode()))
def test_whatever_a_provider_does_is_exactly_one_outcome(status: int, content: bytes) -> None:
    outcome = read_reply(status, httpx.Headers(), content, now_s=NOW_S)
    assert isinstance(outcome, Answered) == (status == 200 and content == json.dumps(GOOD).encode())
