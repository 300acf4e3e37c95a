"""Prices at which each job's own best choice adds up to the plan.

The program's dual prices are those of classes; jobs of a class differ. Here the same dual is solved over the single jobs, made
smooth by a small random preference (Gumbel, so that choices are a softmax: McFadden 1974): a batch of equal jobs is then split in
any proportion by each job's lot, and no job gives away much more than the softness for it. Newton's method, few prices.
By weak duality any prices give a lower bound on what any assignment costs: `bound`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.program import members, units_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.assignment.capacity import Limit
    from router_service.assignment.jobs import Flags, Floats, Jobs

COOLING = (32.0, 8.0, 2.0, 1.0)  # times the softness: from easy to exact
STEPS = 25
CLOSE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """A row of the program over single jobs: the mean of `used` over the jobs must be at most `most`. Scaled to about 1."""

    used: Floats
    most: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stake:
    """What is to be least in sum, for each job (row) and model (column): USD, or quality with a minus.

    `softness`: how much of it a choice may give away to its lot; no price goes above `highest`.
    """

    base: Floats
    eligible: Flags
    softness: float
    highest: float


def limit_rule(jobs: Jobs, limit: Limit, *, room: float, most: float = 1.0) -> Rule:
    """That the jobs use at most `most` times a limit's `room` (units by job)."""
    used = units_of(jobs, len(jobs.models))[limit.unit] * members(limit, jobs.models)
    return Rule(used=np.where(jobs.eligible, used, 0.0) / room, most=most)


def prices_for(stake: Stake, rules: Sequence[Rule], *, start: Floats) -> Floats:
    """A price for each rule, by job and unit of the rule, at which soft choices keep them all, as far as that goes."""
    price = start.copy()
    if not rules:
        return price
    used = np.stack([rule.used for rule in rules])
    most = np.array([rule.most for rule in rules])
    for times in COOLING:
        price = _newton(stake, used, most, price, stake.softness * times)
    return price


def bound(stake: Stake, rules: Sequence[Rule], price: Floats) -> float:
    """At least so much, by job, comes of any assignment that keeps the rules, whatever the prices (>= 0)."""
    score = stake.base.copy()
    for rule, each in zip(rules, price, strict=True):
        score += each * rule.used
    least = np.where(stake.eligible, score, np.inf).min(axis=1)
    return float(least.mean()) - sum(float(each) * rule.most for each, rule in zip(price, rules, strict=True))


def _newton(stake: Stake, used: Floats, most: Floats, price: Floats, soft: float) -> Floats:
    value, excess, chance = _dual(stake, used, most, price, soft)
    for _step in range(STEPS):
        free = (price > 0) | (excess > 0)
        if not free.any() or np.abs(np.where(free, excess, 0)).max() < CLOSE:
            break
        move = np.zeros(len(price))
        move[free] = np.linalg.solve(_curvature(used[free], chance, soft), excess[free])
        size = 1.0
        while True:
            tried = np.clip(price + size * move, 0.0, stake.highest)
            got = _dual(stake, used, most, tried, soft)
            if got[0] >= value + 1e-4 * float(excess @ (tried - price)) or size < 1e-3:
                break
            size /= 2
        if got[0] <= value:
            break
        price, (value, excess, chance) = tried, got
    return price


def _dual(stake: Stake, used: Floats, most: Floats, price: Floats, soft: float) -> tuple[float, Floats, Floats]:
    """The smooth dual's value by job, its gradient (how far each rule is overrun), and each choice's chance."""
    score = np.where(stake.eligible, stake.base + np.tensordot(price, used, axes=1), np.inf)
    least = score.min(axis=1, keepdims=True)
    weight = np.exp((least - score) / soft)
    sums = weight.sum(axis=1, keepdims=True)
    chance = weight / sums
    value = float((least - soft * np.log(sums)).mean()) - float(price @ most)
    excess = (used * chance).sum(axis=(1, 2)) / len(score) - most
    return value, excess, chance


def _curvature(used: Floats, chance: Floats, soft: float) -> Floats:
    """Minus the Hessian: covariances of the rules' use under the chances, by softness; a little more on its diagonal."""
    count, width = len(used), len(chance)
    means = (used * chance).sum(axis=2)
    whole = (used * np.sqrt(chance)).reshape(count, -1)
    matrix = (whole @ whole.T - means @ means.T) / (soft * width)
    diagonal = np.diag(matrix)
    return np.asarray(matrix + np.diag(1e-6 * diagonal + 1e-9 * diagonal.max() + 1e-12 / soft), dtype=np.float64)
