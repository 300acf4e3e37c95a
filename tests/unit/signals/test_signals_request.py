from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.signals.request import CUT, MOST_TEXT, Request, bounded, part

DOCUMENT = "The harbour was quiet this morning, and the fishermen had already brought in their nets. " * 10


def of(*messages: Any, **fields: Any) -> Request:
    return Request.of({"model": "auto", "messages": list(messages), **fields}, tokens_in=10)


def test_text_is_what_all_messages_say_and_untrusted_what_the_system_does_not() -> None:
    request = of(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "f", "arguments": '{"to": "Ann"}'}}],
        },
        {"role": "tool", "content": "sent"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Thanks"}, {"type": "image_url", "image_url": {"url": "x"}}],
        },
    )
    assert request.text == 'Be brief.\nBe kind.\nHello\n{"to": "Ann"}\nsent\nThanks'
    assert request.system == "Be brief.\nBe kind."
    beside = "tool_calls\nfunction\nname: f\nimage_url\nurl: x"
    assert request.untrusted == f'Hello\n{{"to": "Ann"}}\nsent\nThanks\n{beside}'
    assert request.sent == f"{request.text}\n{beside}"
    assert request.last_user == request.asked == request.material == "Thanks"
    assert not request.is_partial


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "tool_calls", "function"]), inner)
        ),
    )
)
def test_a_body_of_any_form_is_read(messages: Any) -> None:
    assert Request.of({"messages": messages}, tokens_in=1).text is not None


def test_of_a_long_text_head_and_tail_are_kept_and_said_to_be_partial() -> None:
    request = of({"role": "user", "content": "a" * MOST_TEXT + "b" * MOST_TEXT})
    assert request.is_partial
    assert len(request.text) == MOST_TEXT
    assert request.text[: MOST_TEXT // 2] == "a" * (MOST_TEXT // 2)
    assert request.text.endswith("b" * (MOST_TEXT // 4))


@given(st.text(max_size=300), st.integers(8, 100))
def test_bounded_keeps_what_is_short_and_bounds_what_is_not(text: str, most: int) -> None:
    kept, is_partial = bounded(text, most=most)
    assert is_partial == (len(text) > most)
    assert kept == text if not is_partial else len(kept) == most and CUT in kept


@pytest.mark.parametrize(
    "text",
    [
        f"Summarize in 3 sentences:\n\n{DOCUMENT}",
        f"Summarize in 3 sentences: {DOCUMENT}",
        f"Summarize in 3 sentences\n{DOCUMENT}",
        f"用三句话总结：{'今天早上港口很安静，渔民们已经把渔网收起来了。' * 3}",
    ],
)
def test_an_instruction_is_parted_from_its_material(text: str) -> None:
    asked, material = part(text)
    assert asked in {"Summarize in 3 sentences", "用三句话总结"}
    assert material == text[len(asked) :].lstrip("：: \n").strip()


def test_a_short_last_paragraph_belongs_to_the_instruction() -> None:
    asked, material = part(f"Read this:\n\n{DOCUMENT}\n\nAnswer in one word.")
    assert asked == "Read this\nAnswer in one word."
    assert material == DOCUMENT.strip()


def test_where_nothing_parts_them_both_are_the_text_and_the_instruction_its_ends() -> None:
    assert part("Where is my parcel?") == ("Where is my parcel?", "Where is my parcel?")
    asked, material = part(DOCUMENT + "Summarize that.")
    assert material == DOCUMENT + "Summarize that."
    assert asked.startswith("The harbour")
    assert asked.endswith("Summarize that.")
    assert len(asked) < len(material)


@given(st.text(max_size=2000))
def test_parting_loses_no_more_than_what_stands_between(text: str) -> None:
    asked, material = part(text)
    assert len(material) <= len(text)
    assert all(line in text for line in material.splitlines())
    assert len(asked) <= max(len(text), 1) + 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 5 * MOST_TEXT), min_size=1, max_size=4))
def test_what_is_kept_of_long_messages_is_what_is_kept_of_their_whole_text(lengths: list[int]) -> None:
    said = ["".join(f"{place}{at:9}" for at in range(0, length, 10)) for place, length in enumerate(lengths)]
    request = of(*({"role": "user", "content": text} for text in said))
    assert (request.text, request.is_partial) == bounded("\n".join(text for text in said if text), most=MOST_TEXT)
