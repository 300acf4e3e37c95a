from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.evaluation import targets
from router_service.evaluation.routing import Actual, Expected

IDS = [f"question {at}" for at in range(4000)]


def _alike(strong: float, weak: float, *, seed: int = 0) -> tuple[Expected, Actual]:
    """Questions that no setting tells apart: a dear model and a cheap one, right as often as given and as predicted."""
    count, random = len(IDS), np.random.default_rng(seed)
    p = np.array([strong, weak])
    cost = np.array([0.01, 0.001])
    expected = Expected(p=np.tile(p, (count, 1)), cost_usd=np.tile(cost, (count, 1)), usual_p=p, usual_cost_usd=cost)
    return expected, Actual(outcomes=(random.random((count, 2)) < p).astype(float), cost_usd=expected.cost_usd)


def test_a_target_between_two_settings_is_met_by_sharing_the_questions() -> None:
    curve = targets.calibrate(*_alike(0.8, 0.7))
    told = targets.delivered(curve, IDS, *_alike(0.8, 0.7, seed=1))
    middle = told[targets.TARGETS.index(0.95)]
    assert len(middle["lambdas"]) == 2
    assert middle["delivered"] == pytest.approx(0.95, abs=3 * middle["error"])
    assert 0.2 < middle["saved"] < 0.7


def test_a_target_below_the_cheapest_model_and_one_at_the_top_take_one_setting() -> None:
    told = targets.delivered(targets.calibrate(*_alike(0.8, 0.75)), IDS, *_alike(0.8, 0.75))
    assert [len(each["lambdas"]) for each in told] == [1, 2, 2, 1]
    assert told[0]["saved"] == pytest.approx(0.9)
    assert (told[3]["delivered"], told[3]["saved"]) == (1.0, 0.0)


def test_predictions_that_are_too_high_for_the_cheap_model_are_corrected_by_outcomes() -> None:
    honest, actual = _alike(0.8, 0.7)
    proud, _ = _alike(0.8, 0.78)
    saved = [
        targets.delivered(targets.calibrate(each, actual), IDS, each, actual)[2]["saved"] for each in (honest, proud)
    ]
    believed = targets.calibrate(proud, Actual(outcomes=proud.p, cost_usd=proud.cost_usd))
    assert saved[0] < saved[1] < targets.delivered(believed, IDS, proud, actual)[2]["saved"]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_nearest_sequence_that_never_falls(values: list[float]) -> None:
    fitted = targets.never_falling(np.array(values))
    assert (np.diff(fitted) >= 0).all()
    assert fitted.mean() == pytest.approx(np.mean(values))
    assert fitted.tolist() == pytest.approx(values) if values == sorted(values) else (np.diff(values) < 0).any()
