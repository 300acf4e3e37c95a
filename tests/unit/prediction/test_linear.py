from __future__ import annotations

import numpy as np
import pytest

from router_service.prediction.linear import ridge, ridge_left_out


def test_a_row_and_its_twin_are_predicted_by_all_others() -> None:
    random = np.random.default_rng(0)
    x, y, penalty = random.normal(size=(12, 3)), random.normal(size=(12, 2)), 0.7
    twins = np.array([1, 0, *range(2, 10), 11, 10])
    _, predicted = ridge_left_out(x, y, penalty, twins=twins)
    for row, twin in enumerate(twins):
        rest = np.setdiff1d(np.arange(12), [row, twin])
        assert predicted[row] == pytest.approx(x[row] @ ridge(x[rest], y[rest], penalty))


def test_without_twins_each_row_is_left_out_alone() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, 3)), random.normal(size=(12, 2))
    alone, none = ridge_left_out(x, y, 0.7), ridge_left_out(x, y, 0.7, twins=np.arange(12))
    assert none[1] == pytest.approx(alone[1])
    assert alone[1][0] == pytest.approx(x[0] @ ridge(x[1:], y[1:], 0.7))
