"""Solves a batch: `solve(jobs, capacity=..., goal=...) -> Plan | Infeasible`.

Classes of alike jobs, the linear program over them, prices for the single jobs, then what these prices lead to. The program says
what is possible and by when; the prices take it to the jobs' own qualities and costs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.hindrances import explain
from router_service.assignment.jobs import sample_of
from router_service.assignment.plan import Infeasible, Plan
from router_service.assignment.planning import FREE_USD, Frame, plan_of
from router_service.assignment.program import Aim, Asked, members
from router_service.assignment.search import LIMIT_S, Search

if TYPE_CHECKING:
    from router_service.assignment.capacity import Capacity, Limit
    from router_service.assignment.goal import Goal
    from router_service.assignment.jobs import Jobs
    from router_service.assignment.program import Solution
    from router_service.assignment.search import Optimum

TIME_SHARE = 0.003  # of the cost, which may be given for an earlier end where nobody prices time
RESERVE = 0.005  # of the time, kept back in planning for answers that are longer than expected
SLACK = 1e-7
TIGHTENED = 3
CHEAPENED = (1, 4, 16, 64)  # times what seems to be too much: a few jobs move in large steps
STEP = 0.25  # of a job's probability of a right answer: the least of those steps
STUCK = 0.2  # of a delay: what less than this is gained from, a late call keeps up and not the limits


def solve(
    jobs: Jobs, *, capacity: Capacity, goal: Goal, scale: float = 1.0, limit_s: float = LIMIT_S
) -> Plan | Infeasible:
    """The cheapest way to meet the goal. Each job stands for `scale` of them where `jobs` is a sample.

    A plan may end a little after the deadline (`finish_s`) where single long calls, and no limit, take it there. Where the
    solver takes more than `limit_s` for a step, there is no plan: the Infeasible says so. Raises ValueError for no jobs at all.
    """
    if len(jobs) == 0:
        raise ValueError("there are no jobs to assign; a plan needs one at least")
    if stranded := _stranded(jobs):
        return Infeasible(broken=("eligible models",), stranded=round(stranded * scale))
    fastest_s = np.where(jobs.eligible, jobs.latency_s, np.inf).min(axis=1)
    jobs = _in_time(jobs, goal)
    if stranded := _stranded(jobs):
        least_s = float(fastest_s.max())
        return Infeasible(broken=("deadline",), stranded=round(stranded * scale), least_finish_s=least_s)
    few = sample_of(jobs)
    search = Search(jobs=few, limits=capacity.limits, scale=scale * len(jobs) / len(few), limit_s=limit_s)
    try:
        return _solved(jobs, search, capacity=capacity, goal=goal, scale=scale)
    except TimeoutError as error:
        return Infeasible(broken=(f"the solver's time ({error})",))


def _solved(jobs: Jobs, search: Search, *, capacity: Capacity, goal: Goal, scale: float) -> Plan | Infeasible:
    asked = Asked(quality=goal.quality, budget_usd=goal.budget_usd, deadline_s=goal.deadline_s)
    for tried in _with_reserve(asked, _tail_s(jobs)):
        best = search.best(Aim.QUALITY, replace(tried, quality=None))
        if best is None:
            continue
        attainable = search.best_quality(tried, best.solution)
        if goal.quality is None or goal.quality <= attainable + SLACK:
            target = _target(goal, attainable)
            found = _cheapest(search, replace(tried, usd_per_s=goal.usd_per_s), target=target, near=best)
            begun_s = found.begun_s if tried.deadline_s is None or goal.usd_per_s > 0 else tried.deadline_s
            bound_s = found.begun_s if goal.usd_per_s > 0 else goal.deadline_s
            frame = Frame(target=target, begun_s=begun_s, bound_s=bound_s, scale=scale)
            return _in_budget(jobs, capacity, found=found, frame=frame, goal=goal)
    return explain(search, asked, tail_s=_tail_s(jobs))


def _stranded(jobs: Jobs) -> int:
    """How many have no model."""
    return int((~jobs.eligible.any(axis=1)).sum())


def _in_time(jobs: Jobs, goal: Goal) -> Jobs:
    """Without the offers that would be too late even alone."""
    if goal.deadline_s is None:
        return jobs
    return replace(jobs, eligible=jobs.eligible & (jobs.latency_s <= goal.deadline_s))


def _tail_s(jobs: Jobs) -> float:
    """How long the last call takes, about: what was begun must end in time too."""
    return float(jobs.latency_s.mean(where=jobs.eligible))


def _with_reserve(asked: Asked, tail_s: float) -> list[Asked]:
    """First with time for the last call to end and a reserve; where that is not feasible, without."""
    if asked.deadline_s is None:
        return [asked]
    begun_s = (asked.deadline_s - tail_s) * (1 - RESERVE)
    return [replace(asked, deadline_s=begun_s), asked] if begun_s > 0 else [asked]


def _target(goal: Goal, best: float) -> float | None:
    """The mean quality to reach. At the very best every price for it is too low, hence a little less."""
    if goal.quality is not None:
        return min(goal.quality, best * (1 - SLACK))
    if goal.quality_share is not None:
        return best * min(goal.quality_share, 1 - SLACK)
    return best * (1 - 1e-3) if goal.budget_usd is not None else None


def _cheapest(search: Search, asked: Asked, *, target: float | None, near: Optimum) -> Solution:
    """Least cost; where nothing bounds or prices time, nearly that in less time.

    A target that classes cannot express is for the prices of the single jobs to reach.
    """
    quality = None if target is None else min(target, near.solution.quality * (1 - SLACK))
    asked = replace(asked, quality=quality)
    found = search.best(Aim.COST, asked, near=near.work)
    if found is None:
        raise RuntimeError(f"HiGHS found a quality of {asked.quality} possible, and then not; rows are out of scale")
    if asked.deadline_s is not None or asked.usd_per_s > 0:
        return found.solution
    total = len(search.jobs) * search.scale
    begun_s = max((limit.time_s(_load(found.solution, limit, search.jobs)) for limit in search.limits), default=0.0)
    if not 0 < begun_s < math.inf:
        return found.solution
    priced = replace(asked, usd_per_s=TIME_SHARE * max(found.solution.cost_usd, FREE_USD * total) / begun_s)
    sooner = search.best(Aim.COST, priced, near=found.work)
    return found.solution if sooner is None else sooner.solution


def _in_budget(jobs: Jobs, capacity: Capacity, *, found: Solution, frame: Frame, goal: Goal) -> Plan:
    """The plan; where the jobs' own choices, of which few alike ones take a step too many, cost too much, one of less quality.

    Not where the quality itself was asked for.
    """
    plan = _in_deadline(jobs, capacity, found=found, frame=frame, deadline_s=goal.deadline_s)
    budget_usd = math.inf if goal.budget_usd is None or goal.quality is not None else goal.budget_usd
    for times in CHEAPENED:
        if plan.cost_usd <= budget_usd or frame.target is None or plan.quality_usd <= 0:
            break
        over = times * max((plan.cost_usd - budget_usd) / (plan.jobs * plan.quality_usd), STEP / len(jobs))
        frame = replace(frame, target=max(0.0, min(frame.target, plan.quality) - over))
        cheaper = _in_deadline(jobs, capacity, found=found, frame=frame, deadline_s=goal.deadline_s)
        plan = min(plan, cheaper, key=lambda each: each.cost_usd)
    return plan


def _in_deadline(jobs: Jobs, capacity: Capacity, *, found: Solution, frame: Frame, deadline_s: float | None) -> Plan:
    """The plan; where the clock says that it ends too late, one that is to begin all calls sooner by so much."""
    plan = plan_of(jobs, capacity=capacity, found=found, frame=frame)
    for _time in range(TIGHTENED):
        if deadline_s is None or plan.finish_s <= deadline_s:
            break
        frame = replace(frame, begun_s=frame.begun_s * deadline_s / plan.finish_s * (1 - RESERVE / 2))
        sooner = plan_of(jobs, capacity=capacity, found=found, frame=frame)
        if sooner.finish_s > plan.finish_s - STUCK * (plan.finish_s - deadline_s):
            break
        plan = sooner
    return plan


def _load(found: Solution, limit: Limit, jobs: Jobs) -> float:
    return float((found.loads[limit.unit] * members(limit, jobs.models)).sum())
