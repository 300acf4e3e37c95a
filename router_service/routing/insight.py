"""What is known of a job beyond its sizes: its signals, what is expected of each model on it, what a right answer is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router_service.routing.prices import Prices
    from router_service.signals.signals import Signals


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is expected of one model on one job.

    `quality`: the probability of a right answer; `level`: that of jobs of its kind in the mean, which floors are held against;
    `tokens_out`: the length of the answer. None where nobody knows.
    """

    quality: float | None = None
    level: float | None = None
    tokens_out: int | None = None


class Worth(NamedTuple):
    """What a right answer is worth, in US dollars, and the model that keeps a job unless another is better by the margin.

    `usual`: the model that is best for usual jobs at this worth; None: to be found from what is declared.
    """

    usd: float
    usual: str | None = None
    margin_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """`estimates` by model id; `worth`: of a right answer, calibrated to the target; None where it is not known.

    `prices`: of the plan for the job's batch, if it has one. `is_read`: false where nobody has looked at the request yet: then
    what depends on its words speaks against no model.
    """

    signals: Signals | None = None
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    worth: Worth | None = None
    prices: Prices | None = None
    is_read: bool = True


NOTHING = Insight()
UNREAD = Insight(is_read=False)
