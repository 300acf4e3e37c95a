"""What a batch will cost and when it will be done, said before it runs; and afterwards, how far off that was."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.assignment.choice import choices
from router_service.assignment.jobs import enough, lots_of
from router_service.assignment.loads import sums_of
from router_service.assignment.plan import Infeasible, Plan
from router_service.assignment.solving import solve

if TYPE_CHECKING:
    from router_service.assignment.capacity import Capacity
    from router_service.assignment.goal import Goal
    from router_service.assignment.jobs import Floats, Ints, Jobs

Z = 1.96  # 95 % of a normal distribution
ORDER = 0.03  # of the time: what the order of long and short calls changes, whatever their mean
DRAWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How far answers stray from what was expected, as standard deviation / mean of their lengths.

    `job`: each by itself; `all`: their mean, which no number of jobs averages out.
    """

    job: float = 0.6
    all: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is expected, and between what a figure lies in 19 of 20 cases if the spread is as was assumed."""

    expected: float
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
    cost_usd: Estimate
    finish_s: Estimate

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
    jobs: Jobs,
    *,
    capacity: Capacity,
    goal: Goal,
    spread: Spread | None = None,
    total: int | None = None,
    most: int | None = None,
) -> Quote | Infeasible:
    """What to expect of `jobs`, or of `total` jobs that are like them.

    Of more than `most` (without it: than is `enough`) a sample is looked at, in which each set of eligible models has its part.
    """
    most = enough(len(jobs.models)) if most is None else most
    seen = jobs if len(jobs) <= most else jobs.take(stratified(jobs, most))
    total = len(jobs) if total is None else total
    scale = total / len(seen)
    plan = solve(seen, capacity=capacity, goal=goal, scale=scale)
    if isinstance(plan, Infeasible):
        return plan
    spread = spread or Spread()
    at = choices(plan, seen)
    costs = seen.cost_usd[np.arange(len(seen)), at]
    return Quote(
        plan=plan,
        jobs=total,
        looked_at=len(seen),
        cost_usd=_around(plan.cost_usd, Z * _cost_error_usd(costs, spread, scale)),
        finish_s=_finish_s(seen, at, capacity, spread, scale),
    )


def compare(quoted: Quote, actual: Actual) -> Verdict:
    """The quote against what came of it."""
    cost_usd, finish_s = quoted.cost_usd.expected, quoted.finish_s.expected
    return Verdict(
        cost_error=actual.cost_usd / cost_usd - 1 if cost_usd > 0 else float(actual.cost_usd > 0),
        finish_error=actual.finish_s / finish_s - 1 if finish_s > 0 else float(actual.finish_s > 0),
        quality_error=None if actual.quality is None else actual.quality - quoted.plan.quality,
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


def _around(value: float, error: float) -> Estimate:
    return Estimate(expected=value, low=max(0.0, value - error), high=value + error)


def _finish_s(jobs: Jobs, at: Ints, capacity: Capacity, spread: Spread, scale: float) -> Estimate:
    """By the clock, with answers as long as they may well be.

    The longest of many calls, and the fullest of many models, are later than the longest and fullest that are expected.
    """
    ends = [sums_of(_drawn(jobs, spread, each), at, capacity, scale=scale).finish_s for each in range(DRAWS)]
    expected = sum(ends) / len(ends)
    error = Z * (spread.all + ORDER) / 2 * expected
    return Estimate(expected=expected, low=max(0.0, min(ends) - error), high=max(ends) + error)


def _drawn(jobs: Jobs, spread: Spread, number: int) -> Jobs:
    """Answers of lengths that are drawn, by the keys: log-normal around what is expected (Box and Muller 1958)."""
    first, second = lots_of(jobs.keys, (f"radius {number}", f"angle {number}")).T
    normal = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
    sigma = math.sqrt(math.log1p(spread.job**2))
    times = np.exp(sigma * normal - sigma**2 / 2)[:, None]
    return replace(jobs, tokens_out=jobs.tokens_out * times, latency_s=jobs.latency_s * times)
