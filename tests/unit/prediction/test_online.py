from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.errors import InvalidRequestError
from router_service.prediction.online import Cell, Evidence, Rules, cells, judged, shift, shifted

RULES = Rules(strength=10, step=0.02, half_life_s=100)
PATH = cells("m", domain="law", tenant_id=None, rules=RULES)


def _learn(outcomes: list[float], *, p: float, rules: Rules = RULES, at_s: float = 0.0) -> dict[Cell, Evidence]:
    table: dict[Cell, Evidence] = {}
    path = cells("m", domain="law", tenant_id="t", rules=rules)
    for outcome in outcomes:
        table |= judged(table, path, p=p, outcome=outcome, at_s=at_s, rules=rules)
    return table


def test_one_cell_is_the_mean_of_a_beta_posterior() -> None:
    rules = Rules(strength=10, step=0, half_life_s=100)
    path = cells("m", domain=None, tenant_id=None, rules=rules)
    table: dict[Cell, Evidence] = {}
    for outcome in (1.0, 1.0, 1.0, 0.0):
        table |= judged(table, path, p=0.5, outcome=outcome, at_s=0, rules=rules)
    assert 0.5 + shift(table, path) == pytest.approx((10 * 0.5 + 3) / (10 + 4))


def test_a_model_that_is_better_than_predicted_converges_to_what_it_does() -> None:
    random = np.random.default_rng(1)
    table = _learn([float(value) for value in random.random(2000) < 0.8], p=0.5)
    assert 0.5 + shift(table, PATH) == pytest.approx(0.8, abs=0.04)


def test_a_domain_moves_away_from_the_model_only_by_its_own_evidence() -> None:
    table = _learn([1.0] * 50, p=0.5)
    elsewhere = cells("m", domain="physics", tenant_id=None, rules=RULES)
    assert 0 < shift(table, elsewhere) < shift(table, PATH)
    assert shift(table, cells("other", domain="law", tenant_id=None, rules=RULES)) == 0


def test_a_tenant_has_a_layer_of_its_own_only_where_asked_for() -> None:
    rules = Rules(strength=10, by_tenant=True)
    assert [cell.tenant_id for cell in cells("m", domain="law", tenant_id="t", rules=rules)] == [None, None, "t"]
    assert [cell.tenant_id for cell in cells("m", domain="law", tenant_id="t", rules=RULES)] == [None, None]


def test_a_small_change_of_evidence_does_not_move_the_shift() -> None:
    table = _learn([1.0] * 200, p=0.9)
    before = shift(table, PATH)
    table |= judged(table, PATH, p=0.9, outcome=0.0, at_s=0, rules=RULES)
    assert shift(table, PATH) == before


def test_old_evidence_fades() -> None:
    table = _learn([1.0] * 100, p=0.5)
    later = judged(table, PATH, p=0.5, outcome=0.5, at_s=1000, rules=RULES)
    assert later[PATH[-1]].trials == pytest.approx(1 + 100 / 2**10)
    assert abs(shift(later, PATH)) < 0.05
    assert table[PATH[-1]].faded(-5, half_life_s=100).trials == 100


def test_a_probability_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="between 0 and 1"):
        judged({}, PATH, p=1.5, outcome=1.0, at_s=0, rules=RULES)


@given(
    judgements=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6)), max_size=60),
    p=st.floats(0, 1),
)
def test_what_was_learned_never_leaves_the_range_of_probabilities(
    judgements: list[tuple[float, float, float]], p: float
) -> None:
    table: dict[Cell, Evidence] = {}
    for said, outcome, at_s in judgements:
        table |= judged(table, PATH, p=said, outcome=outcome, at_s=at_s, rules=RULES)
    result = shifted(np.array([p], np.float32), shift(table, PATH))
    assert 0 <= result[0] <= 1
    assert all(each.trials >= each.successes >= -1e-9 for each in table.values())


def test_judged_answers_by_domain_tell_when_the_strong_model_is_needed() -> None:
    """Two models, twenty subjects that differ in how far the strong one is ahead, nothing known before, 500 labels."""
    random = np.random.default_rng(0)
    ahead = random.uniform(0, 0.5, size=20)
    rules = Rules(strength=10, step=0.01)
    table: dict[Cell, Evidence] = {}
    for subject in random.integers(20, size=500):
        for model, p in (("weak", 0.5), ("strong", 0.5 + ahead[subject])):
            outcome = float(random.random() < p)
            path = cells(model, domain=str(subject), tenant_id=None, rules=rules)
            table |= judged(table, path, p=0.5, outcome=outcome, at_s=0, rules=rules)
    gains = [
        shift(table, cells("strong", domain=str(each), tenant_id=None, rules=rules))
        - shift(table, cells("weak", domain=str(each), tenant_id=None, rules=rules))
        for each in range(20)
    ]
    assert np.corrcoef(gains, ahead)[0, 1] > 0.6
