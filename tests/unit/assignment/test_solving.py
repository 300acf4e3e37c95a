from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.assignment.capacity import Capacity, Limit, Unit
from router_service.assignment.choice import choices
from router_service.assignment.goal import Goal
from router_service.assignment.jobs import enough
from router_service.assignment.plan import Infeasible, Plan
from router_service.assignment.program import members, units_of
from router_service.assignment.solving import solve
from router_service.assignment.work import works_of
from router_service.catalog.models import Limits
from tests.support.assignments import batch, equal_jobs, room_for

if TYPE_CHECKING:
    from router_service.assignment.jobs import Jobs

TIME_S = 600.0
SEEDS = st.integers(0, 2**31)


def planned(jobs: Jobs, capacity: Capacity, goal: Goal) -> Plan:
    found = solve(jobs, capacity=capacity, goal=goal)
    assert isinstance(found, Plan), str(found)
    return found


@given(seed=SEEDS, share=st.floats(0.1, 0.8), quality=st.floats(0.8, 0.99), missing=st.floats(0.0, 0.5))
@settings(max_examples=25, deadline=None, derandomize=True)  # its tolerances are of chance
def test_a_plan_keeps_every_limit_eligibility_and_the_quality(
    seed: int, share: float, quality: float, missing: float
) -> None:
    jobs = batch(seed=seed, missing=missing)
    capacity = room_for(jobs, share)
    plan = planned(jobs, capacity, Goal(quality_share=quality, deadline_s=TIME_S))
    at, rows = choices(plan, jobs), np.arange(len(jobs))
    assert jobs.eligible[rows, at].all()
    units = units_of(jobs, len(jobs.models))
    for limit in capacity.limits:
        used = (units[limit.unit] * members(limit, jobs.models))[rows, at]
        assert used.sum() <= limit.room(TIME_S) * 1.005 + used.max()
    assert plan.finish_s <= TIME_S * 1.02 + float(jobs.latency_s[rows, at].max()), "but for a long call at the end"
    assert plan.quality == pytest.approx(float(jobs.quality[rows, at].mean()))
    best = planned(jobs, capacity, Goal(quality_share=1.0, deadline_s=TIME_S))
    assert plan.quality >= quality * best.quality - 0.003


@given(seed=SEEDS, share=st.floats(0.1, 0.8), quality=st.floats(0.8, 0.97))
@settings(max_examples=25, deadline=None, derandomize=True)  # its tolerances are of chance
def test_a_plan_costs_no_less_than_the_bound_and_no_more_than_that_of_a_little_less_time(
    seed: int, share: float, quality: float
) -> None:
    jobs = batch(1500, seed=seed)
    capacity = room_for(jobs, share)
    plan = planned(jobs, capacity, Goal(quality_share=quality, deadline_s=TIME_S))
    assert plan.bound_usd <= plan.cost_usd * (1 + 1e-9)
    sooner = planned(jobs, capacity, Goal(quality=plan.quality, deadline_s=TIME_S * 0.98))
    assert plan.cost_usd <= sooner.bound_usd * 1.03


@given(seed=SEEDS, quality=st.floats(0.6, 0.8), share=st.floats(0.2, 0.8))
@settings(max_examples=15, deadline=None, derandomize=True)  # as above
def test_tightening_never_lowers_the_bound(seed: int, quality: float, share: float) -> None:
    jobs = batch(seed=seed)
    loose = planned(jobs, room_for(jobs, share), Goal(quality=quality - 0.05, deadline_s=TIME_S)).bound_usd
    better = planned(jobs, room_for(jobs, share), Goal(quality=quality, deadline_s=TIME_S)).bound_usd
    sooner = planned(jobs, room_for(jobs, share), Goal(quality=quality, deadline_s=TIME_S * 0.7)).bound_usd
    assert loose <= better * 1.003
    assert better <= sooner * 1.003


@pytest.mark.parametrize("change", [{"rate_per_s": 0.0, "burst": 0.0}, {"opens_in_s": 2 * TIME_S}])
def test_no_job_chooses_a_model_without_room_in_time_though_it_is_the_cheapest(change: dict[str, Any]) -> None:
    jobs = batch(1000)
    capacity = room_for(jobs, 0.6)
    shut = replace(capacity, limits=tuple(replace(e, **change) if "cheap" in e.models else e for e in capacity.limits))
    for goal in (
        Goal(quality_share=0.9, deadline_s=TIME_S),
        Goal(quality_share=0.9, deadline_s=TIME_S, usd_per_s=1e-6),
    ):
        plan = planned(jobs, shut, goal)
        chosen = np.bincount(choices(plan, jobs), minlength=len(jobs.models)) / len(jobs)
        assert chosen[jobs.models.index("cheap")] == 0
        assert plan.shares == pytest.approx(dict(zip(jobs.models, chosen, strict=True)))


def test_a_job_that_no_other_model_may_do_chooses_the_one_without_room() -> None:
    """A limit that is paused for a moment, whose burst is enough: by when all is begun, it has not opened."""
    jobs = equal_jobs(4)
    alone = np.zeros_like(jobs.eligible)
    alone[:, jobs.models.index("middle")] = True
    paused = Limit(name="rpm", unit=Unit.REQUESTS, models=("middle",), rate_per_s=1.0, burst=10.0, opens_in_s=5.0)
    plan = planned(replace(jobs, eligible=alone), Capacity(limits=(paused,)), Goal(deadline_s=TIME_S, usd_per_s=1.0))
    assert plan.shares["middle"] == 1


def test_equal_jobs_are_split_as_the_limits_say() -> None:
    jobs = equal_jobs(4000)
    plan = planned(jobs, room_for(jobs, 0.3), Goal(quality=0.6, deadline_s=TIME_S))
    assert plan.shares["cheap"] == pytest.approx(0.3, abs=0.02)
    assert plan.shares["middle"] == pytest.approx(0.3, abs=0.02)
    assert plan.gap < 0.03


def test_without_a_limit_that_binds_nothing_is_to_pay() -> None:
    jobs = batch()
    plan = planned(jobs, room_for(jobs, 5.0), Goal(quality_share=0.95, deadline_s=TIME_S))
    assert plan.tolls == {}
    assert [each.name for each in plan.binding] == ["quality"]


def test_the_limit_that_binds_is_named() -> None:
    jobs = batch()
    plan = planned(jobs, room_for(jobs, 0.1), Goal(quality_share=0.9, deadline_s=TIME_S))
    assert {"tpm of cheap", "tpm of middle"} <= {each.name for each in plan.binding}
    assert plan.tolls["middle"].token > 0


def test_a_cap_over_a_group_holds_for_its_models_together() -> None:
    jobs = batch()
    both = Limit(name="tpm of account", unit=Unit.TOKENS, models=("cheap", "middle"), rate_per_s=150.0)
    capacity = Capacity(limits=(both,))
    plan = planned(jobs, capacity, Goal(quality_share=0.9, deadline_s=TIME_S))
    at, rows = choices(plan, jobs), np.arange(len(jobs))
    tokens = (jobs.tokens_in + jobs.tokens_out[rows, at])[at < 2].sum()
    assert 0.9 * both.room(TIME_S) < tokens <= both.room(TIME_S)


def test_a_model_that_opens_after_the_deadline_gets_nothing() -> None:
    jobs = batch()
    capacity = room_for(jobs, 0.5)
    late = tuple(replace(each, opens_in_s=TIME_S + 1) if "cheap" in each.models else each for each in capacity.limits)
    plan = planned(jobs, Capacity(limits=late), Goal(quality_share=0.9, deadline_s=TIME_S))
    assert plan.shares["cheap"] == 0


def test_a_budget_without_a_quality_buys_the_best_quality() -> None:
    jobs = batch()
    dearest = float(jobs.cost_usd[:, -1].sum())
    little, much = (
        planned(jobs, room_for(jobs, 1.0), Goal(budget_usd=share * dearest, deadline_s=TIME_S)) for share in (0.1, 0.4)
    )
    assert little.quality < much.quality
    assert 0.085 * dearest < little.cost_usd <= 0.1 * dearest
    assert much.cost_usd <= 0.4 * dearest


def test_time_is_bought_where_it_has_a_price() -> None:
    jobs = batch()
    capacity = room_for(jobs, 0.2)
    patient = planned(jobs, capacity, Goal(quality_share=0.8))
    hurried = planned(jobs, capacity, Goal(quality_share=0.8, usd_per_s=1.0))
    assert hurried.finish_s < 0.5 * patient.finish_s
    assert hurried.cost_usd > patient.cost_usd


def test_the_same_batch_gives_the_same_plan() -> None:
    one, other = (planned(batch(), room_for(batch(), 0.2), Goal(quality_share=0.9, deadline_s=TIME_S)) for _ in (1, 2))
    assert one.hash == other.hash


def test_no_jobs_are_no_batch() -> None:
    with pytest.raises(ValueError, match="no jobs"):
        solve(batch(0), capacity=Capacity(limits=()), goal=Goal())


def test_a_single_job_has_a_plan() -> None:
    plan = planned(batch(1), room_for(batch(1), 5.0), Goal(deadline_s=TIME_S))
    assert plan.shares["cheap"] == 1.0


class TestInfeasible:
    jobs = batch()

    def _why(self, goal: Goal, share: float = 0.3) -> Infeasible:
        jobs = self.jobs.take(np.arange(len(self.jobs)))
        found = solve(jobs, capacity=room_for(jobs, share, slots=20), goal=goal)
        assert isinstance(found, Infeasible)
        return found

    def _is_possible(self, goal: Goal, share: float = 0.3) -> bool:
        return isinstance(solve(self.jobs, capacity=room_for(self.jobs, share, slots=20), goal=goal), Plan)

    def test_a_quality_that_no_model_has_is_blamed_alone(self) -> None:
        why = self._why(Goal(quality=0.999, deadline_s=TIME_S, budget_usd=1e6))
        assert why.broken == ("quality",)
        assert why.least_finish_s is None
        assert why.best_quality is not None
        assert self._is_possible(Goal(quality=why.best_quality, deadline_s=TIME_S))

    def test_a_deadline_too_short_for_the_slots_is_blamed_alone(self) -> None:
        why = self._why(Goal(quality=0.6, deadline_s=15.0, budget_usd=1e6))
        assert why.broken == ("deadline",)
        assert why.limits
        assert why.least_finish_s is not None
        assert why.least_finish_s > 15.0
        assert self._is_possible(Goal(quality=0.6, deadline_s=why.least_finish_s * 1.05))

    def test_a_budget_too_small_for_the_quality_is_blamed_with_it(self) -> None:
        why = self._why(Goal(quality=0.8, budget_usd=1e-3))
        assert why.broken in {("quality", "budget"), ("budget",)}
        assert why.least_cost_usd is not None
        assert self._is_possible(Goal(quality=0.8, budget_usd=why.least_cost_usd * 1.001))

    def test_quality_and_deadline_are_blamed_where_each_alone_could_be_kept(self) -> None:
        best = self._why(Goal(quality=0.999)).best_quality
        assert best is not None
        why = self._why(Goal(quality=best * 0.995, deadline_s=75.0))
        assert why.broken == ("quality", "deadline")
        assert self._is_possible(Goal(quality=best * 0.995))
        assert self._is_possible(Goal(deadline_s=75.0))

    def test_jobs_without_a_model_are_counted(self) -> None:
        alone = replace(self.jobs, eligible=self.jobs.eligible & (self.jobs.quality > 0.3))
        found = solve(alone, capacity=Capacity(limits=()), goal=Goal())
        assert isinstance(found, Infeasible)
        assert found.stranded == int((~alone.eligible.any(axis=1)).sum()) > 0
        assert "have no model" in str(found)


@given(count=st.integers(3, 60), share=st.floats(0.05, 0.95))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_few_alike_jobs_cost_no_more_than_the_budget(count: int, share: float) -> None:
    jobs = equal_jobs(count)
    cheapest, dearest = float(jobs.cost_usd[:, 0].sum()), float(jobs.cost_usd[:, -1].sum())
    budget_usd = cheapest + share * (dearest - cheapest)
    plan = planned(jobs, Capacity(limits=()), Goal(budget_usd=budget_usd))
    assert plan.cost_usd <= budget_usd * (1 + 1e-9)
    assert plan.cost_usd >= budget_usd - 8 * dearest / count, "what is left buys a few steps at the most"


def test_a_limit_of_one_model_takes_no_room_for_the_others() -> None:
    jobs = batch(2000, models=40)
    limits = {model: Limits(rpm=100, tpm=100_000, itpm=80_000, otpm=40_000, slots=5) for model in jobs.models}
    capacity, pairs = Capacity.of(limits), len(jobs) * len(jobs.models) * 8
    tracemalloc.start()
    try:
        plan = solve(jobs, capacity=capacity, goal=Goal(quality_share=0.9, deadline_s=600.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(plan, Plan)
    assert len(capacity.limits) == 200
    assert peak < 50 * pairs  # of 200 limits, each with a number for each pair of a job and a model, it was 600


def test_a_solver_without_time_makes_no_plan_and_says_so() -> None:
    jobs = batch(300)
    found = solve(jobs, capacity=room_for(jobs, 0.3), goal=Goal(quality=0.6, deadline_s=600.0), limit_s=0.0)
    assert isinstance(found, Infeasible)
    assert "the solver's time (HiGHS did not solve" in str(found)
    assert not found.needs_money


def test_the_more_models_the_fewer_jobs_and_classes_are_looked_at() -> None:
    assert [enough(models) for models in (1, 20, 100, 500, 10**6)] == [20_000, 20_000, 20_000, 4000, 1000]
    jobs = batch(3000, models=250)
    assert len(works_of(jobs, choice=np.full(len(jobs), 249)).count) == 120
