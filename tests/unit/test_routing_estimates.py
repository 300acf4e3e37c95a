"""Expected quality: predicted, declared, and moved by verdicts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.routing.estimates import ALL, Count, Evidence, estimates_of
from router_service.signals.signals import Signals
from tests.support.catalogs import catalog_of, entry

CATALOG = catalog_of(
    entry("trained", router={"quality": {"default": 0.5}}),
    entry("declared", router={"quality": {"default": 0.6, "law": 0.9}}),
    entry("unknown"),
)
counts = st.builds(lambda score, more: Count(score, score + more), st.floats(0, 1000), st.floats(0, 1000))


def said(hardness: float = 0.0, *, familiarity: float = 1.0, trained: float = 0.8) -> Signals:
    return Signals(
        extra={
            "predictor.hardness": hardness,
            "predictor.familiarity": familiarity,
            "predictor.quality": {"trained": trained},
            "predictor.tokens_out": {"trained": 120},
        }
    )


def quality(
    signals: Signals | None, *, domain: str | None = None, own: dict[tuple[str, str], Count] | None = None
) -> dict[str, float | None]:
    found = estimates_of(signals, CATALOG.models, task=None, domain=domain, evidence=Evidence(own or {}, {}))
    return {name: each.quality for name, each in found.items()}


def test_a_trained_model_is_expected_to_do_as_predicted_and_another_as_declared() -> None:
    assert quality(said()) == {"trained": 0.8, "declared": pytest.approx(0.6)}
    assert quality(None) == {"trained": 0.5, "declared": 0.6}
    assert quality(said(), domain="law")["declared"] == pytest.approx(0.9)
    assert estimates_of(said(), CATALOG.models, task=None, domain=None)["trained"].tokens_out == 120


def test_a_hard_request_is_harder_for_a_model_that_the_predictor_does_not_know() -> None:
    easy, hard = quality(said(-1.0))["declared"], quality(said(1.0))["declared"]
    assert easy is not None
    assert hard is not None
    assert hard < 0.6 < easy
    assert quality(said(1.0, familiarity=0.0))["declared"] == pytest.approx(0.6)


def test_verdicts_move_an_estimate_from_the_prior_to_what_was_seen() -> None:
    few, many = Count(0, 5), Count(0, 500)
    assert 0.4 < (quality(None, own={("declared", ALL): few})["declared"] or 0) < 0.6
    assert (quality(None, own={("declared", ALL): many})["declared"] or 1) < 0.05
    assert quality(None, own={("unknown", ALL): Count(90, 100)})["unknown"] == pytest.approx(0.83, abs=0.02)


def test_verdicts_of_the_domain_count_for_more_than_those_of_others() -> None:
    own = {("declared", ALL): Count(200, 400), ("declared", "law"): Count(10, 200)}
    assert (quality(None, domain="law", own=own)["declared"] or 1) < 0.2
    assert (quality(None, domain="art", own=own)["declared"] or 0) > 0.4


def test_a_verdict_on_the_level_moves_the_single_job_with_it() -> None:
    own = {("trained", ALL): Count(300, 400)}  # declared 0.5, does better
    assert (quality(said(trained=0.8), own=own)["trained"] or 0) > 0.9
    assert (quality(said(trained=0.2), own=own)["trained"] or 0) == pytest.approx(0.42, abs=0.05)


@given(
    st.floats(-5, 5),
    st.floats(0, 1),
    st.dictionaries(
        st.tuples(st.sampled_from(["trained", "declared", "unknown"]), st.sampled_from([ALL, "", "law"])), counts
    ),
)
def test_no_estimate_leaves_the_interval(hardness: float, trained: float, own: dict[tuple[str, str], Count]) -> None:
    for domain in (None, "law"):
        for value in quality(said(hardness, trained=trained), domain=domain, own=own).values():
            assert value is None or 0 <= value <= 1


def test_counts_find_the_truth_of_a_domain() -> None:
    """500 verdicts, two domains, one of which the model cannot do."""
    random_ = random.Random(7)
    truth = {"law": 0.9, "art": 0.2}
    own: dict[tuple[str, str], Count] = {}
    for _verdict in range(500):
        domain = random_.choice(["law", "art"])
        right = float(random_.random() < truth[domain])
        for key in (("declared", domain), ("declared", ALL)):
            before = own.get(key, Count())
            own[key] = Count(before.score + right, before.trials + 1)
    for domain, expected in truth.items():
        assert quality(None, domain=domain, own=own)["declared"] == pytest.approx(expected, abs=0.1)
