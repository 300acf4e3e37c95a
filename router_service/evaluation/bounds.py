"""The least time in which anybody could do a set of jobs within a provider's limits. Pure.

The argument, for N jobs of U units in all (requests, or tokens), whose last one to start is j:

- A rate of R units a minute that is paced, with b seconds' worth at once: by the time t no more than (b + t) x R / 60 units
  can have started before the one that starts at t. Before j start U - u_j units, so that j starts at (U - u_j) x 60 / R - b or
  later, and ends its latency l_j after that. Nobody knows which job is the last, so the least over all jobs is the bound.
- The same rate as a strict sliding minute: cut the time before j starts into minutes, from its start backwards. Each holds R
  at the most, so that there are floor((U - u_j) / R) whole ones; what is left comes in the part of a minute before them, and
  no faster than the provider's window of one second lets it. This is `unpaced_s`; the larger of the two is the rate's bound.
- S slots: all calls together take sum(l), so that S of them at a time take sum(l) / S or longer; and no less than the longest.
- Several models: model m finishes at most n_m(T) jobs by the time T, the least of what its limits let through if all jobs
  were as small and as quick as the smallest and the quickest. T is too short as long as the n_m(T) sum up to less than N.

Pacing is what the catalog asks for, since most providers check shorter windows than they tell. A client that does not pace,
but sends a minute's worth as fast as it may, could end sooner where the run is no whole number of minutes: by `unpaced_s`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_service.evaluation.allowance import MINUTE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_service.evaluation.allowance import Offer

PRECISION_S = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call as it is counted."""

    tag: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """`seconds` is the largest of `parts`, and `by` the name of that one. `unpaced_s` only for one model."""

    seconds: float
    by: str
    parts: Mapping[str, float]
    argument: str
    unpaced_s: float | None = None


def lower_bound(works: Sequence[Work], offers: Mapping[str, Offer], *, burst_s: float) -> Bound:
    """The bound for jobs that may go to any of the models."""
    if len(offers) > 1:
        return _several(works, offers, burst_s)
    offer = next(iter(offers.values()))
    latencies = [offer.latency_of(work.tag) for work in works]
    unpaced = {
        name: _unpaced(_units(name, works), latencies, rate, offer.short_s or MINUTE_S)
        for name, rate in offer.rates.items()
    }
    parts = {
        name: max(_paced(_units(name, works), latencies, rate, burst_s), unpaced[name])
        for name, rate in offer.rates.items()
    }
    parts |= {"slots": sum(latencies) / offer.slots, "longest": max(latencies, default=0.0)}
    by = max(parts, key=parts.__getitem__)
    return Bound(
        seconds=parts[by],
        by=by,
        parts=parts,
        argument=_argument(by, works, latencies, offer, None if parts[by] == unpaced.get(by) else burst_s),
        unpaced_s=max(*unpaced.values(), parts["slots"], parts["longest"]) if unpaced else None,
    )


def _units(name: str, works: Sequence[Work]) -> list[int]:
    return [work.tokens if name == "tpm" else 1 for work in works]


def _paced(units: Sequence[int], latencies: Sequence[float], rate: float, burst_s: float) -> float:
    total = sum(units)
    return min(
        (
            max((total - own) * MINUTE_S / rate - burst_s, 0.0) + latency
            for own, latency in zip(units, latencies, strict=True)
        ),
        default=0.0,
    )


def _unpaced(units: Sequence[int], latencies: Sequence[float], rate: float, short_s: float) -> float:
    """Whole minutes wait for the first of them to leave the window; the rest goes at `short_s` seconds' worth a second."""
    minutes, rest = divmod(sum(units) - max(units, default=0), rate)
    return minutes * MINUTE_S + max(rest * MINUTE_S / rate / short_s - 1.0, 0.0) + min(latencies, default=0.0)


def _several(works: Sequence[Work], offers: Mapping[str, Offer], burst_s: float) -> Bound:
    smallest = min(work.tokens for work in works)
    quickest = {name: min(offer.latency_of(work.tag) for work in works) for name, offer in offers.items()}

    def finished(name: str, within_s: float) -> tuple[float, str]:
        offer, started_s = offers[name], within_s - quickest[name]
        most = {"slots": offer.slots * within_s / max(quickest[name], 1e-9)}
        for limit, rate in offer.rates.items():
            own = smallest if limit == "tpm" else 1
            paced = 1 + (started_s + burst_s) * rate / MINUTE_S / own
            minutes = (math.floor(started_s / MINUTE_S) + 1) * rate / own
            most[limit] = min(paced, minutes) if started_s >= 0 else 0.0
        binding = min(most, key=most.__getitem__)
        return most[binding], binding

    seconds = _least(lambda within_s: sum(finished(name, within_s)[0] for name in offers) >= len(works))
    shares = {name: finished(name, seconds) for name in offers}
    by = " + ".join(f"{name}.{limit}" for name, (_, limit) in shares.items())
    most = " + ".join(f"{count:.1f} of {name} by its {limit}" for name, (count, limit) in shares.items())
    return Bound(
        seconds=seconds,
        by=by,
        parts={"all models": seconds},
        argument=f"{len(works)} jobs cannot have ended before {seconds:.2f} s: by then at most {most} have",
    )


def _least(enough: Callable[[float], bool]) -> float:
    """The least time that is enough, by halving."""
    low, high = 0.0, 1.0
    while not enough(high):
        low, high = high, 2 * high
    while high - low > PRECISION_S:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low


def _argument(by: str, works: Sequence[Work], latencies: Sequence[float], offer: Offer, burst_s: float | None) -> str:
    if by == "slots":
        return f"{len(works)} calls take {sum(latencies):.1f} s together, and {offer.slots} run at a time"
    if by == "longest":
        return f"the longest call takes {max(latencies):.2f} s"
    units, rate = _units(by, works), offer.rates[by]
    if burst_s is None:
        return (
            f"before the last of {len(works)} jobs come ({sum(units)} - {max(units)}) units, no 60 s hold more than {rate:g}, "
            f"and it takes {min(latencies):.2f} s or longer"
        )
    return (
        f"the last of {len(works)} jobs cannot start before ({sum(units)} - {max(units)}) units x 60 s / {rate:g} "
        f"- {burst_s:g} s of burst, and takes {min(latencies):.2f} s or longer"
    )
