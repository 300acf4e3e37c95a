"""The order of work within a tenant: every job has a rank, a moment in seconds since 1970, and the smallest goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

PATIENCE_S = 3600.0
POINT_S = 900.0


def rank_of(*, accepted_s: float, deadline: datetime | None, priority: int) -> float:
    """When a job is due, its deadline or an hour after it was accepted, less 15 minutes for each point of priority.

    One number holds the whole order, and it never changes. Earliest deadline first: of two jobs of one priority the one that is
    due first has the smaller rank. Priority brings forward. Waiting ages: a job of priority p is overtaken by one of priority
    q > p with as much time as itself only if that one comes less than (q - p) x 15 minutes later, however many there are; so
    nothing starves. No clock is asked and no row rewritten for it, and an index in this order is the queue.
    """
    due_s = accepted_s + PATIENCE_S if deadline is None else deadline.timestamp()
    return due_s - POINT_S * priority
