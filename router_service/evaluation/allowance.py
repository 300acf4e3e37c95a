"""What the mock provider allows, kept as strictly as a provider could: the pure half of the oracle.

Time comes in as an argument. A window is open at its old end: a call counts against the W seconds that begin with it, and
no longer.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any

MINUTE_S = 60.0
SHORT_S = 1.0
SLOT_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One model of the mock provider: what it allows, and how long a call takes. Rates are per minute.

    `short_s`: within any one second no more than so many seconds' worth of a rate (None: whatever the minute allows).
    """

    slots: int
    rpm: float | None = None
    tpm: float | None = None
    short_s: float | None = 3.0
    latency_s: float = 0.2
    jitter: float = 0.0
    seed: int = 0

    def latency_of(self, tag: str) -> float:
        """Seconds that the call of this tag takes: `latency_s` give or take `jitter` of it, the same in every process."""
        drawn = int.from_bytes(blake2b(f"{self.seed}/{tag}".encode(), digest_size=8).digest()) / 2**64
        return self.latency_s * (1 + self.jitter * (2 * drawn - 1))

    @property
    def rates(self) -> dict[str, float]:
        """The limits per minute that there are, by name."""
        return {name: rate for name, rate in (("rpm", self.rpm), ("tpm", self.tpm)) if rate is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a call was answered 429: `slots`, or the window that it would have overfilled."""

    limit: str
    retry_after_s: float


@dataclass(slots=True, kw_only=True)
class Call:
    """One arrival. Times are of the machine's monotonic clock; `ended_s` is None while the call runs, and for a refused one."""

    model: str
    tag: str
    tokens: int
    arrived_s: float
    ended_s: float | None = None
    refused: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class Window:
    """Units within the last `width_s` seconds, of which there may be `most`; `fullest` is the most that there ever were."""

    width_s: float
    most: float
    fullest: float = 0.0
    _held: float = 0.0
    _arrivals: deque[tuple[float, float]] = field(default_factory=deque)

    def wait_s(self, now_s: float, units: float) -> float:
        """0 where the units fit now, else in how many seconds they would; the whole width where they never do."""
        self._forget(now_s)
        excess = self._held + units - self.most
        if excess <= 0:
            return 0.0
        for arrived_s, old in self._arrivals:
            excess -= old
            if excess <= 0:
                return arrived_s + self.width_s - now_s
        return self.width_s

    def add(self, now_s: float, units: float) -> None:
        self._forget(now_s)
        self._arrivals.append((now_s, units))
        self._held += units
        self.fullest = max(self.fullest, self._held)

    def _forget(self, now_s: float) -> None:
        while self._arrivals and self._arrivals[0][0] + self.width_s <= now_s:
            self._held -= self._arrivals.popleft()[1]


class Ledger:
    """All that one model's provider knows: who is in, what the windows hold, whom it refused. A refused call uses nothing up."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.in_flight = 0
        self.most_in_flight = 0
        self.refused: dict[str, int] = {}
        self.windows = {name: Window(width_s=MINUTE_S, most=rate) for name, rate in offer.rates.items()}
        if offer.short_s is not None:
            self.windows |= {
                f"{name}_in_1_s": Window(width_s=SHORT_S, most=max(rate / MINUTE_S * offer.short_s, 1.0))
                for name, rate in offer.rates.items()
            }

    def admit(self, now_s: float, *, tokens: int) -> Refusal | None:
        """Count a call that arrives, or say why not. Every admitted call is to `leave`."""
        refusal = self._refusal(now_s, tokens)
        if refusal is not None:
            self.refused[refusal.limit] = self.refused.get(refusal.limit, 0) + 1
            return refusal
        for name, window in self.windows.items():
            window.add(now_s, _units(name, tokens))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return None

    def leave(self) -> None:
        self.in_flight -= 1

    def as_json(self) -> dict[str, Any]:
        return {
            "slots": self.offer.slots,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "refused": dict(self.refused),
            "windows": {
                name: {"width_s": window.width_s, "most": window.most, "fullest": window.fullest}
                for name, window in self.windows.items()
            },
        }

    def _refusal(self, now_s: float, tokens: int) -> Refusal | None:
        if self.in_flight >= self.offer.slots:
            return Refusal(limit="slots", retry_after_s=SLOT_RETRY_S)
        waits = {name: window.wait_s(now_s, _units(name, tokens)) for name, window in self.windows.items()}
        longest = max(waits, key=waits.__getitem__, default=None)
        if longest is None or waits[longest] <= 0:
            return None
        return Refusal(limit=longest, retry_after_s=waits[longest])


def _units(window: str, tokens: int) -> int:
    return tokens if window.startswith("tpm") else 1


def tokens_of(characters: int) -> int:
    """The tokens of a prompt: four characters each, as English has it. Waybill's own estimate is another, and has to learn."""
    return math.ceil(characters / 4)
