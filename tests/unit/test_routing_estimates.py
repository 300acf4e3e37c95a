"""Expected quality: predicted, declared, and moved by verdicts."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.routing.estimates import EVERYBODY, STEP, Cell, Count, Shift, estimates_of, shifts_of
from router_service.signals.signals import Signals
from tests.support.catalogs import catalog_of, entry

if TYPE_CHECKING:
    from collections.abc import Mapping

CATALOG = catalog_of(
    entry("trained", router={"quality": {"default": 0.5}}),
    entry("declared", router={"quality": {"default": 0.6, "law": 0.9}}),
    entry("unknown"),
)
cells = st.builds(
    Cell,
    st.sampled_from([EVERYBODY, "acme"]),
    st.sampled_from(["trained", "declared", "unknown"]),
    st.sampled_from(["", "law"]),
)
counts = st.builds(
    lambda trials, score, expected: Count(score * trials, trials, expected * trials),
    st.floats(0, 1000),
    st.floats(0, 1),
    st.floats(0, 1),
)


def said(hardness: float = 0.0, *, familiarity: float = 1.0, trained: float = 0.8) -> Signals:
    return Signals(
        extra={
            "predictor.hardness": hardness,
            "predictor.familiarity": familiarity,
            "predictor.p_correct": {"trained": trained},
            "predictor.p_usual": {"trained": 0.7, "unknown": 0.3},
            "predictor.answer_tokens": {"trained": 120},
        }
    )


def quality(
    signals: Signals | None, *, domain: str | None = None, counts: Mapping[Cell, Count] | None = None
) -> dict[str, float | None]:
    shifts = shifts_of(counts or {}, {})
    found = estimates_of(signals, CATALOG.models, task=None, domain=domain, tenant_id="acme", shifts=shifts)
    return {name: each.quality for name, each in found.items()}


def verdicts(model: str, *, right: float, of: float, expected: float, domain: str = "") -> dict[Cell, Count]:
    return {Cell("acme", model, domain): Count(right, of, expected * of)}


def test_a_trained_model_is_expected_to_do_as_predicted_and_another_as_declared() -> None:
    assert quality(said()) == {"trained": 0.8, "declared": pytest.approx(0.6)}
    assert quality(None) == {"trained": 0.5, "declared": 0.6}
    assert quality(said(), domain="law")["declared"] == pytest.approx(0.9)
    found = estimates_of(said(), CATALOG.models, task=None, domain=None, tenant_id="", shifts={})
    assert found["trained"].tokens_out == 120


def test_a_hard_request_is_harder_for_a_model_that_the_predictor_does_not_know() -> None:
    easy, hard = quality(said(-1.0))["declared"], quality(said(1.0))["declared"]
    assert easy is not None
    assert hard is not None
    assert hard < 0.6 < easy


def test_verdicts_move_an_expectation_from_the_prior_to_what_was_seen() -> None:
    few = quality(None, counts=verdicts("declared", right=0, of=5, expected=0.6))["declared"]
    many = quality(None, counts=verdicts("declared", right=0, of=1000, expected=0.6))["declared"]
    assert few is not None
    assert many is not None
    assert 0.4 < few < 0.6
    assert many < 0.05
    assert quality(None, counts=verdicts("unknown", right=90, of=100, expected=0.5))["unknown"] == pytest.approx(
        0.88, abs=0.02
    )


def test_verdicts_that_were_expected_move_nothing() -> None:
    """Hard jobs are answered wrong more often: that speaks against the jobs, not against the model."""
    assert quality(said(trained=0.8), counts=verdicts("trained", right=30, of=100, expected=0.3))["trained"] == 0.8


def levels(signals: Signals | None, counts: Mapping[Cell, Count]) -> dict[str, float | None]:
    shifts = shifts_of(counts, {})
    found = estimates_of(signals, CATALOG.models, task=None, domain=None, tenant_id="acme", shifts=shifts)
    return {name: each.level for name, each in found.items()}


def test_a_level_is_as_declared_or_as_trained_and_no_question_moves_it() -> None:
    for hardness, trained in ((0.0, 0.9), (3.0, 0.01)):
        found = levels(
            Signals(extra={**said(hardness, trained=trained).extra, "predictor.p_correct": {"unknown": 0.1}}), {}
        )
        assert found == {"trained": 0.5, "declared": 0.6, "unknown": 0.3}


def test_a_level_is_moved_by_what_verdicts_say_beyond_itself() -> None:
    """1,000 answers, right in two of five, as the predictor had expected: the model is not what the catalog declares."""
    cell = Cell("acme", "declared", "")
    found = {cell: Count(score=400, trials=1000, expected=400, levels=600)}
    assert quality(said(), counts=found)["declared"] == quality(said())["declared"]
    assert levels(said(), found)["declared"] == pytest.approx(0.4, abs=0.02)
    unheard = {Cell("acme", "unknown", ""): Count(score=400, trials=1000, expected=500, levels=500)}
    assert levels(None, unheard)["unknown"] == pytest.approx(0.4, abs=0.02)


def test_what_was_read_before_levels_were_predicted_is_still_understood() -> None:
    old = Signals(extra={key: value for key, value in said().extra.items() if key != "predictor.p_usual"})
    assert quality(old)["trained"] == 0.8


def test_verdicts_of_the_domain_count_for_more_than_those_of_others() -> None:
    both = verdicts("declared", right=120, of=200, expected=0.6) | verdicts(
        "declared", right=10, of=200, expected=0.9, domain="law"
    )
    assert (quality(None, domain="law", counts=both)["declared"] or 1) < 0.25
    assert 0.1 < (quality(None, domain="art", counts=both)["declared"] or 0) < 0.5  # as over both
    assert (quality(None, counts=both)["declared"] or 0) > 0.5


def test_a_tenants_own_verdicts_go_before_those_of_all() -> None:
    shared = {Cell(EVERYBODY, "declared", ""): Count(0, 1000, 600)}
    own = {Cell("acme", "declared", ""): Count(600, 1000, 600)}
    assert (quality(None, counts=shared)["declared"] or 1) < 0.05
    assert quality(None, counts=shared | own)["declared"] == pytest.approx(0.6, abs=0.05)


def test_a_shift_moves_only_by_more_than_a_step() -> None:
    cell, whole = Cell("acme", "declared", ""), Cell("acme", "declared", None)
    exact = shifts_of({cell: Count(60, 100, 50)}, {})
    near = {each: Shift(shift.quality + 0.9 * STEP, shift.level) for each, shift in exact.items()}
    assert shifts_of({cell: Count(60, 100, 50)}, near) == near
    far = {each: Shift(shift.quality + 1.1 * STEP, shift.level) for each, shift in exact.items()}
    assert shifts_of({cell: Count(60, 100, 50)}, far)[whole] == exact[whole]


@given(st.floats(-5, 5), st.floats(0, 1), st.dictionaries(cells, counts))
def test_no_expectation_leaves_the_interval(hardness: float, trained: float, found: dict[Cell, Count]) -> None:
    for domain in (None, "law"):
        for value in quality(said(hardness, trained=trained), domain=domain, counts=found).values():
            assert value is None or 0 <= value <= 1


def test_verdicts_find_the_truth_of_a_domain() -> None:
    """500 verdicts, two domains, one of which the model cannot do."""
    drawn, truth = random.Random(7), {"law": 0.9, "art": 0.2}
    found: dict[Cell, Count] = {}
    for _verdict in range(500):
        domain = drawn.choice(["law", "art"])
        cell, expected = Cell("acme", "declared", domain), 0.9 if domain == "law" else 0.6
        before = found.get(cell, Count())
        right = float(drawn.random() < truth[domain])
        found[cell] = Count(before.score + right, before.trials + 1, before.expected + expected)
    for domain, value in truth.items():
        assert quality(None, domain=domain, counts=found)["declared"] == pytest.approx(value, abs=0.1)


def test_how_hard_a_request_is_its_caller_knows_best() -> None:
    hinted = replace(said(hardness=-2.0), difficulty=0.95, hinted=("difficulty",))
    assert quality(hinted)["trained"] == 0.8, "what it was trained with says that itself"
    hard, easy = quality(hinted)["declared"], quality(said(hardness=-2.0))["declared"]
    assert hard is not None
    assert easy is not None
    assert hard < 0.6 < easy
    assert quality(replace(said(hardness=-2.0), difficulty=0.95))["declared"] == easy, "predicted by another"
    assert quality(Signals(difficulty=0.95, hinted=("difficulty",)))["declared"] == hard, "without a predictor"
