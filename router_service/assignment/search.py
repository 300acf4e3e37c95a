"""The optimum over the single jobs, by way of classes.

One mix for all jobs of a class costs more than each job's own best: three times as much where 20 models' qualities differ from
job to job. So the program is solved again over classes whose jobs choose alike at the prices of its last solution: that choice is
then within the program's reach. What two or three rounds leave, the prices of single jobs mend (`prices.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.prices import Meters, Rule, Stake, bound, prices_for
from router_service.assignment.program import Aim, Program
from router_service.assignment.work import works_of

if TYPE_CHECKING:
    from router_service.assignment.capacity import Limit
    from router_service.assignment.jobs import Ints, Jobs
    from router_service.assignment.program import Asked, Solution
    from router_service.assignment.work import Work

ROUNDS = 3
ENOUGH = 2e-3
SOFTNESS = 5e-4  # of a probability
HIGHEST = 1e3
LIMIT_S = 5.0  # 300 classes and 100 models take half a second


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Optimum:
    """The best that was found, and the classes that it is over."""

    solution: Solution
    work: Work


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """Jobs, each of which stands for `scale`, and what they meet. `limit_s`: how long the solver may take for a round."""

    jobs: Jobs
    limits: tuple[Limit, ...]
    scale: float
    limit_s: float = LIMIT_S

    def best(self, aim: Aim, asked: Asked, *, near: Work | None = None) -> Optimum | None:
        """The optimum under what is asked, or None where nothing meets it.

        `near`: classes to begin from, over which a solution is known to exist. A later round that takes too long is left out;
        TimeoutError where the first does.
        """
        found: Optimum | None = None
        work = self._work(None) if near is None else near
        for _round in range(ROUNDS):
            program = Program(work=work, limits=self.limits, models=self.jobs.models)
            try:
                solution = program.best(aim, asked, limit_s=self.limit_s)
            except TimeoutError:
                if found is None:
                    raise
                break
            if solution is None:
                break
            gained = np.inf if found is None else found.solution.objective - solution.objective
            if gained > 0:
                found = Optimum(solution=solution, work=work)
            if gained <= ENOUGH * abs(solution.objective):
                break
            work = self._work(self._choice(aim, solution))
        return found

    def best_quality(self, asked: Asked, near: Solution) -> float:
        """The best mean quality under what is asked, over the single jobs: a little more than classes can express.

        `near`: the program's optimum for the same.
        """
        jobs, total = self.jobs, len(self.jobs) * self.scale
        limits = () if asked.deadline_s is None else self.limits
        rooms = [each.room(asked.deadline_s or 0.0) / total for each in limits]
        is_open = jobs.eligible.copy()
        meters = Meters.of(jobs, limits)
        rules, start = [], []
        for limit, toll, room in zip(limits, near.tolls, rooms, strict=False):
            if room <= 0:
                is_open[:, meters.columns(limit)] = False
            else:
                rules.append(meters.rule(limit, room=room))
                start.append(max(0.0, float(toll)) * room)
        if asked.budget_usd:
            mean_usd = asked.budget_usd / total
            rules.append(Rule(used=np.where(jobs.eligible, jobs.cost_usd, 0.0) / mean_usd, most=1.0))
            start.append(max(0.0, near.budget_price) * mean_usd)
        stake = Stake(base=-jobs.quality, eligible=is_open, softness=SOFTNESS, highest=HIGHEST)
        price = prices_for(stake, rules, start=np.array(start))
        return max(near.quality, -bound(stake, rules, price) - 2 * SOFTNESS)

    def _work(self, choice: Ints | None) -> Work:
        work = works_of(self.jobs, choice=choice)
        return replace(work, count=work.count * self.scale)

    def _choice(self, aim: Aim, solution: Solution) -> Ints:
        """What each job would choose at these prices."""
        jobs = self.jobs
        score = (float(aim is Aim.COST) + solution.budget_price) * jobs.cost_usd
        score = score - (float(aim is Aim.QUALITY) + solution.quality_usd) * jobs.quality
        binding = [(limit, toll) for limit, toll in zip(self.limits, solution.tolls, strict=True) if toll > 0]
        meters = Meters.of(jobs, [limit for limit, _toll in binding])
        for limit, toll in binding:
            at = meters.columns(limit)
            score[:, at] += toll * meters.by_unit[limit.unit][at].T
        return np.asarray(np.where(jobs.eligible, score, np.inf).argmin(axis=1), dtype=np.int64)
