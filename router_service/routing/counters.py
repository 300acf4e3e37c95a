"""A model's live state as one snapshot saw it, and what routing reckons from it: expected latency, wait, what is left.

All of it is a value: floats have six significant digits from the start, so that what is stored as JSON is what was decided on.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, fields
from typing import Any

SIZES = (64, 256, 1024)  # the most tokens of an answer in each size but the last, which has no end
FEWEST_CALLS = 20  # below that a 95th percentile is the largest of all


def size_of(tokens_out: int) -> int:
    """The place of an answer's size in `Speed.by_size`, from 0.

    Each size is four times the one before: a label or a sentence, a paragraph, a page, more. So latencies within one differ by
    less than the tokens do, and four sizes share the calls of a model without starving.
    """
    return bisect_left(SIZES, tokens_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """What the last calls of a kind took; `p95_s` is None where they are fewer than FEWEST_CALLS."""

    calls: int
    mean_s: float
    p95_s: float | None = None

    def __post_init__(self) -> None:
        _round(self)

    def as_json(self) -> dict[str, Any]:
        return _told(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How long a model's calls take: a line of seconds over tokens of the answer, and what the last ones took.

    `base_s`, `token_s` (seconds a token) and `latency` are None, and a size of `by_size` is, where no call has ended yet.
    """

    base_s: float | None = None
    token_s: float | None = None
    latency: Latency | None = None
    by_size: tuple[Latency | None, ...] = (None,) * (len(SIZES) + 1)

    def __post_init__(self) -> None:
        _round(self)

    def expected_s(self, tokens_out: float) -> float | None:
        """The mean latency of a call with such an answer."""
        if self.base_s is None or self.token_s is None:
            return None
        return self.base_s + self.token_s * tokens_out

    def p95_s(self, tokens_out: int) -> float | None:
        """Of calls with answers of that size; None where too few of them ended."""
        latency = self.by_size[size_of(tokens_out)]
        return latency.p95_s if latency else None

    def as_json(self) -> dict[str, Any]:
        told = _told(self)
        if self.latency:
            told["latency"] = self.latency.as_json()
        if any(self.by_size):
            told["by_size"] = [each and each.as_json() for each in self.by_size]
        return told

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Speed:
        known = dict(told)
        if "latency" in known:
            known["latency"] = Latency(**known["latency"])
        if "by_size" in known:
            known["by_size"] = tuple(None if each is None else Latency(**each) for each in known["by_size"])
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateUse:
    """One rate: its limit in force and what of it is used, in units a window (requests or tokens; a minute or a day).

    `pace_s`: until its pace lets a call start, of whatever size; `first_s` and `last_s`: until the first and the last of what is
    used leaves the window; `first`: how much leaves it first.
    """

    name: str
    limit: float
    used: float
    first: float = 0.0
    pace_s: float = 0.0
    first_s: float = 0.0
    last_s: float = 0.0

    def __post_init__(self) -> None:
        _round(self)

    @property
    def left(self) -> float:
        """The share that is left, from 0 to 1."""
        return 0.0 if self.limit <= 0 else min(1.0, max(0.0, 1.0 - self.used / self.limit))

    def wait_s(self, units: float) -> float:
        """Until a call of so many units may start, if nobody else does.

        Exact where the window has room for it, or has once its first units have left, or must be empty; else as if the rest
        left evenly from the first to the last. The log itself stays in Redis: it is long, and a snapshot is taken at every pass.
        """
        over = min(self.used + units - self.limit, self.used)
        if over <= 0:
            return self.pace_s
        share = (over - self.first) / (self.used - self.first) if over > self.first else 0.0
        return max(self.pace_s, self.first_s + (self.last_s - self.first_s) * share)

    def units(self, *, tokens_in: float, tokens_out: float) -> float:
        """What a call uses of it."""
        match self.name:
            case "rpm" | "rpd":
                return 1.0
            case "itpm":
                return tokens_in
            case "otpm":
                return tokens_out
            case _:
                return tokens_in + tokens_out

    def as_json(self) -> dict[str, Any]:
        return _told(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """A model's live state as one snapshot saw it.

    `waiting`: jobs in its queue; `wait_s`: how long until it can start another call; `room`: how many more its queue takes, and
    `held_by` why that is none (paused, breaker, slots, rpm, ...; None where its own limits are not why). `broken_s`: above 0
    while its breaker lets nothing through; `is_failing`: too many of its last calls failed; `latency_s` and `tokens_out`: what
    a call takes and answers in the mean, `least_s`: what one has taken at the least of late; None where nobody knows.

    `error_rate`: the share of calls that failed, of which the last hundred or so count, and `judged` of how many in all (at
    most 1000); `used_rpm` and `used_tpm`: requests and tokens of the last minute, of those under way too where a limit counts
    them; `rates`: how its limits stand.
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
    error_rate: float | None = None
    judged: int = 0
    used_rpm: float | None = None
    used_tpm: float | None = None
    speed: Speed = field(default_factory=Speed)
    rates: tuple[RateUse, ...] = ()

    def __post_init__(self) -> None:
        _round(self)

    @property
    def rate_left(self) -> float | None:
        """The share that is left of the limit that has least; None where nothing limits a rate."""
        return min((rate.left for rate in self.rates), default=None)

    @property
    def latency_p95_s(self) -> float | None:
        """Of calls with answers of any size; None before FEWEST_CALLS have ended. `speed.p95_s` tells it of one size."""
        return self.speed.latency.p95_s if self.speed.latency else None

    def expected_latency_s(self, tokens_out: float) -> float | None:
        """The mean latency of a call with so many tokens in its answer; None before the first call."""
        expected_s = self.speed.expected_s(tokens_out)
        return self.latency_s if expected_s is None else expected_s

    def wait_for_s(self, *, tokens_in: float, tokens_out: float) -> float:
        """`wait_s` of a job of so many tokens, which its model's rates may let start later than a small one."""
        needed = (rate.wait_s(rate.units(tokens_in=tokens_in, tokens_out=tokens_out)) for rate in self.rates)
        return max(self.wait_s, *needed, 0.0)

    def as_json(self) -> dict[str, Any]:
        """What is not as it is by default."""
        told = _told(self)
        if self.speed != Speed():
            told["speed"] = self.speed.as_json()
        if self.rates:
            told["rates"] = [rate.as_json() for rate in self.rates]
        return told

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Counters:
        """The same Counters. Raises TypeError where a name is missing or unknown."""
        known = dict(told)
        if "speed" in known:
            known["speed"] = Speed.from_json(known["speed"])
        if "rates" in known:
            known["rates"] = tuple(RateUse(**each) for each in known["rates"])
        return cls(**known)


def _round(whole: Any) -> None:
    for each in fields(whole):
        value = getattr(whole, each.name)
        if isinstance(value, float):
            object.__setattr__(whole, each.name, float(f"{value:.6g}"))


def _told(whole: Any) -> dict[str, Any]:
    """The plain fields that are not as they are by default."""
    return {
        each.name: value
        for each in fields(whole)
        if isinstance(value := getattr(whole, each.name), (int, float, str)) and value != each.default
    }
