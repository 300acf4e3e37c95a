"""One table: outcome of a call -> what becomes of the job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, OutOfTime, Refused, Throttled

if TYPE_CHECKING:
    from router_service.catalog.models import Retries

LEAST_THROTTLE_S = 1.0  # a provider that says "wait 0 s" again and again is not asked in a circle


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeed:
    """Store the answer; the job has succeeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLater:
    """Back to the queue after `delay_s`. `counted`: whether it used up one of the job's tries."""

    delay_s: float
    counted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Give up on this model; the dead-letter worker looks for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """No model could do it; the job has failed."""


Next = Succeed | RetryLater | DeadLetter | Fail


def after(outcome: Outcome, *, tries: int, retries: Retries, jitter: float) -> Next:  # noqa: PLR0911 (a table)
    """What follows. `tries` counts the failures before this call, `jitter` is uniform in [0, 1)."""
    match outcome:
        case Answered():
            return Succeed()
        case Throttled(retry_after_s=retry_after_s):
            return RetryLater(delay_s=max(LEAST_THROTTLE_S, retry_after_s) * (1 + 0.1 * jitter), counted=False)
        case OutOfTime():
            return RetryLater(delay_s=0.0, counted=False)  # the sweep of deadlines ends it
        case Failed():
            if tries + 1 >= retries.tries:
                return DeadLetter()
            return RetryLater(delay_s=backoff_s(tries, retries=retries, jitter=jitter), counted=True)
        case ModelUnfit():
            return DeadLetter()
        case Refused():
            return Fail()
        case _:
            assert_never(outcome)


def backoff_s(tries: int, *, retries: Retries, jitter: float) -> float:
    """Exponential backoff with full jitter: uniform between 0 and base x 2^tries, capped."""
    return float(min(retries.most_s, retries.base_s * 2 ** min(tries, 30)) * jitter)
