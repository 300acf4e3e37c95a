"""The price of quality, measured: the worth that meets a target does meet it, and no cheaper one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.routing.calibration import Offer, curve_of, offers_beside, prior_cases
from tests.support.catalogs import catalog_of, entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.routing.insight import Worth

offers = st.builds(
    Offer, cost_usd=st.integers(1, 1000).map(lambda n: n / 1000), quality=st.integers(1, 100).map(lambda n: n / 100)
)
cases = st.lists(st.dictionaries(st.sampled_from("abcd"), offers, min_size=1), min_size=1, max_size=30)


def chosen(jobs: Sequence[Mapping[str, Offer]], worth: Worth) -> list[Offer]:
    """By the rule as it is written down, job by job."""

    def value(job: Mapping[str, Offer], name: str) -> tuple[float, float]:
        bonus = worth.margin_usd if name == worth.usual else 0.0
        return round(job[name].cost_usd - worth.usd * job[name].quality - bonus, 12), job[name].cost_usd

    return [job[min(job, key=lambda name: value(job, name))] for job in jobs]


@given(cases)
def test_worth_quality_and_cost_rise_together_from_the_cheapest_on(jobs: Sequence[Mapping[str, Offer]]) -> None:
    curve = curve_of(jobs)
    assert curve is not None
    assert curve.jobs == len(jobs)
    assert [point.worth.usd for point in curve.points] == sorted(point.worth.usd for point in curve.points)
    assert [point.quality_share for point in curve.points] == sorted(point.quality_share for point in curve.points)
    cheapest = sum(min(offer.cost_usd for offer in job.values()) for job in jobs) / len(jobs)
    assert curve.points[0].cost_usd >= cheapest - 1e-9


def test_a_target_is_met_and_no_lower_worth_of_the_curve_meets_it() -> None:
    jobs = [{"small": Offer(1.0, 0.5), "big": Offer(2.0, 0.5 + step / 20)} for step in range(1, 11)]
    curve = curve_of(jobs)
    assert curve is not None
    reference = sum(job["big"].quality for job in jobs)
    for target in (0.7, 0.9, 0.97):
        worth = curve.worth(target)
        assert sum(each.quality for each in chosen(jobs, worth)) / reference >= target
        assert all(point.quality_share < target for point in curve.points if point.worth.usd < worth.usd)
    assert curve.worth(2.0) == curve.points[-1].worth


def test_alike_jobs_are_split_so_that_the_mean_meets_the_target() -> None:
    jobs = [{"small": Offer(1.0, 0.6), "big": Offer(5.0, 0.9)}] * 100
    curve = curve_of(jobs)
    assert curve is not None
    draws = [(step + 0.5) / 1000 for step in range(1000)]
    for target in (0.7, 0.8, 0.95, 1.0):
        picks = [chosen(jobs[:1], curve.worth(target, draw=draw))[0] for draw in draws]
        assert sum(each.quality for each in picks) / 1000 == pytest.approx(0.9 * target, abs=1e-3)


def test_without_jobs_or_without_any_hope_there_is_no_curve() -> None:
    assert curve_of([]) is None
    assert curve_of([{}]) is None
    assert curve_of([{"a": Offer(1.0, 0.0)}]) is None


def test_before_any_job_the_catalog_tells_what_quality_costs() -> None:
    catalog = catalog_of(
        entry("small", cost=1e-6, router={"quality": {"default": 0.6}}),
        entry("big", cost=1e-5, router={"quality": {"default": 0.9}}),
        entry("unknown", cost=1e-7),
        entry("last", cost=1e-4, params={"order": 2}, router={"quality": {"default": 1.0}}),
    )
    assert {name for case in prior_cases(catalog) for name in case} == {"small", "big"}
    curve = curve_of(prior_cases(catalog))
    assert curve is not None
    assert 0 < curve.worth(0.8).usd < curve.worth(0.97).usd
    assert curve_of(prior_cases(catalog_of(entry("unknown")))) is None


def test_what_only_a_later_rank_or_place_offers_is_nothing_to_choose() -> None:
    def seen(model: str, *, rank: int = 0, eligible: bool = True, **more: int) -> dict[str, object]:
        return {"model": model, "eligible": eligible, "rank": rank, "cost_usd": 1.0, "quality": 0.5, **more}

    candidates = [
        seen("a"),
        seen("b"),
        seen("out", eligible=False),
        seen("avoided", place=2),
        seen("fallback", rank=1),
        seen("a", rank=1),
        {"model": "unpriced", "eligible": True, "rank": 0, "quality": 0.5},
    ]
    assert set(offers_beside("b", candidates)) == {"a", "b"}
    assert set(offers_beside("avoided", candidates)) == {"avoided"}
    assert set(offers_beside("fallback", candidates)) == {"fallback", "a"}
    assert offers_beside(None, candidates) == {}
