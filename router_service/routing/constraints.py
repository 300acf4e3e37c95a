"""Hard constraints, one function each: a Rejection with the reason and the value that bound, or None.

Unknown is not eligible: a model that does not say where it computes is out where a residency is asked for. `hindrance` is
apart from them: it speaks of a model's state at this moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from router_service.catalog.models import Model
    from router_service.jobs.spec import JobSpec, RoutableJob
    from router_service.routing.policy import Counters

BREAKER = "breaker"
DEADLINE = "deadline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a model is out, and the model's value that was not enough."""

    reason: str
    bound: Any = None


def not_excluded(spec: JobSpec, model: Model) -> Rejection | None:
    return Rejection(reason="failed_before") if model.id in spec.excluded else None


def in_residency(spec: JobSpec, model: Model) -> Rejection | None:
    """Both the place of inference and that of storage must be the asked one, and no other."""
    if spec.residency is None:
        return None
    if model.residency is None:
        return Rejection(reason="residency_unknown", bound=spec.residency)
    places = model.residency.inference | model.residency.storage
    if places != {spec.residency}:
        return Rejection(reason="residency", bound=sorted(places))
    return None


def has_features(spec: JobSpec, model: Model) -> Rejection | None:
    missing = sorted(set(spec.features) - model.features)
    return Rejection(reason="missing_feature", bound=missing) if missing else None


def fits_window(spec: JobSpec, model: Model) -> Rejection | None:
    if model.max_input_tokens is not None and spec.tokens_in > model.max_input_tokens:
        return Rejection(reason="context_window", bound=model.max_input_tokens)
    return None


def fits_output(spec: JobSpec, model: Model) -> Rejection | None:
    if model.max_output_tokens is not None and (spec.tokens_out or 0) > model.max_output_tokens:
        return Rejection(reason="max_output_tokens", bound=model.max_output_tokens)
    return None


def good_enough(spec: JobSpec, model: Model) -> Rejection | None:
    if spec.quality is None:
        return None
    quality = model.expected_quality()
    if quality is None:
        return Rejection(reason="quality_unknown", bound=spec.quality)
    return Rejection(reason="quality", bound=quality) if quality < spec.quality else None


CONSTRAINTS: tuple[Callable[[JobSpec, Model], Rejection | None], ...] = (
    not_excluded,
    in_residency,
    has_features,
    fits_window,
    fits_output,
    good_enough,
)


def hindrance(job: RoutableJob, counters: Counters | None) -> Rejection | None:
    """What keeps a model that may do the job from doing it now: too slow for its deadline, or its breaker lets nothing through.

    The deadline first: what is too slow even at its fastest is not worth waiting for. A wait alone never makes a model too
    slow: it may turn out shorter, and a job whose deadline passes while it waits has cost nothing.
    """
    if counters is None:
        return None
    if job.left_s is not None:
        needed_s = least_needed_s(job.spec.tokens_out, least_s=counters.least_s, tokens_out=counters.tokens_out)
        if needed_s is not None and job.left_s < needed_s:
            return Rejection(reason=DEADLINE, bound=needed_s)
    return Rejection(reason=BREAKER, bound=counters.broken_s) if counters.broken_s > 0 else None


def is_late(job: RoutableJob, counters: Counters | None) -> bool:
    """Whether a model will probably be too late for the job: its wait and its usual latency go beyond the deadline."""
    if counters is None or job.left_s is None:
        return False
    return job.left_s < max(counters.wait_s, counters.broken_s) + (counters.latency_s or 0.0)


def least_needed_s(limit: int | None, *, least_s: float | None, tokens_out: float | None) -> float | None:
    """What a call takes at the very least; None where nobody knows.

    `least_s` is the least that one took of late, `tokens_out` what answers have in the mean: who allows a shorter one
    (`limit`) may have it sooner.
    """
    if least_s is None or limit is None or not tokens_out:
        return least_s
    return least_s * min(1.0, limit / tokens_out)
