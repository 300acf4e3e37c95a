"""The price of quality, measured: the worth that meets a target does meet it, and no cheaper one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.routing.calibration import Offer, curve_of, prior_cases
from tests.support.catalogs import catalog_of, entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

offers = st.builds(
    Offer, cost_usd=st.integers(1, 1000).map(lambda n: n / 1000), quality=st.integers(1, 100).map(lambda n: n / 100)
)
cases = st.lists(st.dictionaries(st.sampled_from("abcd"), offers, min_size=1), min_size=1, max_size=30)


def picked(jobs: Sequence[Mapping[str, Offer]], worth: float) -> list[Offer]:
    return [min(job.values(), key=lambda each: (each.cost_usd - worth * each.quality, -each.quality)) for job in jobs]


@given(cases)
def test_the_curve_is_what_choosing_with_that_worth_gives(jobs: Sequence[Mapping[str, Offer]]) -> None:
    curve = curve_of(jobs)
    assert curve is not None
    assert curve.jobs == len(jobs)
    whole = curve.points[-1]
    best = sum(max(offer.quality for offer in job.values()) for job in jobs)
    for point in curve.points:
        mean_cost = sum(each.cost_usd for each in picked(jobs, point.worth_usd)) / len(jobs)
        quality = sum(each.quality for each in picked(jobs, point.worth_usd))
        assert quality / best == pytest.approx(point.quality_share / whole.quality_share, abs=1e-6)
        assert mean_cost <= curve.points[-1].cost_usd + 1e-9


@given(cases)
def test_worth_quality_and_cost_rise_together(jobs: Sequence[Mapping[str, Offer]]) -> None:
    curve = curve_of(jobs)
    assert curve is not None
    assert list(curve.points) == sorted(curve.points)
    assert [point.quality_share for point in curve.points] == sorted(point.quality_share for point in curve.points)
    assert len(curve.points) <= 66


def test_a_target_costs_no_more_than_it_must() -> None:
    jobs = [{"small": Offer(1.0, 0.5), "big": Offer(2.0, 0.5 + step / 20)} for step in range(1, 11)]
    curve = curve_of(jobs)
    assert curve is not None
    assert curve.worth_usd(0.0) == 0.0
    for target in (0.7, 0.9, 0.99):
        chosen = picked(jobs, curve.worth_usd(target))
        reference = sum(job["big"].quality for job in jobs)
        assert sum(each.quality for each in chosen) / reference >= target
        cheaper = [point for point in curve.points if point.worth_usd < curve.worth_usd(target)]
        assert all(point.quality_share < target for point in cheaper)
    assert curve.worth_usd(2.0) == curve.points[-1].worth_usd


def test_alike_jobs_are_split_so_that_the_mean_meets_the_target() -> None:
    curve = curve_of([{"small": Offer(1.0, 0.6), "big": Offer(5.0, 0.9)}] * 100)
    assert curve is not None
    draws = [(step + 0.5) / 1000 for step in range(1000)]
    for target in (0.7, 0.8, 0.95):
        chosen = [
            picked([{"small": Offer(1.0, 0.6), "big": Offer(5.0, 0.9)}], curve.worth_usd(target, draw=draw))[0]
            for draw in draws
        ]
        assert sum(each.quality for each in chosen) / 1000 == pytest.approx(0.9 * target, abs=1e-3)


def test_without_jobs_or_without_any_hope_there_is_no_curve() -> None:
    assert curve_of([]) is None
    assert curve_of([{}]) is None
    assert curve_of([{"a": Offer(1.0, 0.0)}]) is None


def test_before_any_job_the_catalog_tells_what_quality_costs() -> None:
    catalog = catalog_of(
        entry("small", cost=1e-6, router={"quality": {"default": 0.6}}),
        entry("big", cost=1e-5, router={"quality": {"default": 0.9}}),
        entry("unknown", cost=1e-7),
    )
    curve = curve_of(prior_cases(catalog))
    assert curve is not None
    assert 0 < curve.worth_usd(0.8) < curve.worth_usd(0.97)
    assert curve_of(prior_cases(catalog_of(entry("unknown")))) is None
