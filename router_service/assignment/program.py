"""The linear program over classes of alike jobs x models, solved by HiGHS (docs/decisions/0017).

Variables: the share of all jobs that goes from a class to a model, and the time F by which all of it is begun. Rows: each class
is dealt out whole; the mean quality; the budget; for each limit, what is used of it is at most what it gives until F.
A limit that opens only after the deadline gives nothing. At most classes + limits + 2 rows, classes x models + 1 columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

import highspy
import numpy as np
from highspy._core import (
    _Highs as QuietHighs,
)  # what Highs is built on: its constructor prints a banner, whatever is set

from router_service.assignment.capacity import Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.assignment.capacity import Limit
    from router_service.assignment.jobs import Floats, Ints, Jobs
    from router_service.assignment.work import Work


class Aim(StrEnum):
    """What a solution is the best in."""

    COST = "cost"
    TIME = "time"
    QUALITY = "quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The rows with a bound of their own; None: not there. `usd_per_s` prices time under Aim.COST."""

    quality: float | None = None
    budget_usd: float | None = None
    deadline_s: float | None = None
    usd_per_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solution:
    """`jobs_at`: jobs of each class (row) at each model; `loads`: what they use of each model, by unit.

    `tolls`: USD per unit of each limit; `quality_usd`: per unit of quality; `budget_price`: per USD of budget. Under another
    aim than Aim.COST prices are in its unit instead of USD.
    """

    jobs_at: Floats
    loads: dict[Unit, Floats]
    cost_usd: float
    quality: float
    begun_s: float
    objective: float
    tolls: Floats
    quality_usd: float
    budget_price: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """Coefficients that do not depend on what is asked."""

    work: Work
    limits: tuple[Limit, ...]
    models: tuple[str, ...]

    def best(self, aim: Aim, asked: Asked, *, limit_s: float = math.inf) -> Solution | None:
        """The optimum, or None where nothing meets what is asked.

        Raises TimeoutError after `limit_s`, RuntimeError where the solver gives up.
        """
        classes, models = (np.asarray(each, dtype=np.int64) for each in np.nonzero(self.work.eligible))
        scale = max(float(self.work.cost_usd[classes, models].mean()), 1e-12)
        rows = self._rows(classes, models, asked, scale)
        objective = self._objective(classes, models, aim, asked, scale)
        most = math.inf if asked.deadline_s is None else asked.deadline_s
        found = _solve(objective, rows, most=most, limit_s=limit_s)
        return None if found is None else self._solution(classes, models, found, aim, scale)

    def _objective(self, classes: Ints, models: Ints, aim: Aim, asked: Asked, scale: float) -> Floats:
        objective = np.zeros(len(classes) + 1)
        if aim is Aim.COST:
            objective[:-1] = self.work.cost_usd[classes, models] / scale
            objective[-1] = asked.usd_per_s / (scale * float(self.work.count.sum()))
        elif aim is Aim.TIME:
            objective[-1] = 1.0
        else:
            objective[:-1] = -self.work.quality[classes, models]
        return objective

    def _solution(self, classes: Ints, models: Ints, found: _Found, aim: Aim, scale: float) -> Solution:
        work, total = self.work, float(self.work.count.sum())
        prices = -found.duals[len(work.count) :] * (scale if aim is Aim.COST else 1.0)
        jobs_at = np.zeros(work.eligible.shape)
        jobs_at[classes, models] = found.values[:-1] * total
        return Solution(
            jobs_at=jobs_at,
            loads={unit: (jobs_at * used).sum(axis=0) for unit, used in units_of(work, len(self.models)).items()},
            cost_usd=float((jobs_at * work.cost_usd).sum()),
            quality=float((jobs_at * work.quality).sum() / total),
            begun_s=float(found.values[-1]),
            objective=found.objective * (scale * total if aim is Aim.COST else 1.0),
            tolls=np.array(
                [price / _per_second(limit, total) for price, limit in zip(prices[2:], self.limits, strict=True)]
            ),
            quality_usd=float(prices[0]),
            budget_price=float(prices[1]) / scale,
        )

    def _rows(self, classes: Ints, models: Ints, asked: Asked, scale: float) -> _Rows:
        """Each class dealt out; then, all `<=`, quality, budget, and each limit in seconds (in shares where it has no rate)."""
        work, total = self.work, float(self.work.count.sum())
        rows = _Rows.of(classes, portions=work.count / total)
        every = np.arange(len(classes), dtype=np.int64)
        least = math.inf if asked.quality is None else -asked.quality
        rows.add(every, -work.quality[classes, models], upper=least)
        most = math.inf if asked.budget_usd is None else asked.budget_usd / (scale * total)
        rows.add(every, work.cost_usd[classes, models] / scale, upper=most)
        units = units_of(work, len(self.models))
        for limit in self.limits:
            at = np.flatnonzero(members(limit, self.models)[models] > 0).astype(np.int64)
            used = units[limit.unit][classes[at], models[at]] / _per_second(limit, total)
            if limit.rate_per_s > 0:
                at, used = np.append(at, len(classes)), np.append(used, -1.0)
            rows.add(at, used, upper=_upper(limit, asked.deadline_s, total))
        return rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """A sparse matrix as it grows, by row: columns and values of what is not 0, and between what each row must be."""

    index: list[Ints]
    value: list[Floats]
    lower: list[float]
    upper: list[float]

    @classmethod
    def of(cls, classes: Ints, *, portions: Floats) -> _Rows:
        """Rows of 1 for the columns of each class, which together are its portion. `classes` are in order."""
        starts = np.searchsorted(classes, np.arange(len(portions) + 1))
        index = [np.arange(start, end, dtype=np.int64) for start, end in pairwise(starts)]
        return cls(
            index=index,
            value=[np.ones(len(each)) for each in index],
            lower=portions.tolist(),
            upper=portions.tolist(),
        )

    def add(self, index: Ints, value: Floats, *, upper: float) -> None:
        """A row that is at most `upper`."""
        known = np.flatnonzero(value)
        self.index.append(index[known])
        self.value.append(value[known])
        self.lower.append(-math.inf)
        self.upper.append(upper)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """Values of the columns, duals of the rows, and the least objective."""

    values: Floats
    duals: Floats
    objective: float


def _upper(limit: Limit, deadline_s: float | None, total: float) -> float:
    """What a limit gives beside its rate: in seconds, or in shares of the batch where it has no rate."""
    if deadline_s is not None and limit.opens_in_s >= deadline_s:
        return 0.0
    return limit.burst / limit.rate_per_s - limit.opens_in_s if limit.rate_per_s > 0 else limit.burst / total


def _per_second(limit: Limit, total: float) -> float:
    """Units by job that make a second of the limit, in which its row is; where it has no rate the row is in units by job."""
    return limit.rate_per_s / total if limit.rate_per_s > 0 else 1.0


def _solve(objective: Floats, rows: _Rows, *, most: float, limit_s: float) -> _Found | None:
    """The least objective, where the last column is at most `most`; None where there is no solution."""
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(objective), len(rows.index)
    program.col_cost_ = objective
    program.col_lower_ = np.zeros(len(objective))
    program.col_upper_ = np.concatenate([np.full(len(objective) - 1, math.inf), [most]])
    program.row_lower_, program.row_upper_ = np.array(rows.lower), np.array(rows.upper)
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.cumsum([0, *(len(each) for each in rows.index)]).astype(np.int32)
    program.a_matrix_.index_ = np.concatenate(rows.index).astype(np.int32)
    program.a_matrix_.value_ = np.concatenate(rows.value)
    solver = QuietHighs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("time_limit", limit_s)
    solver.setOptionValue("solver", "simplex")  # a vertex: few classes are split, and the same ones each time
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status in {highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible}:
        return None
    size = f"{len(rows.index)} rows and {len(objective)} columns"
    if status == highspy.HighsModelStatus.kTimeLimit:
        raise TimeoutError(f"HiGHS did not solve {size} in {limit_s:g} s")
    if status != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS ended with {status} on {size}")
    found = solver.getSolution()
    values = np.array(found.col_value)
    return _Found(values=values, duals=np.array(found.row_dual), objective=float(objective @ values))


def units_of(work: Work | Jobs, width: int) -> dict[Unit, Floats]:
    """What a job of each row uses at each model, by unit."""
    tokens_in = np.repeat(work.tokens_in[:, None], width, axis=1)
    return {
        Unit.REQUESTS: np.ones_like(tokens_in),
        Unit.TOKENS: tokens_in + work.tokens_out,
        Unit.TOKENS_IN: tokens_in,
        Unit.TOKENS_OUT: work.tokens_out,
        Unit.SLOT_S: work.latency_s,
    }


def members(limit: Limit, models: Sequence[str]) -> Floats:
    """1.0 for each model that the limit is for, else 0.0."""
    return np.array([float(model in limit.models) for model in models])
