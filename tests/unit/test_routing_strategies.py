"""Each strategy's choice, by the names that users know it by."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from router_service.catalog.policies import Exploration, RoutingPolicy, Strategy
from router_service.jobs.preferences import Preferences, Sort
from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.routing.counters import Counters
from router_service.routing.decision import Decision, route
from router_service.routing.insight import Estimate, Insight, Worth
from tests.support.catalogs import catalog_of, entry

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB = RoutableJob(id=UUID(int=1), epoch=0, spec=JobSpec(model=AUTO, tokens_in=1000, tokens_out=1000))
MANY = [replace(JOB, id=UUID(int=number)) for number in range(1, 2001)]
SMALL_AND_BIG = catalog_of(
    entry("small", cost=1e-6, router={"quality": {"default": 0.6}}),
    entry("big", cost=1e-5, router={"quality": {"default": 0.9}}),
)


def state(**changes: Any) -> Counters:
    return replace(Counters(in_flight=0, wait_s=0.0, paused_s=0.0, room=5), **changes)


def decided(strategy: str, catalog: Any, live: Mapping[str, Counters] | None = None, **policy: Any) -> Decision:
    return route(JOB, catalog=catalog, counters=live or {}, policy=RoutingPolicy(strategy=strategy, **policy))


def shares(catalog: Any, policy: RoutingPolicy, live: Mapping[str, Counters] | None = None) -> Counter[str | None]:
    picks = [route(job, catalog=catalog, counters=live or {}, policy=policy).model_id for job in MANY]
    return Counter({model: count / len(MANY) for model, count in Counter(picks).items()})


def test_simple_shuffle_goes_by_weight() -> None:
    catalog = catalog_of(entry("a", params={"weight": 3}), entry("b"))
    picks = shares(catalog, RoutingPolicy(strategy=Strategy.SIMPLE_SHUFFLE))
    assert picks["a"] == pytest.approx(0.75, abs=0.03)


def test_simple_shuffle_goes_by_rpm_where_no_weight_is_written() -> None:
    catalog = catalog_of(entry("a", params={"rpm": 10}), entry("b", params={"rpm": 90}))
    picks = shares(catalog, RoutingPolicy(strategy=Strategy.SIMPLE_SHUFFLE))
    assert picks["b"] == pytest.approx(0.9, abs=0.03)


def test_simple_shuffle_passes_over_what_is_full() -> None:
    picks = shares(
        catalog_of(entry("a"), entry("b")),
        RoutingPolicy(strategy=Strategy.SIMPLE_SHUFFLE),
        {"a": state(room=0), "b": state()},
    )
    assert picks == {"b": 1.0}


def test_least_busy_counts_what_runs_and_what_waits() -> None:
    live = {"small": state(in_flight=3, waiting=4), "big": state(in_flight=6)}
    assert decided(Strategy.LEAST_BUSY, SMALL_AND_BIG, live).model_id == "big"


def test_the_lowest_latency_is_taken_and_what_is_not_known_yet_is_tried() -> None:
    live = {"small": state(latency_s=2.0), "big": state(latency_s=1.0)}
    assert decided(Strategy.LATENCY, SMALL_AND_BIG, live).model_id == "big"
    assert decided(Strategy.LATENCY, SMALL_AND_BIG, {"big": state(latency_s=1.0)}).model_id == "small"


def test_latencies_within_the_buffer_are_as_good_as_the_lowest() -> None:
    live = {"small": state(latency_s=1.1), "big": state(latency_s=1.0)}
    picks = shares(SMALL_AND_BIG, RoutingPolicy(strategy=Strategy.LATENCY, latency_buffer=0.2), live)
    assert picks["small"] == pytest.approx(0.5, abs=0.05)
    assert shares(SMALL_AND_BIG, RoutingPolicy(strategy=Strategy.LATENCY), live) == {"big": 1.0}


def test_the_lowest_cost_is_waited_for_however_long() -> None:
    assert decided(Strategy.COST, SMALL_AND_BIG, {"small": state(wait_s=1e5)}).model_id == "small"
    assert decided(Strategy.CHEAPEST_CAPABLE, SMALL_AND_BIG, {"small": state(wait_s=1e6)}).model_id == "big"


def test_usage_goes_by_the_tokens_of_the_last_minute() -> None:
    live = {"small": state(used_tpm=500.0), "big": state(used_tpm=100.0)}
    assert decided(Strategy.USAGE, SMALL_AND_BIG, live).model_id == "big"


def test_the_fastest_counts_wait_and_call() -> None:
    live = {"small": state(latency_s=1.0, wait_s=5.0), "big": state(latency_s=4.0)}
    assert decided(Strategy.FASTEST, SMALL_AND_BIG, live).model_id == "big"
    assert decided(Strategy.FASTEST, SMALL_AND_BIG, {"big": state(latency_s=9.0)}).model_id == "big"


@pytest.mark.parametrize(("worth", "model"), [(0.0, "small"), (0.05, "small"), (0.07, "big"), (None, "big")])
def test_a_right_answer_is_bought_while_it_is_worth_its_price(worth: float | None, model: str) -> None:
    """The big one costs 0.018 USD more and is right 0.3 more often: from 0.06 USD an answer on it is worth it."""
    policy = RoutingPolicy(strategy=Strategy.QUALITY_TARGET)
    found = route(
        JOB,
        catalog=SMALL_AND_BIG,
        counters={},
        policy=policy,
        insight=Insight(worth=None if worth is None else Worth(worth)),
    )
    assert found.model_id == model
    assert found.reason == "quality-target"


def test_an_estimate_of_the_job_goes_before_what_the_catalog_declares() -> None:
    insight = Insight(estimates={"small": Estimate(quality=0.89)}, worth=Worth(0.1))
    policy = RoutingPolicy(strategy=Strategy.QUALITY_TARGET)
    assert route(JOB, catalog=SMALL_AND_BIG, counters={}, policy=policy, insight=insight).model_id == "small"


@pytest.mark.parametrize(("sort", "model"), [(Sort.PRICE, "small"), (Sort.LATENCY, "big"), (Sort.THROUGHPUT, "big")])
def test_a_requests_own_sort_goes_before_the_policys_strategy(sort: Sort, model: str) -> None:
    live = {"small": state(latency_s=5.0), "big": state(latency_s=1.0)}
    job = replace(JOB, spec=replace(JOB.spec, preferences=Preferences(sort=sort)))
    found = route(job, catalog=SMALL_AND_BIG, counters=live, policy=RoutingPolicy())
    assert (found.model_id, found.reason) == (model, f"sort:{sort}")


def explored(catalog: Any, live: Mapping[str, Counters] | None = None, **bounds: Any) -> float:
    policy = RoutingPolicy(exploration=Exploration(share=0.1, **bounds))
    return shares(catalog, policy, live)["big"]


def test_a_small_share_tries_another_model_within_bounds() -> None:
    assert explored(SMALL_AND_BIG, most_cost_factor=20) == pytest.approx(0.1, abs=0.02)
    assert explored(SMALL_AND_BIG) == 0  # ten times the price
    assert explored(SMALL_AND_BIG, {"big": state(room=0)}, most_cost_factor=20) == 0


def test_exploration_never_risks_more_quality_than_its_bound() -> None:
    worse = catalog_of(
        entry("small", cost=1e-6, router={"quality": {"default": 0.6}}),
        entry("big", cost=1e-6, params={"order": 0}, router={"quality": {"default": 0.5}}),
    )
    policy = RoutingPolicy(strategy=Strategy.QUALITY_TARGET, quality_usd=1.0, exploration=Exploration(share=0.2))
    assert shares(worse, policy) == {"small": 1.0}


def test_a_job_that_has_begun_its_tries_does_not_explore() -> None:
    policy = RoutingPolicy(exploration=Exploration(share=0.2, most_cost_factor=20))
    tried = [replace(job, tried="small") for job in MANY]
    picks = {route(job, catalog=SMALL_AND_BIG, counters={}, policy=policy).model_id for job in tried}
    assert picks == {"small"}
