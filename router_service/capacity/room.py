"""How many jobs a model's queue takes: what can start at once, and about a second of work beyond.

Enough that the way from the router to a worker costs no throughput, and no more: what waits in Postgres can still be cancelled,
overtaken or sent to another model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from router_service.capacity.limiter import BREAKER, PAUSED, SLOTS
from router_service.routing.counters import Counters

if TYPE_CHECKING:
    from router_service.capacity.limiter import Live
    from router_service.capacity.scopes import Scope
    from router_service.catalog.models import Limits

AHEAD_S = 1.0
LEAST_AHEAD = 2
FIRST_AHEAD = 16  # before anything is known of a model's calls
MOST_AHEAD = 1000
SOON_S = 0.5  # a pause that is over so soon is no reason to route elsewhere
FAR_S = 2.0  # a rate that lets nothing start for so long: jobs wait in Postgres, not in the queue


def most(limits: Limits, live: Live) -> tuple[int, int]:
    """How many calls and places a model may have together, and how many places."""
    ahead = _ahead(limits, live)
    both = limits.slots + ahead
    if live.broken_s < 0:
        return live.in_flight + 1, 1
    has_rate = any(each is not None for each in (limits.rpm, limits.tpm, limits.itpm, limits.otpm))
    return both, ahead if has_rate else both


def most_of(scope: Scope) -> tuple[int | None, int]:
    """The same for a scope that is no model.

    A group's models bound their queues themselves; of a tenant's calls nothing is known.
    """
    if scope.kind == "group":
        return None if scope.slots is None else scope.slots + FIRST_AHEAD, MOST_AHEAD
    rpm = scope.rates.get("rpm")
    ahead = FIRST_AHEAD if rpm is None else _whole(rpm / 60 * AHEAD_S)
    if scope.slots is None:
        return None, ahead
    return scope.slots + LEAST_AHEAD, scope.slots + LEAST_AHEAD


def counters_of(limits: Limits, live: Live) -> Counters:
    """What routing looks at."""
    both, places = most(limits, live)
    room = max(0, min(both - live.in_flight, places) - live.waiting)
    blocked_s = max(live.paused_s, live.broken_s, 0.0)
    held_by = None
    if blocked_s > SOON_S:
        room, held_by = 0, PAUSED if live.paused_s >= live.broken_s else BREAKER
    elif live.rate_wait_s > FAR_S:
        room, held_by = 0, live.rate
    elif room == 0:
        held_by = SLOTS if live.in_flight >= limits.slots else live.rate
    return Counters(
        in_flight=live.in_flight,
        waiting=live.waiting,
        room=room,
        wait_s=max(blocked_s, live.rate_wait_s, _queue_wait_s(limits, live)),
        paused_s=live.paused_s,
        broken_s=max(live.broken_s, 0.0),
        latency_s=live.latency_s,
        least_s=live.measures.least_s,
        tokens_out=live.measures.real_out,
        held_by=held_by,
        is_failing=live.is_failing,
        error_rate=live.record.error_rate,
        judged=live.record.judged,
        used_rpm=_used(live, ("rpm",), live.record.used_rpm),
        used_tpm=_used(live, ("tpm",), _used(live, ("itpm", "otpm"), live.record.used_tpm)),
        speed=live.record.speed,
        rates=live.rates,
    )


def _used(live: Live, names: tuple[str, ...], settled: float | None) -> float | None:
    """What the last minute used: as the log of a limit has it, else of what has ended."""
    used = [rate.used for rate in live.rates if rate.name in names]
    return sum(used) if len(used) == len(names) else settled


def _queue_wait_s(limits: Limits, live: Live) -> float:
    """How long what is in the queue takes to get started."""
    starts_per_s = _starts_per_s(limits, live)
    free = limits.slots - live.in_flight
    if starts_per_s is None or free > live.waiting:
        return 0.0
    return (live.waiting + 1) / starts_per_s


def _ahead(limits: Limits, live: Live) -> int:
    starts_per_s = _starts_per_s(limits, live)
    if starts_per_s is None:
        return min(limits.slots, FIRST_AHEAD)
    return _whole(starts_per_s * AHEAD_S)


def _starts_per_s(limits: Limits, live: Live) -> float | None:
    """How many calls a second the limits let start; None while that is not known."""
    measures = live.measures
    known = [limits.slots / live.latency_s] if live.latency_s else []
    for rate, units in (
        (limits.rpm, 1.0),
        (limits.tpm, measures.tokens),
        (limits.itpm, measures.real_in),
        (limits.otpm, measures.real_out),
    ):
        if rate is not None and units:
            known.append(rate * live.factor / 60 / units)
    return min(known) if known else None


def _whole(count: float) -> int:
    return min(MOST_AHEAD, max(LEAST_AHEAD, math.ceil(count)))
