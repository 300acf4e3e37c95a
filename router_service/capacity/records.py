"""A model's record in Redis, from which the router reads how fast it is, how often it fails and how much it is used.

Redis remembers and this module reckons: for each of the last calls one letter, which tells how long it took to within 7 %; any
quantile can be read from the letters, for answers of every size. docs/decisions/0019 compares this with other estimators.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from router_service.routing.counters import FEWEST_CALLS, Latency, Speed, size_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEAST_S, _STEP = 0.002, 1.15  # what the first letter means, and how much longer each next one: 94 letters reach 900 s
_FIRST, _LAST = ord("!"), ord("~")
_SECONDS = {chr(code): _LEAST_S * _STEP ** (code - _FIRST) for code in range(_FIRST, _LAST + 1)}
_MINUTE_MS = 60_000.0
_LEAN = 0.01  # how little the tokens may vary before the line leans on the mean seconds a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """As Counters have it; all unknown before the first call has ended."""

    speed: Speed = field(default_factory=Speed)
    error_rate: float | None = None
    judged: int = 0
    used_rpm: float | None = None
    used_tpm: float | None = None

    @classmethod
    def of(cls, sums: Sequence[float], letters: Sequence[str], *, now_ms: float) -> Record:
        """From what snapshot.lua tells: the sums as settle.lua lists them, and the letters of each size of answers."""
        _weight, tokens, seconds, variance, covariance, *rest = sums
        *shares, judged, failed, requests, used, at_ms = rest
        base_s, token_s = _line(tokens, seconds, variance, covariance) if any(letters) else (None, None)
        fade = math.exp(min(0.0, at_ms - now_ms) / _MINUTE_MS)
        return cls(
            speed=Speed(
                base_s=base_s,
                token_s=token_s,
                latency=_latency([*zip(letters, shares, strict=True)]),
                by_size=tuple(_latency([(each, 1.0)]) for each in letters),
            ),
            error_rate=failed if judged else None,
            judged=int(judged),
            used_rpm=requests * fade,
            used_tpm=used * fade,
        )


def letter(latency_s: float) -> str:
    """How long a call took, to within 7 %, from 2 ms to 900 s."""
    steps = math.log(max(latency_s, _LEAST_S) / _LEAST_S, _STEP)
    return chr(min(_LAST, _FIRST + round(steps)))


def place(tokens_out: int) -> int:
    """The number that a size of answers has in the record, from 1."""
    return size_of(tokens_out) + 1


def _latency(sizes: Sequence[tuple[str, float]]) -> Latency | None:
    """Of calls of several sizes, whose letters count by the share that the sizes have of all calls."""
    weights: defaultdict[str, float] = defaultdict(float)
    for letters, share in sizes:
        for each, count in Counter(letters).items():
            weights[each] += share * count / len(letters)
    whole, calls = sum(weights.values()), sum(len(letters) for letters, _share in sizes)
    if not whole:
        return None
    mean_s = sum(_SECONDS[each] * weight for each, weight in weights.items()) / whole
    return Latency(calls=calls, mean_s=mean_s, p95_s=_p95_s(weights, 0.05 * whole) if calls >= FEWEST_CALLS else None)


def _p95_s(weights: Mapping[str, float], above: float) -> float:
    """The longest of which no more than `above` is longer."""
    longest = sorted(weights, reverse=True)
    for each, beyond in zip(longest, accumulate(weights[each] for each in longest), strict=True):
        if beyond > above:
            return _SECONDS[each]
    return _SECONDS[longest[-1]]


def _line(tokens: float, seconds: float, variance: float, covariance: float) -> tuple[float, float]:
    """(seconds before the first token, seconds a token), neither below 0.

    Least squares with a ridge: where answers are all of one length nothing tells the two apart, and all is put on the tokens.
    """
    if tokens <= 0:
        return seconds, 0.0
    most, ridge = seconds / tokens, _LEAN * tokens * tokens
    token_s = min(most, max(0.0, (covariance + ridge * most) / (variance + ridge)))
    return seconds - token_s * tokens, token_s
