from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from router_service.errors import InvalidRequestError, SettingsError
from router_service.prediction import Predictor, general
from router_service.prediction.cold_start import declared
from router_service.prediction.training import Recipe, train
from tests.unit.prediction.conftest import EASY, HARD, world

if TYPE_CHECKING:
    from pathlib import Path

    from router_service.prediction.embedding import Embedding
    from router_service.prediction.examples import Examples

RECIPE = Recipe(landmarks=60)
LAW, PHYSICS = "What is the simple court judge contract?", "What is the simple force mass energy?"


@pytest.fixture(scope="module")
def predictor(examples: Examples, embedding: Embedding) -> Predictor:
    return train([examples], recipe=RECIPE, embedding=embedding)


def test_each_model_is_expected_to_be_right_where_it_was(predictor: Predictor) -> None:
    said = predictor.predict([LAW, PHYSICS])
    lawyer, physicist = predictor.column("lawyer"), predictor.column("physicist")
    assert said.p_correct[0, lawyer] > said.p_correct[0, physicist] + 0.3
    assert said.p_correct[1, physicist] > said.p_correct[1, lawyer] + 0.3


def test_domains_are_guessed_and_a_given_one_is_taken(predictor: Predictor) -> None:
    guessed = predictor.predict([LAW])
    assert guessed.domains[int(guessed.domain[0].argmax())] == "law"
    given = predictor.predict([LAW, LAW], ["music", "no such domain"])
    assert given.domain[0].tolist() == [0.0, 1.0, 0.0]
    assert given.domain[1].tolist() == guessed.domain[0].tolist()


def test_hard_questions_are_difficult_and_answered_at_length(predictor: Predictor) -> None:
    said = predictor.predict([LAW, LAW.replace(EASY, HARD)])
    assert said.difficulty[1] > said.difficulty[0] + 0.3
    assert said.tokens_out[1].min() > 1.5 * said.tokens_out[0].min()


def test_probabilities_are_calibrated_on_other_questions(predictor: Predictor) -> None:
    other = world(2000, seed=2)
    said = predictor.predict(other.texts).p_correct
    assert np.abs(said.mean(axis=0) - other.outcomes.mean(axis=0)).max() < 0.05
    assert said.min() >= 0.002
    assert said.max() <= 0.998


def test_a_text_like_no_other_gets_the_models_means(predictor: Predictor) -> None:
    said = predictor.predict(["\u4f60\u597d" * 40, ""])
    assert said.familiarity[0] < 0.5
    assert np.abs(said.p_correct[0] - predictor.usual_p).max() < 0.1
    assert not np.isnan(said.p_correct).any()


def test_what_changes_nothing_changes_nothing(predictor: Predictor) -> None:
    said = predictor.predict([LAW, LAW.upper(), f"  {LAW}  ", LAW.replace(" ", "\u00a0 ")])
    assert (said.p_correct == said.p_correct[0]).all()


def test_no_texts_give_no_rows(predictor: Predictor) -> None:
    assert predictor.predict([]).p_correct.shape == (0, 3)


def test_a_batch_says_what_its_texts_say_alone(predictor: Predictor) -> None:
    texts = world(40, seed=3).texts
    together = predictor.predict(texts).p_correct
    alone = np.vstack([predictor.predict([text]).p_correct for text in texts])
    assert np.abs(together - alone).max() <= 0.0002


def test_a_file_holds_the_same_predictor(predictor: Predictor, embedding: Embedding, tmp_path: Path) -> None:
    path = tmp_path / "predictor.npz"
    predictor.save(path)
    loaded = Predictor.load(path, embedding=embedding)
    assert loaded.hash == predictor.hash
    assert (loaded.predict([LAW]).p_correct == predictor.predict([LAW]).p_correct).all()
    first = path.read_bytes()
    loaded.save(path)
    assert path.read_bytes() == first


def test_training_again_gives_the_same_predictor(
    examples: Examples, embedding: Embedding, predictor: Predictor
) -> None:
    assert train([examples], recipe=RECIPE, embedding=embedding).hash == predictor.hash
    assert replace(predictor, about={"other": 1}).hash != predictor.hash


def test_a_file_that_was_changed_is_refused(predictor: Predictor, tmp_path: Path, embedding: Embedding) -> None:
    path = tmp_path / "predictor.npz"
    predictor.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["base.npy"] = members["base.npy"][:-4] + b"\1\2\3\4"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(SettingsError, match="not what its hash says"):
        Predictor.load(path, embedding=embedding)


def test_a_file_of_something_else_is_refused(tmp_path: Path, embedding: Embedding) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(json.dumps({}).encode())
    with pytest.raises(SettingsError, match=r"other\.npz"):
        Predictor.load(path, embedding=embedding)


def test_folders_of_other_models_stand_beside_each_other(examples: Examples, embedding: Embedding) -> None:
    other = replace(world(200, seed=5), models=("a", "b", "c"))
    both = train([examples, other], recipe=RECIPE, embedding=embedding)
    assert both.models == ("lawyer", "physicist", "giant", "a", "b", "c")
    assert both.predict([LAW]).p_correct.shape == (1, 6)
    assert both.usual_p[3:] == pytest.approx(other.outcomes.mean(axis=0), abs=1e-6)


def test_missing_outcomes_are_no_wrong_answers(examples: Examples, embedding: Embedding) -> None:
    outcomes = examples.outcomes.copy()
    outcomes[np.random.default_rng(0).random(outcomes.shape) < 0.4] = np.nan
    partial = train([replace(examples, outcomes=outcomes)], recipe=RECIPE, embedding=embedding)
    assert partial.usual_p == pytest.approx(examples.outcomes.mean(axis=0), abs=0.06)
    assert not np.isnan(partial.predict([LAW]).p_correct).any()


def test_unlabelled_domains_and_lengths_are_no_hindrance(examples: Examples, embedding: Embedding) -> None:
    bare = replace(
        examples, domains=(None,) * len(examples.texts), tokens_out=np.full(examples.tokens_out.shape, np.nan)
    )
    said = train([bare], recipe=RECIPE, embedding=embedding).predict([LAW, PHYSICS])
    assert said.domains == ("any",)
    assert said.tokens_out.tolist() == [[0.0] * 3] * 2
    assert said.p_correct[0, 0] > said.p_correct[0, 1]


def test_too_few_labels_are_refused(embedding: Embedding) -> None:
    with pytest.raises(InvalidRequestError, match="at least 20"):
        train([world(19, seed=1)], embedding=embedding)


def test_an_unknown_model_is_as_good_as_declared_and_worse_on_hard_questions(predictor: Predictor) -> None:
    said = predictor.predict([LAW, LAW.replace(EASY, HARD)])
    usual, hard = said.difficulty
    assert declared(0.8, usual) > declared(0.8, hard)
    assert declared(0.8, 0.0) == pytest.approx(0.8)
    assert declared(1.0, usual) < 1


def test_a_text_that_is_there_twice_does_not_tell_its_own_domain(embedding: Embedding) -> None:
    random, part = np.random.default_rng(0), world(60, seed=9)
    subjects = [part.domains[at] for at in random.permutation(len(part.domains))]
    once = replace(part, domains=tuple(subjects))
    twice = replace(
        once,
        texts=tuple(f"{text}\nA. force\nB. chord" for text in part.texts) + part.texts,
        domains=once.domains * 2,
        outcomes=np.vstack([part.outcomes] * 2),
        tokens_out=np.vstack([part.tokens_out] * 2),
    )
    guessed = train([twice], recipe=RECIPE, embedding=embedding).about["left_out"]["domain_accuracy"]
    assert guessed < 0.6


def test_the_shipped_predictor_tells_domains_and_difficulty() -> None:
    said = general().predict(
        [
            "What is the derivative of x^3 - 2x?",
            "Write a python function that merges two sorted lists",
            "A patient presents with fever and a rash. Which of the following is the most likely diagnosis?",
        ]
    )
    guessed = [said.domains[at] for at in said.domain.argmax(axis=1)]
    assert guessed == ["math", "computer science", "health"]
    assert said.models == ()
    assert {"sources", "licences", "date", "left_out"} <= set(general().about)
