"""How good a plan for a whole batch is: its cost against the bound and against per-job rules at equal quality, and its quote.

All run over the same simulated providers, with the same predictions and the same answers. The per-job rules have their parameter
tuned on the very batch to reach the plan's quality, which no router could do: they are stronger here than in life.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.assignment.choice import choices
from router_service.assignment.goal import Goal
from router_service.assignment.quoting import Actual, Quote, compare, quote
from router_service.evaluation.batch_runs import (
    Run,
    assigned,
    cheapest_scores,
    filling,
    firm_scores,
    spilling,
    tuned,
    weighed_scores,
)
from router_service.evaluation.batch_worlds import SCENARIOS, Scenario, World, world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_service.assignment.jobs import Floats

NAMES = tuple(each.name for each in SCENARIOS)
CLOSE = 1e-4
EQUAL = 2e-4  # by which a rule may be below the plan's predicted quality and count as its equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One batch: the plan's run and quote, and those of each per-job rule."""

    quoted: Quote
    plan: Run
    rules: Mapping[str, Run]


def run(*, jobs: int, seeds: Sequence[int], scenarios: Sequence[str] = NAMES) -> dict[str, Any]:
    """Each scenario over the seeds: means and 95 % intervals. Raises ValueError for a scenario that there is not."""
    unknown = sorted(set(scenarios) - set(NAMES))
    if unknown:
        raise ValueError(f"there is no scenario {', '.join(unknown)}; there are {', '.join(NAMES)}")
    wanted = [each for each in SCENARIOS if each.name in scenarios]
    return {
        "jobs": jobs,
        "seeds": list(seeds),
        "scenarios": {each.name: {"says": each.says} | _measured(each, jobs=jobs, seeds=seeds) for each in wanted},
    }


def result_of(batch: World, goal: Goal) -> Result:
    """The batch under the plan and under each rule. Raises ValueError where the goal is infeasible."""
    quoted = quote(batch.jobs, capacity=batch.capacity, goal=goal)
    if not isinstance(quoted, Quote):
        raise ValueError(f"the batch cannot be planned: {quoted}")  # noqa: TRY004 a goal out of reach is no wrong type
    target = quoted.plan.quality - CLOSE
    dearest = float(batch.jobs.cost_usd.max()) * 1e3
    ways = {
        "cheapest": (spilling, cheapest_scores, 1.0),
        "weighed": (spilling, firm_scores, dearest),
        "patient": (filling, weighed_scores, dearest),
    }
    rules = {
        name: tuned(_way(batch, way, scores), target=target, low=high * 1e-9, high=high)
        for name, (way, scores, high) in ways.items()
    }
    return Result(quoted=quoted, plan=assigned(batch, choices(quoted.plan, batch.jobs)), rules=rules)


def _way(
    batch: World, way: Callable[[World, Floats], Run], scores: Callable[[World, float], Floats]
) -> Callable[[float], Run]:
    return lambda parameter: way(batch, scores(batch, parameter))


def _goal(scenario: Scenario, batch: World) -> Goal:
    if scenario.budget_share is None:
        return Goal(quality_share=scenario.share, deadline_s=scenario.deadline_s)
    dearest = float(batch.jobs.cost_usd.sum(axis=0).max())
    return Goal(budget_usd=scenario.budget_share * dearest, deadline_s=scenario.deadline_s)


def _measured(scenario: Scenario, *, jobs: int, seeds: Sequence[int]) -> dict[str, Any]:
    results = []
    for seed in seeds:
        batch = world(scenario, jobs=jobs, seed=seed)
        results.append(result_of(batch, _goal(scenario, batch)))
    return summary(results, deadline_s=scenario.deadline_s)


def summary(results: Sequence[Result], *, deadline_s: float) -> dict[str, Any]:
    """What the batches have in common."""
    verdicts = [
        compare(each.quoted, Actual(cost_usd=each.plan.cost_usd, finish_s=each.plan.finish_s, quality=each.plan.right))
        for each in results
    ]
    rules = {name: _against(name, results, deadline_s) for name in results[0].rules}
    return {
        "cost_over_bound": _mean([each.plan.cost_usd / each.quoted.plan.bound_usd for each in results]),
        "quality": _mean([each.plan.quality for each in results]),
        "right": _mean([each.plan.right for each in results]),
        "finish_over_deadline": _mean([each.plan.finish_s / deadline_s for each in results]),
        "gap": _mean([each.quoted.plan.gap for each in results]),
        "cost_error": _mean([each.cost_error for each in verdicts]),
        "finish_error": _mean([each.finish_error for each in verdicts]),
        "worst_cost_error": max(abs(each.cost_error) for each in verdicts),
        "worst_finish_error": max(abs(each.finish_error) for each in verdicts),
        "in_intervals": sum(each.in_cost and each.in_finish for each in verdicts) / len(verdicts),
        "binding": sorted({binding.name for each in results for binding in each.quoted.plan.binding}),
        "against": rules,
    }


def _against(name: str, results: Sequence[Result], deadline_s: float) -> dict[str, Any]:
    """`saved`: of this rule's cost, over the batches where it reached the plan's quality."""
    equal = [each for each in results if each.rules[name].quality >= each.plan.quality - EQUAL]
    return {
        "saved": _mean([1 - each.plan.cost_usd / each.rules[name].cost_usd for each in equal]) if equal else None,
        "reached": len(equal) / len(results),
        "quality_short": _mean([each.plan.quality - each.rules[name].quality for each in results])[0],
        "right_more": _mean([each.plan.right - each.rules[name].right for each in results])[0],
        "finish_over_deadline": _mean([each.rules[name].finish_s / deadline_s for each in results])[0],
    }


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval (normal; 0 for a single value)."""
    half = 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return round(float(np.mean(values)), 5), round(float(half), 5)
