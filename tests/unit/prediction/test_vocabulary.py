from __future__ import annotations

import numpy as np
import pytest

from router_service.prediction.embedding import Bag
from router_service.prediction.vocabulary import Vocabulary


def _bag(*pieces: int) -> Bag:
    return Bag(np.array(pieces, np.intp), np.ones(len(pieces)))


BAGS = [_bag(1, 5, 9), _bag(1, 5), _bag(1, 7), _bag(1)]


def test_pieces_of_single_texts_are_left_out_and_rare_ones_count_more() -> None:
    vocabulary = Vocabulary.fit(BAGS, most=10)
    assert vocabulary.pieces.tolist() == [1, 5]
    assert vocabulary.rarity[1] > vocabulary.rarity[0]
    assert vocabulary.unknown > vocabulary.rarity[1]


def test_the_most_frequent_pieces_are_kept() -> None:
    assert Vocabulary.fit(BAGS, most=1).pieces.tolist() == [1]


def test_a_row_is_of_length_one_and_unknown_pieces_make_it_shorter() -> None:
    vocabulary = Vocabulary.fit([*BAGS, _bag(2)], most=10)
    known, mixed, foreign, empty = vocabulary.rows([_bag(1, 5), _bag(1, 5, 99), _bag(99), _bag()])
    assert np.linalg.norm(known) == pytest.approx(1, abs=1e-6)
    assert 0 < np.linalg.norm(mixed) < 0.9
    assert mixed / np.linalg.norm(mixed) == pytest.approx(known, abs=1e-6)
    assert not foreign.any()
    assert not empty.any()


def test_texts_that_share_nothing_have_no_columns() -> None:
    vocabulary = Vocabulary.fit([_bag(1), _bag(2)], most=10)
    assert vocabulary.rows([_bag(1)]).shape == (1, 0)
