"""Two models, and what others did on the same questions; the logistic stage of every pool."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from router_service.prediction import Predictor
from router_service.prediction.linear import logistic, logit, sigmoid
from router_service.prediction.training import Recipe, train
from tests.unit.prediction.conftest import world

if TYPE_CHECKING:
    from pathlib import Path

    from router_service.prediction.embedding import Embedding
    from router_service.prediction.examples import Examples

RECIPE = Recipe(landmarks=40)
LAW, PHYSICS = "What is the simple court judge contract?", "What is the simple force mass energy?"


def _pair(examples: Examples) -> Examples:
    """The first two models only, and under other names: they share none with the whole world."""
    return replace(
        examples,
        models=("a", "b"),
        outcomes=examples.outcomes[:, :2],
        tokens_out=examples.tokens_out[:, :2],
    )


def _plain(examples: Examples) -> Examples:
    return replace(examples, domains=(None,) * len(examples.texts))


def test_a_pair_is_said_in_probabilities(examples: Examples, embedding: Embedding) -> None:
    pair = _pair(examples)
    predictor = train([pair], recipe=RECIPE, embedding=embedding)
    assert predictor.usual_p == pytest.approx(pair.outcomes.mean(axis=0), abs=1e-3)
    law, physics = predictor.predict([LAW, PHYSICS]).p_correct
    assert law[0] > law[1] + 0.3
    assert physics[1] > physics[0] + 0.3


def test_a_pair_beside_a_pool_leaves_the_pool_as_it_is(examples: Examples, embedding: Embedding) -> None:
    both = train([examples, _pair(world(100, seed=3))], recipe=RECIPE, embedding=embedding)
    assert both.usual_p[:3] == pytest.approx(examples.outcomes.mean(axis=0), abs=1e-6)
    assert both.elsewhere is not None
    assert not both.elsewhere.by_stem[:, :3].any()


def test_few_labels_of_a_pair_are_helped_by_other_models_on_like_questions(embedding: Embedding) -> None:
    few, many, other = _pair(_plain(world(30, seed=11))), _plain(world(1500, seed=12)), world(1000, seed=13)
    errors = {}
    for name, parts in (("alone", [few]), ("helped", [few, many])):
        predictor = train(parts, recipe=RECIPE, embedding=embedding)
        columns = [predictor.models.index(model) for model in few.models]
        said = predictor.predict(other.texts).p_correct[:, columns]
        errors[name] = float(((said - other.outcomes[:, :2]) ** 2).mean())
    assert errors["helped"] < errors["alone"]


def test_a_file_keeps_a_pair_and_what_others_taught(examples: Examples, embedding: Embedding, tmp_path: Path) -> None:
    predictor = train([examples, _pair(world(100, seed=3))], recipe=RECIPE, embedding=embedding)
    predictor.save(tmp_path / "pair.npz")
    loaded = Predictor.load(tmp_path / "pair.npz", embedding=embedding)
    assert loaded.hash == predictor.hash
    assert (loaded.predict([LAW]).p_correct == predictor.predict([LAW]).p_correct).all()


def test_pairs_alone_teach_each_other_nothing_by_stem(examples: Examples, embedding: Embedding) -> None:
    other = replace(_pair(world(100, seed=3)), models=("c", "d"))
    assert train([_pair(examples), other], recipe=RECIPE, embedding=embedding).elsewhere is None


def test_logistic_weights_are_where_the_gradient_is_zero() -> None:
    random = np.random.default_rng(0)
    x, penalty, offset = random.normal(size=(200, 3)), 2.0, np.array([0.5, -1.0])
    y = (random.random((200, 2)) < sigmoid(x @ random.normal(size=(3, 2)))).astype(float)
    weights = logistic(x, y, offset, penalty)
    assert x.T @ (y - sigmoid(offset + x @ weights)) == pytest.approx(penalty * weights, abs=1e-8)


def test_columns_share_what_is_common_to_them() -> None:
    random = np.random.default_rng(0)
    x, own = random.normal(size=(60, 2)), np.array([[1.0] * 12, [1.0] * 6 + [-1.0] * 6])
    y = (random.random((60, 12)) < sigmoid(x @ own)).astype(float)
    apart = logistic(x, y, np.zeros(12), 30.0)
    together = logistic(x, y, np.zeros(12), 30.0, level_penalty=0.5)
    assert np.abs(together - own)[0].max() < np.abs(apart - own)[0].min()
    assert (together[1, :6] > together[1, 6:].max()).all()


def test_no_columns_have_no_weights() -> None:
    assert logistic(np.ones((5, 3)), np.empty((5, 0)), np.empty(0), 1.0).shape == (3, 0)


def test_logits_of_certainties_are_finite() -> None:
    assert sigmoid(logit(np.array([0.0, 0.25, 1.0]))) == pytest.approx([0.001, 0.25, 0.999])
