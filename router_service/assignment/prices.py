"""Prices at which each job's own best choice adds up to the plan.

The program's dual prices are those of classes; jobs of a class differ. Here the same dual is solved over the single jobs, made
smooth by a small random preference (Gumbel, so that choices are a softmax: McFadden 1974): a batch of equal jobs is then split in
any proportion by each job's lot, and no job gives away much more than the softness for it. Newton's method, few prices.
By weak duality any prices give a lower bound on what any assignment costs: `bound`.

A limit is over one model or a few of them: only their columns are looked at. Within, arrays are models x jobs, so that each
column is of a piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

import numpy as np

from router_service.assignment.capacity import Unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.assignment.capacity import Limit
    from router_service.assignment.jobs import Flags, Floats, Ints, Jobs

COOLING = (32.0, 8.0, 2.0, 1.0)  # times the softness: from easy to exact
STEPS = 25
CLOSE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """A row of the program over single jobs: the mean of `used` over the jobs must be at most `most`. Scaled to about 1.

    `used` has a row for each job and a column for each of the models `at` (columns of the jobs); without `at` for all of them.
    """

    used: Floats
    most: float
    at: Ints | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stake:
    """What is to be least in sum, for each job (row) and model (column): USD, or quality with a minus.

    `softness`: how much of it a choice may give away to its lot; no price goes above `highest`.
    """

    base: Floats
    eligible: Flags
    softness: float
    highest: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Meters:
    """What the jobs use of limits: by unit models x jobs, 0 where a model is not eligible. Made once for all limits."""

    models: tuple[str, ...]
    by_unit: Mapping[Unit, Floats]

    @classmethod
    def of(cls, jobs: Jobs, limits: Sequence[Limit]) -> Meters:
        return cls(
            models=jobs.models,
            by_unit={
                unit: np.where(jobs.eligible.T, _used(jobs, unit), 0.0)
                for unit in sorted({limit.unit for limit in limits})
            },
        )

    def rule(self, limit: Limit, *, room: float, most: float = 1.0) -> Rule:
        """That the jobs use at most `most` times a limit's `room` (units by job)."""
        at = self.columns(limit)
        return Rule(used=(self.by_unit[limit.unit][at] / room).T, most=most, at=at)

    def mean_used(self, limit: Limit, at: Ints) -> float:
        """Units of the limit that a job uses in the mean, each at its model `at` (a column for each job)."""
        is_member = np.zeros(len(self.models), dtype=np.bool_)
        is_member[self.columns(limit)] = True
        rows = np.flatnonzero(is_member[at])
        return float(self.by_unit[limit.unit][at[rows], rows].sum()) / len(at)

    def columns(self, limit: Limit) -> Ints:
        """Those of the limit's models."""
        members = set(limit.models)
        return np.array([at for at, model in enumerate(self.models) if model in members], dtype=np.int64)


def prices_for(stake: Stake, rules: Sequence[Rule], *, start: Floats) -> Floats:
    """A price for each rule, by job and unit of the rule, at which soft choices keep them all, as far as that goes."""
    price = start.copy()
    if not rules:
        return price
    dual = _Dual.of(stake, rules)
    for times in COOLING:
        price = _newton(dual, price, stake.softness * times)
    return price


def bound(stake: Stake, rules: Sequence[Rule], price: Floats) -> float:
    """At least so much, by job, comes of any assignment that keeps the rules, whatever the prices (>= 0)."""
    dual = _Dual.of(stake, rules)
    return float(dual.score(price).min(axis=0).mean()) - float(price @ dual.most)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Dual:
    """Stake and rules as arrays of models x jobs; `base` is infinite where a model is not eligible."""

    base: Floats
    used: tuple[Floats, ...]
    at: tuple[Ints, ...]
    most: Floats
    highest: float

    @classmethod
    def of(cls, stake: Stake, rules: Sequence[Rule]) -> _Dual:
        everywhere = np.arange(stake.base.shape[1])
        return cls(
            base=np.where(stake.eligible.T, stake.base.T, np.inf),
            used=tuple(np.ascontiguousarray(rule.used.T) for rule in rules),
            at=tuple(everywhere if rule.at is None else rule.at for rule in rules),
            most=np.array([rule.most for rule in rules]),
            highest=stake.highest,
        )

    def score(self, price: Floats) -> Floats:
        score = self.base.copy()
        for at, used, each in zip(self.at, self.used, price, strict=True):
            if each > 0:
                score[at] += each * used
        return score

    def value(self, price: Floats, soft: float) -> tuple[float, Floats, Floats]:
        """The smooth dual's value by job, its gradient (how far each rule is overrun), and each choice's chance."""
        chance = self.score(price)
        least = chance.min(axis=0)
        np.subtract(least, chance, out=chance)
        chance /= soft
        np.exp(chance, out=chance)
        sums = chance.sum(axis=0)
        chance /= sums
        value = float((least - soft * np.log(sums)).mean()) - float(price @ self.most)
        totals = [float(np.vdot(used, chance[at])) for at, used in zip(self.at, self.used, strict=True)]
        return value, np.array(totals) / chance.shape[1] - self.most, chance

    def curvature(self, wanted: Ints, chance: Floats, soft: float) -> Floats:
        """Minus the Hessian of the wanted rules: covariances of their use under the chances, by softness.

        Its diagonal is a little more. Two rules have in common only what a model is in both.
        """
        means = np.array([(self.used[rule] * chance[self.at[rule]]).sum(axis=0) for rule in wanted])
        matrix = -(means @ means.T)
        by_model: list[list[tuple[int, Floats]]] = [[] for _model in chance]
        for number, rule in enumerate(wanted):
            for model, used in zip(self.at[rule], self.used[rule], strict=True):
                by_model[model].append((number, used))
        for odds, sharing in zip(chance, by_model, strict=True):
            if sharing:
                numbers, rows = [number for number, _used in sharing], np.array([used for _number, used in sharing])
                matrix[np.ix_(numbers, numbers)] += (rows * odds) @ rows.T
        matrix /= soft * chance.shape[1]
        diagonal = np.diag(matrix)
        return np.asarray(matrix + np.diag(1e-6 * diagonal + 1e-9 * diagonal.max() + 1e-12 / soft), dtype=np.float64)


def _newton(dual: _Dual, price: Floats, soft: float) -> Floats:
    value, excess, chance = dual.value(price, soft)
    for _step in range(STEPS):
        free = (price > 0) | (excess > 0)
        if not free.any() or np.abs(np.where(free, excess, 0)).max() < CLOSE:
            break
        move = np.zeros(len(price))
        wanted = np.flatnonzero(free).astype(np.int64)
        move[free] = np.linalg.solve(dual.curvature(wanted, chance, soft), excess[free])
        size = 1.0
        while True:
            tried = np.clip(price + size * move, 0.0, dual.highest)
            got = dual.value(tried, soft)
            if got[0] >= value + 1e-4 * float(excess @ (tried - price)) or size < 1e-3:
                break
            size /= 2
        if got[0] <= value:
            break
        price, (value, excess, chance) = tried, got
    return price


def _used(jobs: Jobs, unit: Unit) -> Floats:
    """What each job uses at each model, models x jobs."""
    match unit:
        case Unit.REQUESTS:
            return np.ones(1)
        case Unit.TOKENS:
            return jobs.tokens_in + jobs.tokens_out.T
        case Unit.TOKENS_IN:
            return jobs.tokens_in
        case Unit.TOKENS_OUT:
            return jobs.tokens_out.T
        case Unit.SLOT_S:
            return jobs.latency_s.T
        case _:
            assert_never(unit)
