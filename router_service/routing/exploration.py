"""A small share of the jobs tries another model than the best one, within bounds, so that estimates stay fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.routing.strategies import share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.routing.question import Prospect

REASON = "exploration"
DRAW = "explore"


def instead_of(best: Prospect, peers: Sequence[Prospect]) -> Prospect | None:
    """The model to try, or None: for most jobs. `peers` are of the same rank and place as `best`, which is among them.

    Drawn by a hash of the job, so that a decision can be replayed. A job that has begun its tries does not explore.
    """
    policy, job = best.question.policy.exploration, best.question.job
    if job.tried is not None or share_of(job.id, DRAW) > policy.share:
        return None
    others = [each for each in peers if each is not best and _in_bounds(each, best)]
    return min(others, key=lambda each: share_of(job.id, DRAW, each.model.id), default=None)


def _in_bounds(other: Prospect, best: Prospect) -> bool:
    policy = best.question.policy.exploration
    if other.is_full or other.cost_usd is None or best.cost_usd is None:
        return False
    if other.cost_usd > best.cost_usd * policy.most_cost_factor:
        return False
    if best.quality is None:
        return True
    return other.quality is not None and other.quality >= best.quality - policy.most_quality_loss
