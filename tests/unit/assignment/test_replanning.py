from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from router_service.assignment.capacity import Capacity
from router_service.assignment.goal import Goal, Progress, left_of
from router_service.assignment.plan import Infeasible, Plan
from router_service.assignment.replanning import solve_again
from router_service.assignment.solving import solve
from tests.support.assignments import batch, room_for

JOBS = batch(1000)
CAPACITY = room_for(JOBS, 0.3)
GOAL = Goal(quality=0.7, deadline_s=600.0)
HALF = JOBS.take(np.arange(500, 1000))


def the_plan() -> Plan:
    found = solve(JOBS, capacity=CAPACITY, goal=GOAL)
    assert isinstance(found, Plan)
    return found


def test_a_plan_that_runs_as_planned_stays() -> None:
    plan = the_plan()
    so_far = Progress(done=500, quality_sum=500 * plan.quality, cost_usd=plan.cost_usd / 2, elapsed_s=290.0)
    assert solve_again(plan, HALF, capacity=CAPACITY, goal=GOAL, progress=so_far) is plan


def test_a_model_that_is_gone_needs_a_new_plan() -> None:
    plan = the_plan()
    so_far = Progress(done=500, quality_sum=500 * plan.quality, cost_usd=plan.cost_usd / 2, elapsed_s=290.0)
    shut = Capacity(limits=tuple(replace(e, opens_in_s=900.0) if "cheap" in e.models else e for e in CAPACITY.limits))
    new = solve_again(plan, HALF, capacity=shut, goal=GOAL, progress=so_far)
    assert isinstance(new, Plan)
    assert new is not plan
    assert new.shares["cheap"] == 0


def test_a_quality_that_fell_behind_is_made_up_for() -> None:
    plan = the_plan()
    so_far = Progress(done=500, quality_sum=500 * 0.65, cost_usd=0.0, elapsed_s=200.0)
    new = solve_again(plan, HALF, capacity=CAPACITY, goal=GOAL, progress=so_far)
    assert isinstance(new, Plan)
    assert new.quality == pytest.approx(0.75, abs=0.003)


def test_what_cannot_be_made_up_for_is_said() -> None:
    so_far = Progress(done=500, quality_sum=0.0, cost_usd=0.0, elapsed_s=200.0)
    new = solve_again(the_plan(), HALF, capacity=CAPACITY, goal=GOAL, progress=so_far)
    assert isinstance(new, Infeasible)
    assert new.broken == ("quality",)


def test_what_is_left_keeps_the_whole_batchs_goal() -> None:
    goal = Goal(quality=0.8, budget_usd=10.0, deadline_s=100.0)
    left = left_of(goal, Progress(done=30, quality_sum=21.0, cost_usd=4.0, elapsed_s=25.0), left=70)
    assert left.quality == pytest.approx((80 - 21) / 70)
    assert left.budget_usd == 6.0
    assert left.deadline_s == 75.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"quality": 1.1}, "between 0 and 1"),
        ({"quality": 0.5, "quality_share": 0.5}, "give one"),
        ({"deadline_s": -1.0}, "negative"),
        ({"budget_usd": float("nan")}, "negative"),
    ],
)
def test_a_goal_out_of_range_is_refused(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Goal(**wrong)
