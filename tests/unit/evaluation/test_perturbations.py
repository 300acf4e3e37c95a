from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.evaluation.perturbations import PERTURBATIONS, clauses, names, paraphrase, typos

TEXT = (
    "If Janet has 16 eggs, how many does she sell? Janet's ducks lay well. Assume the correct price is $2.\n"
    "A. 12\nB. 14 eggs\nC. It's 16"
)


@pytest.mark.parametrize("name", [*PERTURBATIONS])
def test_a_rewording_is_the_same_for_the_same_seed_and_keeps_numbers(name: str) -> None:
    perturb = PERTURBATIONS[name]
    first = perturb(TEXT, Random(1))
    assert first == perturb(TEXT, Random(1))
    assert first != TEXT
    assert re.findall(r"\d+", first) == re.findall(r"\d+", TEXT)


@pytest.mark.parametrize("name", ["paraphrase", "spacing", "casing", "typos"])
def test_options_stay_where_they_are(name: str) -> None:
    lines = PERTURBATIONS[name](TEXT, Random(2)).lower().splitlines()
    assert [line[:2] for line in lines if re.match(r"[abc]\.", line)] == ["a.", "b.", "c."]


@given(text=st.text(max_size=200), seed=st.integers(0, 1000))
def test_any_text_can_be_reworded(text: str, seed: int) -> None:
    for perturb in PERTURBATIONS.values():
        assert isinstance(perturb(text, Random(seed)), str)


def test_typos_touch_a_few_words() -> None:
    text = " ".join(["question"] * 100)
    wrong = [word for word in typos(text, Random(0)).split() if word != "question"]
    assert 1 <= len(wrong) <= 3


def test_a_condition_moves_behind_the_question() -> None:
    assert clauses("If it rains, what will she do?", Random(0)) == "What will she do, if it rains?"


def test_the_same_name_gets_the_same_other_name() -> None:
    text = names("Tom met Mary. Tom left. Mary stayed.", Random(3))
    first, second = text.split()[0], text.split()[2].rstrip(".")
    assert text == f"{first} met {second}. {first} left. {second} stayed."
    assert {first, second}.isdisjoint({"Tom", "Mary"})


def test_a_paraphrase_uses_other_words() -> None:
    assert "correct" not in paraphrase("The correct one. " * 3, Random(5)).lower() or "right" in paraphrase(
        "The correct one. " * 3, Random(5)
    )
