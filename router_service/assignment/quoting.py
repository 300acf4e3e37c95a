"""What a batch will cost and when it will be done, said before it runs; and afterwards, how far off that was."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.assignment.choice import choices
from router_service.assignment.loads import sums_of
from router_service.assignment.plan import Infeasible, Plan
from router_service.assignment.solving import solve

if TYPE_CHECKING:
    from router_service.assignment.capacity import Capacity
    from router_service.assignment.goal import Goal
    from router_service.assignment.jobs import Floats, Ints, Jobs

MOST = 20_000  # jobs that are looked at one by one
Z = 1.96  # 95 % of a normal distribution
ORDER = 0.03  # of the time: what the order of long and short calls changes, whatever their mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How far answers stray from what was expected, as standard deviation / mean of their lengths.

    `job`: each by itself; `all`: their mean, which no number of jobs averages out.
    """

    job: float = 0.6
    all: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Where a figure lies in 19 of 20 cases, if the spread is as was assumed."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """`plan` has the expected figures, models and what binds. `looked_at`: jobs out of `jobs` that the quote rests on."""

    plan: Plan
    jobs: int
    looked_at: int
    cost_usd: Interval
    finish_s: Interval

    @property
    def is_sampled(self) -> bool:
        return self.looked_at < self.jobs

    def as_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan.as_json(),
            "gap": self.plan.gap,
            "jobs": self.jobs,
            "looked_at": self.looked_at,
            "cost_usd": asdict(self.cost_usd),
            "finish_s": asdict(self.finish_s),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What a batch came to. `quality`: the mean over jobs whose answer was judged, None without any."""

    cost_usd: float
    finish_s: float
    quality: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Errors are actual / quoted - 1, of quality actual - quoted; `in_*`: whether the interval held."""

    cost_error: float
    finish_error: float
    quality_error: float | None
    in_cost: bool
    in_finish: bool


def quote(
    jobs: Jobs, *, capacity: Capacity, goal: Goal, spread: Spread | None = None, most: int = MOST
) -> Quote | Infeasible:
    """What to expect. Of more than `most` jobs a sample is looked at, in which each set of eligible models has its part."""
    seen = jobs if len(jobs) <= most else jobs.take(stratified(jobs, most))
    scale = len(jobs) / len(seen)
    plan = solve(seen, capacity=capacity, goal=goal, scale=scale)
    if isinstance(plan, Infeasible):
        return plan
    spread = spread or Spread()
    at = choices(plan, seen)
    costs = seen.cost_usd[np.arange(len(seen)), at]
    longest = _stretched(seen, at, capacity, 1 + Z * spread.all, scale) / _stretched(seen, at, capacity, 1.0, scale)
    shortest = _stretched(seen, at, capacity, 1 - Z * spread.all, scale) / _stretched(seen, at, capacity, 1.0, scale)
    return Quote(
        plan=plan,
        jobs=len(jobs),
        looked_at=len(seen),
        cost_usd=_interval(plan.cost_usd, _cost_error_usd(costs, spread, scale)),
        finish_s=Interval(low=plan.finish_s * min(shortest, 1 - ORDER), high=plan.finish_s * max(longest, 1 + ORDER)),
    )


def compare(quoted: Quote, actual: Actual) -> Verdict:
    """The quote against what came of it."""
    plan = quoted.plan
    return Verdict(
        cost_error=actual.cost_usd / plan.cost_usd - 1 if plan.cost_usd > 0 else float(actual.cost_usd > 0),
        finish_error=actual.finish_s / plan.finish_s - 1 if plan.finish_s > 0 else float(actual.finish_s > 0),
        quality_error=None if actual.quality is None else actual.quality - plan.quality,
        in_cost=actual.cost_usd in quoted.cost_usd,
        in_finish=actual.finish_s in quoted.finish_s,
    )


def stratified(jobs: Jobs, most: int) -> Ints:
    """Rows, spread evenly over the sets of eligible models and, within these, over the lengths; always the same."""
    sets = np.unique(np.packbits(jobs.eligible, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((jobs.keys, jobs.tokens_in, sets))
    places = (np.arange(most) + 0.5) * len(jobs) / most
    return np.asarray(np.sort(order[places.astype(np.int64)]), dtype=np.int64)


def _cost_error_usd(costs: Floats, spread: Spread, scale: float) -> float:
    """Standard error of the sum: answers' own spread, their mean's, and what the sample did not see.

    As if all of a job's cost were its answer's: prompts are known, so that the interval is rather too wide.
    """
    own = spread.job * math.sqrt(float((costs**2).sum()) * scale)
    shared = spread.all * float(costs.sum()) * scale
    unseen = float(costs.std()) * math.sqrt(len(costs) * scale * (scale - 1)) if scale > 1 else 0.0
    return math.sqrt(own**2 + shared**2 + unseen**2)


def _interval(value: float, error: float) -> Interval:
    return Interval(low=max(0.0, value - Z * error), high=value + Z * error)


def _stretched(jobs: Jobs, at: Ints, capacity: Capacity, times: float, scale: float) -> float:
    """When all is done if answers are longer by so much, and take as much longer."""
    longer = replace(jobs, tokens_out=jobs.tokens_out * times, latency_s=jobs.latency_s * times)
    return max(sums_of(longer, at, capacity, scale=scale).finish_s, 1e-9)
