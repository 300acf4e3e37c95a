"""A model's live state as the router sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """A model's live state as one snapshot saw it.

    `waiting`: jobs in its queue; `wait_s`: how long until it can start another call; `room`: how many more its queue takes, and
    `held_by` why that is none (paused, breaker, slots, rpm, ...; None where its own limits are not why). `broken_s`: above 0
    while its breaker lets nothing through; `is_failing`: too many of its last calls failed; `latency_s` and `tokens_out`: what
    a call takes and answers in the mean, `least_s`: what one has taken at the least of late; None where nobody knows.
    """

    in_flight: int
    wait_s: float
    paused_s: float
    room: int
    waiting: int = 0
    broken_s: float = 0.0
    latency_s: float | None = None
    least_s: float | None = None
    tokens_out: float | None = None
    held_by: str | None = None
    is_failing: bool = False
    used_tpm: float | None = None
