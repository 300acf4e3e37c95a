"""Why a goal cannot be met, found by solving it with one part left out: never by a guess."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.plan import Infeasible
from router_service.assignment.program import Aim, Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.assignment.search import Search

NAMES = {"quality": "quality", "budget_usd": "budget", "deadline_s": "deadline"}
COUNTS = 1e-9
DIGITS = 6


def explain(search: Search, asked: Asked, *, tail_s: float) -> Infeasible:
    """Which parts of the goal cannot be kept together, and the best that could be asked in place of each.

    `tail_s`: from the begin of the last call to its end. Where no part is to blame, it is limits that never give more.
    """
    blamed = _smallest(search, asked)
    if not blamed:
        stuck = tuple(each.name for each in search.limits if each.rate_per_s <= 0)
        return Infeasible(broken=("the jobs' number", *stuck), limits=stuck)
    free = replace(asked, quality=None)
    quality = search.best(Aim.QUALITY, free) if "quality" in blamed else None
    best = None if quality is None else search.best_quality(free, quality.solution)
    time = search.best(Aim.TIME, replace(asked, deadline_s=None)) if "deadline_s" in blamed else None
    cost = search.best(Aim.COST, replace(asked, budget_usd=None)) if "budget_usd" in blamed else None
    limiting = time or quality
    tolls = np.zeros(len(search.limits)) if limiting is None else limiting.solution.tolls
    return Infeasible(
        broken=tuple(NAMES[each] for each in blamed),
        limits=tuple(limit.name for limit, toll in zip(search.limits, tolls, strict=True) if toll > COUNTS),
        best_quality=None if best is None else float(np.floor(best * 10**DIGITS) / 10**DIGITS),
        least_finish_s=None if time is None else float(np.ceil((time.solution.begun_s + tail_s) * 1e3) / 1e3),
        least_cost_usd=None if cost is None else float(np.ceil(cost.solution.cost_usd * 10**DIGITS) / 10**DIGITS),
    )


def _smallest(search: Search, asked: Asked) -> list[str]:
    """The parts of the goal that are all needed to make it impossible: leaving out any one of them is enough."""
    blamed = [name for name in NAMES if getattr(asked, name) is not None]
    for name in tuple(blamed):
        tried = _only(asked, [each for each in blamed if each != name])
        if search.best(Aim.COST, tried) is None:
            blamed.remove(name)
    return blamed if search.best(Aim.COST, _only(asked, blamed)) is None and blamed else []


def _only(asked: Asked, names: Sequence[str]) -> Asked:
    return Asked(**{name: getattr(asked, name) for name in names})
