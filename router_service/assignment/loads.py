"""What an assignment adds up to: cost, quality, and when it is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment import clock

if TYPE_CHECKING:
    from router_service.assignment.capacity import Capacity
    from router_service.assignment.jobs import Ints, Jobs

MOST_TIMED = 40_000  # calls on the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """`cost_usd` of all, mean `quality`, `finish_s` of the last job, `shares` of the models by column."""

    cost_usd: float
    quality: float
    finish_s: float
    shares: tuple[float, ...]


def sums_of(jobs: Jobs, at: Ints, capacity: Capacity, *, scale: float = 1.0) -> Sums:
    """Of the assignment `at` (a column for each job); each job stands for `scale` of them."""
    rows = np.arange(len(jobs))
    counts = np.bincount(at, minlength=len(jobs.models))
    return Sums(
        cost_usd=float(jobs.cost_usd[rows, at].sum()) * scale,
        quality=float(jobs.quality[rows, at].mean()),
        finish_s=_finish_s(jobs, at, capacity, scale),
        shares=tuple(float(count) / len(jobs) for count in counts),
    )


def _finish_s(jobs: Jobs, at: Ints, capacity: Capacity, scale: float) -> float:
    """By the clock, as long as a sample is not too small a part of too large a whole; then its loads in proportion."""
    times = max(1, round(scale))
    if len(jobs) * times > MOST_TIMED:
        times = max(1, MOST_TIMED // len(jobs))
    return clock.finish_s(jobs, at, capacity.limits, times=times) * scale / times
