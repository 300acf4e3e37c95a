from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.chat.request import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, read_chat
from router_service.chat.tokens import estimate_tokens
from router_service.errors import InvalidRequestError

MESSAGE = {"role": "user", "content": "a harbour"}


def body(**changes: Any) -> dict[str, Any]:
    return {"model": "alpha", "messages": [MESSAGE], **changes}


def said(**message: Any) -> dict[str, Any]:
    return body(messages=[MESSAGE, {"role": "user", **message}])


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (None, "body"),
        ([], "body"),
        ("text", "body"),
        ({}, "body.model"),
        (body(model=None), "body.model"),
        (body(model=""), "body.model"),
        (body(model=7), "body.model"),
        (body(model="a\x00b"), "body.model"),
        (body(stream=True), "body.stream"),
        (body(messages=None), "body.messages"),
        (body(messages=[]), "body.messages"),
        (body(messages="hello"), "body.messages"),
        (body(messages={"role": "user"}), "body.messages"),
        (body(messages=[MESSAGE, "hello"]), "body.messages[1]"),
        (body(messages=[MESSAGE, None]), "body.messages[1]"),
        (body(messages=[{"content": "x"}]), "body.messages[0].role"),
        (body(messages=[{"role": "wizard", "content": "x"}]), "body.messages[0].role"),
        (body(messages=[{"role": ["user"], "content": "x"}]), "body.messages[0].role"),
        (body(messages=[{"role": {}, "content": "x"}]), "body.messages[0].role"),
        (said(content=None), "body.messages[1].content"),
        (said(content=5), "body.messages[1].content"),
        (said(content={"type": "text"}), "body.messages[1].content"),
        (said(content=["x"]), "body.messages[1].content[0]"),
        (said(content=[{}]), "body.messages[1].content[0]"),
        (said(content=[{"type": 5}]), "body.messages[1].content[0]"),
        (said(content=[{"type": "text"}]), "body.messages[1].content[0].text"),
        (
            said(content=[{"type": "text", "text": "x"}, {"type": "text", "text": 1}]),
            "body.messages[1].content[1].text",
        ),
        (said(content=[{"type": "refusal", "refusal": None}]), "body.messages[1].content[0].refusal"),
        (said(content=[{"type": "film"}]), "body.messages[1].content[0].type"),
        (body(max_tokens=0), "body.max_tokens"),
        (body(max_tokens=True), "body.max_tokens"),
        (body(max_tokens=1.5), "body.max_tokens"),
        (body(max_tokens="9"), "body.max_tokens"),
        (body(max_tokens=10_000_001), "body.max_tokens"),
        (body(n=0), "body.n"),
        (body(n=129), "body.n"),
        (body(n=True), "body.n"),
        (body(n="2"), "body.n"),
        (body(max_completion_tokens=-1), "body.max_completion_tokens"),
        (body(response_format="json"), "body.response_format"),
        (body(response_format={}), "body.response_format"),
        (body(response_format={"type": 1}), "body.response_format"),
    ],
)
def test_a_body_that_no_provider_would_take_is_refused_with_its_path(wrong: object, path: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_chat(wrong)
    assert caught.value.param == path
    assert path in caught.value.message


def test_the_path_starts_where_the_caller_says() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_chat({"model": "a", "messages": [1]}, path="input")
    assert caught.value.param == "input.messages[0]"


words = st.sampled_from(
    ["model", "messages", "role", "content", "type", "text", "user", "tools", "max_tokens", "response_format", "stream"]
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=5)),
    max_leaves=20,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.one_of(st.sampled_from(["user", "assistant", "tool"]), values)},
        optional={"content": values, "name": values},
    ),
    max_size=3,
)
bodies = st.one_of(
    values,
    st.fixed_dictionaries(
        {"model": st.just("a"), "messages": st.one_of(messages, values)},
        optional={"tools": values, "max_tokens": values, "response_format": values, "stream": values, "n": values},
    ),
)


@given(bodies)
def test_whatever_comes_is_measured_or_refused_as_the_callers_fault(anything: object) -> None:
    with suppress(InvalidRequestError):
        assert read_chat(anything).tokens_in > 0


@given(st.text(max_size=200))
def test_a_longer_text_is_never_estimated_shorter(text: str) -> None:
    assert 1 <= estimate_tokens(text) <= estimate_tokens(text + text)


@pytest.mark.parametrize(("text", "least", "most"), [("", 1, 1), ("a" * 350, 100, 101), ("\u6f22" * 100, 150, 151)])
def test_tokens_lean_high(text: str, least: int, most: int) -> None:
    assert least <= estimate_tokens(text) <= most


def test_a_lone_surrogate_can_be_measured() -> None:
    assert estimate_tokens("\ud800") >= 1


def test_parts_and_tools_ask_for_features_and_count_tokens() -> None:
    plain = read_chat(body())
    shape = read_chat(
        said(
            content=[
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "x"}},
                {"type": "input_audio", "input_audio": {}},
            ]
        )
        | {"tools": [{"type": "function"}], "response_format": {"type": "json_schema"}}
    )
    assert shape.features == ("audio", "json_schema", "tools", "vision")
    assert shape.tokens_in > plain.tokens_in + 2 * TOKENS_PER_IMAGE + TOKENS_PER_MESSAGE


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7),
        ({"max_completion_tokens": None, "max_tokens": 5}, 5),
        ({"max_tokens": 10_000_000}, 10_000_000),
        ({"max_tokens": 5, "n": 3}, 15),
        ({"max_tokens": 5, "n": None}, 5),
        ({"n": 3}, None),
    ],
)
def test_the_newer_limit_wins(changes: dict[str, Any], limit: int | None) -> None:
    assert read_chat(body(**changes)).tokens_out == limit


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "done", "tool_call_id": "1"},
        {"role": "assistant"},
        {"role": "user", "content": []},
        {"role": "developer", "content": "be short"},
    ],
)
def test_every_form_of_message_that_providers_take_is_taken(message: dict[str, Any]) -> None:
    assert read_chat(body(messages=[message])).tokens_in >= TOKENS_PER_MESSAGE


def test_json_text_without_a_schema_asks_for_no_feature() -> None:
    assert read_chat(body(response_format={"type": "json_object"}, stream=False)).features == ()


def test_a_deep_body_is_refused_or_measured_and_not_recursed_into() -> None:
    deep: Any = json.loads("[" * 400 + "]" * 400)
    with pytest.raises(InvalidRequestError):
        read_chat(body(messages=deep))
