"""One table: kind of error -> what becomes of the job. Its reasons are in docs/decisions/0010."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from router_service.catalog.models import ErrorKind
from router_service.jobs.spec import Fallback
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, OutOfTime, Refused, Throttled

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Give up on this model; the dead-letter worker looks for another along the chain of this kind."""

    kind: Fallback = Fallback.GENERAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """No model could do it; the job has failed."""


Next = Succeed | RetryLater | DeadLetter | Fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What follows one kind of error.

    `mends`: another try on the same model may mend it, so `num_retries` holds where `retry_policy` says nothing; else there
    is none. `then`: the chain on which the job goes on after its tries; None: it fails.
    """

    mends: bool
    then: Fallback | None


RULES: Mapping[ErrorKind, Rule] = MappingProxyType(
    {
        ErrorKind.BAD_REQUEST: Rule(mends=False, then=None),
        ErrorKind.CONTENT_POLICY: Rule(mends=False, then=None),
        ErrorKind.CONTEXT_WINDOW: Rule(mends=False, then=Fallback.CONTEXT_WINDOW),
        ErrorKind.UNSUPPORTED: Rule(mends=False, then=Fallback.GENERAL),
        ErrorKind.AUTHENTICATION: Rule(mends=False, then=Fallback.GENERAL),
        ErrorKind.NOT_FOUND: Rule(mends=False, then=Fallback.GENERAL),
        ErrorKind.BUDGET: Rule(mends=False, then=Fallback.GENERAL),
        ErrorKind.NOT_CALLED: Rule(mends=False, then=Fallback.GENERAL),
        ErrorKind.TIMEOUT: Rule(mends=True, then=Fallback.GENERAL),
        ErrorKind.INTERNAL: Rule(mends=True, then=Fallback.GENERAL),
        ErrorKind.RATE_LIMIT: Rule(mends=True, then=Fallback.GENERAL),
    }
)


def after(
    outcome: Outcome,
    *,
    tries: int,
    retries: Retries,
    jitter: float,
    past_refusal: bool = False,
    left_s: float = math.inf,
) -> Next:
    """What follows. `tries` counts the failures before this call, `jitter` is uniform in [0, 1).

    `past_refusal`: the catalog lets a content that this model refused be shown to another one. `left_s`: until the deadline.
    """
    match outcome:
        case Answered():
            return Succeed()
        case OutOfTime():
            return RetryLater(delay_s=0.0, counted=False)  # the sweep of deadlines ends it
        case Throttled():
            return _wait(outcome, tries=tries, retries=retries, jitter=jitter, left_s=left_s)
        case Failed() | ModelUnfit() | Refused():
            if tries < _allowed(outcome.kind, retries):
                asked_s = outcome.retry_after_s if isinstance(outcome, Failed) else 0.0
                delay_s = asked_s + backoff_s(tries, retries=retries, jitter=jitter)
                return RetryLater(delay_s=delay_s, counted=True)
            return _give_up(outcome.kind, past_refusal=past_refusal)
        case _:
            assert_never(outcome)


def _wait(outcome: Throttled, *, tries: int, retries: Retries, jitter: float, left_s: float) -> Next:
    """A job never fails because its model was busy, unless the operator bounded that: then each wait is a try.

    Who has no time for the wait is looked at again at once: its model is paused, another one may be free.
    """
    bound = retries.by_kind.get(ErrorKind.RATE_LIMIT)
    if bound is not None and tries >= bound:
        return _give_up(ErrorKind.RATE_LIMIT, past_refusal=False)
    delay_s = max(LEAST_THROTTLE_S, outcome.retry_after_s) * (1 + 0.1 * jitter)
    return RetryLater(delay_s=0.0 if delay_s >= left_s else delay_s, counted=bound is not None)


def _allowed(kind: ErrorKind, retries: Retries) -> int:
    """How many tries after the first: what `retry_policy` says of this kind, else `num_retries` where one may mend it."""
    return retries.by_kind.get(kind, retries.tries - 1 if RULES[kind].mends else 0)


def _give_up(kind: ErrorKind, *, past_refusal: bool) -> Next:
    if kind is ErrorKind.CONTENT_POLICY and past_refusal:
        return DeadLetter(kind=Fallback.CONTENT_POLICY)
    then = RULES[kind].then
    return Fail() if then is None else DeadLetter(kind=then)


def backoff_s(tries: int, *, retries: Retries, jitter: float) -> float:
    """Exponential backoff with full jitter: uniform between 0 and base x 2^tries, capped."""
    return float(min(retries.most_s, retries.base_s * 2 ** min(tries, 30)) * jitter)
