from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.providers.local.instruction import DEFAULT_WORDS, document_and_length


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("Summarize the following document in at most 60 words:", 60),
        ("Write a 50-word summary of the following article.", 50),
        ("Can you summarise the text below? Use no more than two sentences.", 44),
        ("TL;DR in one sentence:", 22),
        ("You are a helpful assistant. Summarize the text below in 20 words.", 20),
        ("Fasse den folgenden Text in höchstens 50 Wörtern zusammen:", 50),
        ("Fassen Sie das Dokument in einem Satz zusammen.", 22),
        ("Résume le texte suivant en 40 mots :", 40),
        ("Resume el siguiente documento en un máximo de 80 palabras:", 80),
        ("Riassumi il seguente testo in 30 parole:", 30),
        ("Resuma o texto a seguir em 2 frases:", 44),
        ("Vat de volgende tekst samen in 45 woorden:", 45),
        ("Summarize this.", DEFAULT_WORDS),
    ],
)
def test_the_request_is_told_from_the_document(instruction: str, words: int) -> None:
    assert document_and_length([user(f"{instruction}\n\nThe cat sat.")]) == ("The cat sat.", words)


def test_a_document_on_the_line_of_the_request_begins_behind_the_colon() -> None:
    text = "Summarize in at most 60 words: The cat sat. It was 3 words long."
    assert document_and_length([user(text)]) == ("The cat sat. It was 3 words long.", 60)


@pytest.mark.parametrize(
    "text",
    [
        "Summarizing is hard. We do it.",
        "Give me money. I need it.",
        "Resume is a noun. It has an accent.",
        "Summarize.",
    ],
)
def test_a_text_that_is_no_request_is_all_document(text: str) -> None:
    assert document_and_length([user(text)]) == (text, DEFAULT_WORDS)


def test_a_system_message_sets_the_length_and_is_no_document() -> None:
    messages = [{"role": "system", "content": "Summarize in 40 words."}, user("The cat sat.")]
    assert document_and_length(messages) == ("The cat sat.", 40)


def test_text_parts_and_messages_are_joined_and_others_ignored() -> None:
    parts = [{"type": "text", "text": "One."}, {"type": "image_url"}, {"type": "text", "text": "Two."}]
    messages = [user(parts), {"role": "assistant", "content": "No."}, user("Three.")]
    assert document_and_length(messages)[0] == "One.\n\nTwo.\n\nThree."


def test_quotes_around_the_document_are_dropped() -> None:
    assert document_and_length([user('Summarize this text:\n\n"""\nThe cat.\n"""')])[0] == "The cat."


@pytest.mark.parametrize(("max_tokens", "words"), [(100, 60), (40, 30), (1, 1)])
def test_tokens_limit_what_the_instruction_asks_for(max_tokens: int, words: int) -> None:
    assert document_and_length([user("Summarize in 60 words:\nThe cat.")], max_tokens=max_tokens)[1] == words


def test_tokens_set_the_length_where_no_instruction_does() -> None:
    assert document_and_length([user("The cat.")], max_tokens=200)[1] == 150


@given(texts=st.lists(st.text(max_size=80), max_size=3))
def test_no_message_raises_or_asks_for_no_words(texts: list[str]) -> None:
    document, words = document_and_length([user(text) for text in texts])
    assert words >= 1
    assert bool(document.strip()) == any(text.strip() for text in texts)
