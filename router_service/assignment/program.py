"""The linear program over classes of alike jobs x models, solved by HiGHS (docs/decisions/0017).

Variables: the share of all jobs that goes from a class to a model, and the time F by which all of it is begun. Rows: each class
is dealt out whole; the mean quality; the budget; for each limit, what is used of it is at most what it gives until F.
A limit that opens only after the deadline gives nothing. At most classes + limits + 2 rows, classes x models + 1 columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
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

    def best(self, aim: Aim, asked: Asked) -> Solution | None:
        """The optimum, or None where nothing meets what is asked. Raises RuntimeError where the solver gives up."""
        classes, models = (np.asarray(each, dtype=np.int64) for each in np.nonzero(self.work.eligible))
        rows, upper = self._rows(classes, models, asked)
        total = float(self.work.count.sum())
        scale = max(float(self.work.cost_usd[classes, models].mean()), 1e-12)
        costs = self.work.cost_usd[classes, models] / scale
        objective = np.zeros(len(classes) + 1)
        if aim is Aim.COST:
            objective[:-1] = costs
            objective[-1] = asked.usd_per_s / (scale * total)
        elif aim is Aim.TIME:
            objective[-1] = 1.0
        else:
            objective[:-1] = -self.work.quality[classes, models]
        shares = np.zeros((len(self.work.count), len(classes) + 1))
        shares[classes, np.arange(len(classes))] = 1.0
        rows = np.concatenate([shares, rows])
        portions = self.work.count / total
        found = _solve(
            objective,
            rows,
            lower=np.concatenate([portions, np.full(len(upper), -math.inf)]),
            upper=np.concatenate([portions, upper]),
            most=math.inf if asked.deadline_s is None else asked.deadline_s,
        )
        if found is None:
            return None
        x, duals = found
        prices = -duals[len(portions) :] * (scale if aim is Aim.COST else 1.0)
        jobs_at = np.zeros(self.work.eligible.shape)
        jobs_at[classes, models] = x[:-1] * total
        return Solution(
            jobs_at=jobs_at,
            loads={unit: (jobs_at * used).sum(axis=0) for unit, used in units_of(self.work, len(self.models)).items()},
            cost_usd=float((jobs_at * self.work.cost_usd).sum()),
            quality=float((jobs_at * self.work.quality).sum() / total),
            begun_s=float(x[-1]),
            objective=float(objective @ x) * (scale * total if aim is Aim.COST else 1.0),
            tolls=np.array(
                [price / _per_second(limit, total) for price, limit in zip(prices[2:], self.limits, strict=True)]
            ),
            quality_usd=float(prices[0]),
            budget_price=float(prices[1]) / scale,
        )

    def _rows(self, classes: Ints, models: Ints, asked: Asked) -> tuple[Floats, Floats]:
        """Quality, budget, then a row for each limit in seconds (in shares of the batch where it has no rate); all `<=`."""
        work, total = self.work, float(self.work.count.sum())
        scale = max(float(work.cost_usd[classes, models].mean()), 1e-12)
        rows = np.zeros((2 + len(self.limits), len(classes) + 1))
        upper = np.full(len(rows), math.inf)
        rows[0, :-1] = -work.quality[classes, models]
        rows[1, :-1] = work.cost_usd[classes, models] / scale
        if asked.quality is not None:
            upper[0] = -asked.quality
        if asked.budget_usd is not None:
            upper[1] = asked.budget_usd / (scale * total)
        units = units_of(work, len(self.models))
        for at, limit in enumerate(self.limits, start=2):
            used = (units[limit.unit] * members(limit, self.models))[classes, models]
            rows[at, :-1] = used / _per_second(limit, total)
            is_shut = asked.deadline_s is not None and limit.opens_in_s >= asked.deadline_s
            if is_shut:
                upper[at] = 0.0
            elif limit.rate_per_s > 0:
                rows[at, -1] = -1.0
                upper[at] = limit.burst / limit.rate_per_s - limit.opens_in_s
            else:
                upper[at] = limit.burst / total
        return rows, upper


def _per_second(limit: Limit, total: float) -> float:
    """Units by job that make a second of the limit, in which its row is; where it has no rate the row is in units by job."""
    return limit.rate_per_s / total if limit.rate_per_s > 0 else 1.0


def _solve(
    objective: Floats, rows: Floats, *, lower: Floats, upper: Floats, most: float
) -> tuple[Floats, Floats] | None:
    """Values of the columns (the last is at most `most`) and duals of the rows at the least objective."""
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(objective), len(rows)
    program.col_cost_ = objective
    program.col_lower_ = np.zeros(len(objective))
    program.col_upper_ = np.concatenate([np.full(len(objective) - 1, math.inf), [most]])
    program.row_lower_, program.row_upper_ = lower, upper
    at_row, at_column = np.nonzero(rows)
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.searchsorted(at_row, np.arange(len(rows) + 1)).astype(np.int32)
    program.a_matrix_.index_ = at_column.astype(np.int32)
    program.a_matrix_.value_ = rows[at_row, at_column]
    solver = QuietHighs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("solver", "simplex")  # a vertex: few classes are split, and the same ones each time
    solver.passModel(program)
    solver.run()
    status = solver.getModelStatus()
    if status in {highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible}:
        return None
    if status != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS ended with {status} on {len(rows)} rows and {len(objective)} columns")
    found = solver.getSolution()
    return np.array(found.col_value), np.array(found.row_dual)


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
