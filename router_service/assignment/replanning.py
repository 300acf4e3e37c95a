"""Solving again what is left of a batch, as time passes or models fail, without plans that flap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.assignment.choice import choices
from router_service.assignment.goal import left_of
from router_service.assignment.loads import sums_of
from router_service.assignment.plan import Infeasible, Plan
from router_service.assignment.solving import solve

if TYPE_CHECKING:
    from router_service.assignment.capacity import Capacity
    from router_service.assignment.goal import Goal, Progress
    from router_service.assignment.jobs import Jobs

WORTH = 0.02  # of the cost: what a new plan must save to replace one that still holds
NEAR = 0.005  # by so much a mean quality may be under what is left to reach
LATE = 0.03  # of what is left of the time


def solve_again(
    plan: Plan, jobs: Jobs, *, capacity: Capacity, goal: Goal, progress: Progress, scale: float = 1.0
) -> Plan | Infeasible:
    """A plan for the jobs that are left: `plan` itself where it still leads to the goal and a new one would save little.

    `capacity` is as it is now, `goal` the whole batch's. Where nothing reaches it any more, the Infeasible says what would.
    """
    left = left_of(goal, progress, left=round(len(jobs) * scale))
    new = solve(jobs, capacity=capacity, goal=left, scale=scale)
    if isinstance(new, Infeasible) or not jobs.eligible.any(axis=1).all():
        return new
    old = sums_of(jobs, choices(plan, jobs), capacity, scale=scale)
    is_good = old.quality >= (left.quality if left.quality is not None else new.quality) - NEAR
    in_time = old.finish_s <= (new.finish_s if left.deadline_s is None else left.deadline_s) * (1 + LATE)
    in_budget = left.budget_usd is None or old.cost_usd <= left.budget_usd
    holds = is_good and in_time and in_budget and not set(jobs.models) - set(plan.models)
    return plan if holds and old.cost_usd <= new.cost_usd * (1 + WORTH) else new
