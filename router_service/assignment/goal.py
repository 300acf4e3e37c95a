"""What is wanted of a batch, and what is left to want when part of it is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The least cost under these; None: not asked for.

    `quality`: mean probability of a right answer, 0 to 1; `quality_share`: the same as a share of the best that limits,
    deadline and budget allow. With a budget and neither of the two, the best quality that the budget buys.
    `usd_per_s`: what an hour less is worth, by the second. Without deadline and without it, cost goes first, then time.
    Raises ValueError for values outside of their range.
    """

    quality: float | None = None
    quality_share: float | None = None
    budget_usd: float | None = None
    deadline_s: float | None = None
    usd_per_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("quality", "quality_share"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be between 0 and 1")
        if self.quality is not None and self.quality_share is not None:
            raise ValueError("quality and quality_share are both given; give one of them")
        for name in ("budget_usd", "deadline_s", "usd_per_s"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} is {value}; it must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What came of a batch so far: jobs that are done, the sum of their qualities, their cost, the time since it began."""

    done: int
    quality_sum: float
    cost_usd: float
    elapsed_s: float


def left_of(goal: Goal, progress: Progress, *, left: int) -> Goal:
    """The goal for the `left` jobs that keeps the whole batch's.

    A quality beyond reach is asked as 1, and one that was overshot as 0: solving says whether it can be had. `quality_share` is a
    share of what the rest allows.
    """
    quality = goal.quality
    if quality is not None and left > 0:
        quality = (quality * (progress.done + left) - progress.quality_sum) / left
        quality = min(1.0, max(0.0, quality))
    return Goal(
        quality=quality,
        quality_share=goal.quality_share,
        budget_usd=None if goal.budget_usd is None else max(0.0, goal.budget_usd - progress.cost_usd),
        deadline_s=None if goal.deadline_s is None else max(0.0, goal.deadline_s - progress.elapsed_s),
        usd_per_s=goal.usd_per_s,
    )
