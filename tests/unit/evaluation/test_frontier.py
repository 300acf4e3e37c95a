from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.evaluation import frontier


def test_the_hull_keeps_what_no_mixture_beats() -> None:
    points = [(1.0, 0.2), (2.0, 0.3), (3.0, 0.8), (4.0, 0.7), (5.0, 0.9), (2.0, 0.25)]
    assert frontier.hull(points) == [(1.0, 0.2), (3.0, 0.8), (5.0, 0.9)]


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0, 1)), min_size=1, max_size=30))
def test_no_point_lies_above_the_hull(points: list[tuple[float, float]]) -> None:
    curve = frontier.hull(points)
    costs, qualities = zip(*curve, strict=True)
    assert all(quality <= np.interp(cost, costs, qualities) + 1e-9 for cost, quality in points)
    assert list(costs) == sorted(costs)
    assert list(qualities) == sorted(qualities)


def test_cost_of_a_quality_mixes_two_neighbours() -> None:
    curve = [(1.0, 0.5), (3.0, 0.9)]
    assert frontier.cost_of(curve, 0.7) == pytest.approx(2.0)
    assert frontier.cost_of(curve, 0.1) == 1.0
    assert frontier.cost_of(curve, 0.95) == float("inf")


def test_saved_is_against_the_strongest_models_cost() -> None:
    curve = [(1.0, 0.5), (3.0, 0.9)]
    assert frontier.saved(curve, share=1.0, strongest=(4.0, 0.8)) == pytest.approx(1 - 2.5 / 4)
    assert frontier.saved(curve, share=1.0, strongest=(4.0, 0.95)) == float("-inf")


def test_aiq_is_the_mean_height_between_the_cheapest_and_the_dearest() -> None:
    curve = [(1.0, 0.5), (3.0, 0.9)]
    assert frontier.aiq(curve, cheapest=1.0, dearest=3.0) == pytest.approx(0.7)
    assert frontier.aiq(curve, cheapest=1.0, dearest=5.0) == pytest.approx((0.7 * 2 + 0.9 * 2) / 4)
    assert frontier.aiq(curve, cheapest=2.0, dearest=2.0) == pytest.approx(0.7)


def test_the_oracle_takes_the_cheapest_right_model_and_else_the_cheapest() -> None:
    outcomes = np.array([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    costs = np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 9.0]])
    assert frontier.oracle(outcomes, costs) == (3.0, 0.5)


def test_calibration_error_weighs_the_gap_of_each_bin() -> None:
    p = np.array([0.15, 0.15, 0.95, 0.95])
    outcomes = np.array([0.0, 1.0, 1.0, 1.0])
    assert frontier.calibration_error(p, outcomes) == pytest.approx(0.5 * 0.35 + 0.5 * 0.05)
    assert frontier.calibration_error(np.array([1.0]), np.array([1.0])) == 0


def test_auroc_counts_pairs_and_ties_half() -> None:
    assert frontier.auroc(np.array([0.9, 0.8, 0.8, 0.1]), np.array([1.0, 1.0, 0.0, 0.0])) == pytest.approx(3.5 / 4)
    assert np.isnan(frontier.auroc(np.array([0.5]), np.array([1.0])))


def test_recovered_quality_by_share_of_calls() -> None:
    weak, strong = np.array([1.0, 0.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 1.0])
    shares, pgr = frontier.recovered(np.array([0.1, 0.9, 0.8, 0.2]), weak, strong)
    assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1.0]
    assert pgr.tolist() == [0, 0.5, 1, 1, 1]
    assert frontier.apgr(shares, pgr) == pytest.approx(0.25 * (0.25 + 0.75 + 1 + 1))
    assert frontier.call_share(shares, pgr, 0.5) == 0.25
    assert frontier.call_share(shares, pgr, 0.8) == 0.5
    assert frontier.call_share(shares, pgr, 1.1) == float("inf")
