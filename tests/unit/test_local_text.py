from __future__ import annotations

import pytest

from workers.providers.local.blocks import prose_blocks
from workers.providers.local.text import sentences, split_block
from workers.providers.local.words import content_terms, first_words, word_count


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("Dr. Smith met J. R. Tolkien. He left.", ["Dr. Smith met J. R. Tolkien.", "He left."]),
        ("See e.g. the U.S. law. It holds.", ["See e.g. the U.S. law.", "It holds."]),
        ("It costs 3.14 euros. Python 3.10. Next!", ["It costs 3.14 euros.", "Python 3.10.", "Next!"]),
        ("Am 3. Oktober kam z.B. Herr Dr. Au. Gut.", ["Am 3. Oktober kam z.B. Herr Dr. Au.", "Gut."]),
        ("今日は晴れ。明日は雨?はい。", ["今日は晴れ。", "明日は雨?はい。"]),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
    ],
)
def test_a_sentence_ends_where_a_reader_says(block: str, expected: list[str]) -> None:
    assert list(split_block(block)) == expected


@pytest.mark.parametrize(
    "noise",
    [
        "[![Build](https://x.y/b.svg)](https://x.y)",
        "pip install waybill",
        "$ make all",
        "```python\nprint('hello')\n```",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "https://example.org/page",
        "# Heading",
        "Heading\n=======",
        ".. code-block:: python\n\n    import this\n",
        ".. _target: https://example.org",
        "<p align='center'><img src='x'></p>",
        ":Author: Somebody",
    ],
)
def test_a_line_of_markup_is_no_prose(noise: str) -> None:
    assert list(prose_blocks(f"First one.\n\n{noise}\n\nLast one.")) == [
        "First one.",
        "Last one.",
    ]


def test_a_heading_and_an_item_are_not_glued_to_their_neighbours() -> None:
    text = "Intro\n=====\nSome words here:\n- one item\n  that goes on\n- another item"
    assert list(prose_blocks(text)) == ["Some words here:", "one item that goes on", "another item"]


def test_a_literal_block_is_hidden_down_to_the_dedent() -> None:
    assert list(prose_blocks("Like this::\n\n    code here\n\n    more\n\nAfter it.")) == ["Like this::", "After it."]


def test_prose_weighs_more_than_leftovers() -> None:
    prose, leftover = sentences("The router sends every job to a queue of its own.\n\nSee https://a.b/c %% {x} [y] ->")
    assert prose.prose > 5 * leftover.prose


def test_a_sentence_stands_once() -> None:
    assert len(sentences("The cat sat on the mat. " * 3)) == 1


def test_ideographs_are_words_of_their_own() -> None:
    assert word_count("東京 is big.") == 4
    assert first_words("東京 is big.", max_words=3) == "東京 is"


def test_terms_leave_out_function_words_of_every_language() -> None:
    assert content_terms("The queues und die Queue le 42 x") == ("queue", "queue")
