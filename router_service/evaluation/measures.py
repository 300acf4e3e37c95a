"""What a log of calls says: use of a limit over time, fairness, waits. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from router_service.evaluation.allowance import MINUTE_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.evaluation.allowance import Call, Offer


def utilisation(calls: Sequence[Call], offer: Offer, *, since_s: float, until_s: float) -> dict[str, list[float]]:
    """For each limit of a model, second by second, the part of it that was used. 1.0 is all of it.

    Of a rate: what arrived within the second, so that single seconds of a paced model are above 1. Of the slots: their mean
    use over the second.
    """
    seconds = max(math.ceil(until_s - since_s), 1)
    used = {name: [0.0] * seconds for name in (*offer.rates, "slots")}
    for call in calls:
        second = int(call.arrived_s - since_s)
        if call.refused is not None or not 0 <= second < seconds:
            continue
        for name, rate in offer.rates.items():
            used[name][second] += (call.tokens if name == "tpm" else 1) * MINUTE_S / rate
        _occupy(used["slots"], call.arrived_s - since_s, (call.ended_s or until_s) - since_s, slots=offer.slots)
    return {name: [round(value, 4) for value in series] for name, series in used.items()}


def _occupy(series: list[float], start_s: float, end_s: float, *, slots: int) -> None:
    for second in range(int(start_s), min(math.ceil(end_s), len(series))):
        series[second] += (min(end_s, second + 1) - max(start_s, second)) / slots


def fairness(calls: Mapping[str, Sequence[Call]], *, since_s: float) -> dict[str, Any]:
    """Tokens that each tenant got from `since_s` until the first of them had no more work waiting, and Jain's index of them."""
    until_s = min(max((call.arrived_s for call in each), default=since_s) for each in calls.values())
    tokens = {
        tenant: sum(call.tokens for call in each if since_s <= call.arrived_s <= until_s)
        for tenant, each in calls.items()
    }
    return {
        "index": round(jain(list(tokens.values())), 4),
        "tokens": tokens,
        "both_backlogged_s": round(until_s - since_s, 3),
    }


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything.

    R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness and discrimination", DEC TR-301, 1984.
    """
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest rank: the least value that `percent` per cent of all do not exceed. None of no values."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]
