from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.providers.local.ranking import Tier, score
from workers.providers.local.summarize import ELLIPSIS, summarize
from workers.providers.local.text import sentences
from workers.providers.local.words import word_count

TIERS = st.sampled_from(list(Tier))
PIECES = st.sampled_from(
    [
        "The cat sat on the mat.",
        "Dogs bark.",
        "\n\n",
        "\n- ",
        " ",
        "```",
        "| a |",
        "東京。",
        "…",
        "3.14",
        "e.g. ",
        "::",
        "x" * 40,
    ]
)
TEXTS = st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=40).map("".join))

STORY = """The router takes a job and puts it into the queue of a model.
Each model has a queue and a limit of requests per minute. Bananas are yellow.
When the limit of a model is reached, the router keeps the job in the queue of the model.
A job that fails goes to another model of the router. The weather was fine.
"""


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, tier=TIERS, max_words=st.integers(min_value=1, max_value=60))
def test_a_summary_keeps_its_length_and_has_letters_if_the_text_has(text: str, tier: Tier, max_words: int) -> None:
    summary = summarize(text, tier=tier, max_words=max_words)
    assert word_count(summary) <= max_words
    assert len(summary.split()) <= max_words
    assert bool(summary) or not any(character.isalpha() for character in text)
    assert summary == summarize(text, tier=tier, max_words=max_words)


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, tier=TIERS)
def test_every_sentence_of_a_summary_stands_in_the_source(text: str, tier: Tier) -> None:
    source = "".join(text.split())
    rest = summarize(text, tier=tier, max_words=10_000)
    for sentence in sentences(text):
        assert "".join(sentence.text.split()) in source
        rest = rest.removeprefix(sentence.text).lstrip()
    # Nothing, or the first words of a text without a sentence; a sentence that stands there twice may be left out between.
    letters = iter(source)
    assert all(letter in letters for letter in "".join(rest.split()))


@pytest.mark.parametrize("tier", list(Tier))
def test_there_is_a_score_per_sentence(tier: Tier) -> None:
    found = sentences(STORY)
    scores = score(found, tier=tier)
    assert len(scores) == len(found)
    assert all(value >= 0 for value in scores)


def test_lead_takes_the_beginning() -> None:
    assert summarize(STORY, tier=Tier.LEAD, max_words=15).startswith("The router takes a job")


@pytest.mark.parametrize("tier", [Tier.FREQUENCY, Tier.LEXRANK])
def test_what_no_other_sentence_speaks_of_is_left_out(tier: Tier) -> None:
    summary = summarize(STORY, tier=tier, max_words=45)
    assert "Bananas" not in summary
    assert "weather" not in summary
    assert "limit" in summary


def test_sentences_come_in_document_order() -> None:
    summary = summarize(STORY, tier=Tier.LEXRANK, max_words=45)
    places = [STORY.replace("\n", " ").index(sentence.text) for sentence in sentences(summary)]
    assert places == sorted(places)


def test_a_sentence_too_long_is_cut_behind_a_word() -> None:
    assert summarize("One two three, four five six.", tier=Tier.LEAD, max_words=3) == f"One two three{ELLIPSIS}"


def test_a_text_of_code_alone_gives_its_first_words() -> None:
    assert summarize("```\nx = compute(y)\n```", tier=Tier.LEXRANK, max_words=2) == f"x ={ELLIPSIS}"


def test_no_words_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="max_words is 0"):
        summarize("Text.", tier=Tier.LEAD, max_words=0)
