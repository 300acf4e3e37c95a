"""What the models can take: each limit as a rate over some models, in one unit.

A limit gives `burst` units at once from `opens_in_s` on and `rate_per_s` more each second (docs/decisions/0013): slots are
seconds of calls, as many each second as there are slots. So limits of a model, its group, a tenant and a batch are one thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from router_service.catalog.models import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Caps

MINUTE_S = 60.0
DAY_S = 86_400.0


class Unit(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"  # in and out
    TOKENS_IN = "tokens_in"
    TOKENS_OUT = "tokens_out"
    SLOT_S = "slot_s"  # seconds of a call under way


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`rate_per_s` units each second after `opens_in_s`, `burst` of them at once, shared by `models`."""

    name: str
    unit: Unit
    models: tuple[str, ...]
    rate_per_s: float
    burst: float = 0.0
    opens_in_s: float = 0.0

    def room(self, time_s: float) -> float:
        """Units that may be begun until then."""
        open_s = max(0.0, time_s - self.opens_in_s)
        return self.burst + self.rate_per_s * open_s if open_s > 0 else 0.0

    def time_s(self, load: float) -> float:
        """When so many units are begun; infinite where they never are."""
        if load <= 0:
            return 0.0
        over = max(0.0, load - self.burst)
        if over == 0:
            return self.opens_in_s
        return self.opens_in_s + over / self.rate_per_s if self.rate_per_s > 0 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What others have of a model or group: a share of its rates, some of its slots, of its day, and until when it is shut."""

    share: float = 0.0
    slots: int = 0
    day_share: float = 0.0
    opens_in_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """Every limit that the batch meets."""

    limits: tuple[Limit, ...]

    @classmethod
    def of(
        cls,
        models: Mapping[str, Limits],
        *,
        shared: Sequence[tuple[str, Caps, Sequence[str]]] = (),
        uses: Mapping[str, Use] | None = None,
        horizon_s: float | None = None,
    ) -> Capacity:
        """From the catalog's limits by model, and from caps that models share, with a name for each (group, tenant, batch).

        `uses`: by the same names. `horizon_s`: until when the batch must be done; one of a day at most takes a limit per day as
        a whole, a longer one as a steady rate.
        """
        known = uses or {}
        found: list[Limit] = []
        for name, limits in models.items():
            found += _limits(name, limits, (name,), known.get(name, Use()), horizon_s)
        for name, caps, members in shared:
            found += _limits(name, caps, tuple(members), known.get(name, Use()), horizon_s)
        return cls(limits=tuple(found))


def _limits(name: str, told: Limits | Caps, models: tuple[str, ...], use: Use, horizon_s: float | None) -> list[Limit]:
    burst_s = told.burst_s if isinstance(told, Limits) else 1.0
    minute = (
        (told.rpm, Unit.REQUESTS, "rpm"),
        (told.tpm, Unit.TOKENS, "tpm"),
        (told.itpm, Unit.TOKENS_IN, "itpm"),
        (told.otpm, Unit.TOKENS_OUT, "otpm"),
    )
    found = []
    for value, unit, kind in minute:
        if value is not None:
            rate = value / MINUTE_S * (1 - use.share)
            found.append(_limit(f"{kind} of {name}", unit, models, rate, rate * burst_s, use))
    for value, unit, kind in ((told.rpd, Unit.REQUESTS, "rpd"), (told.tpd, Unit.TOKENS, "tpd")):
        if value is not None:
            rate, burst = _per_day(value, use.day_share, horizon_s)
            found.append(_limit(f"{kind} of {name}", unit, models, rate, burst, use))
    if told.slots is not None:
        found.append(_limit(f"slots of {name}", Unit.SLOT_S, models, max(0.0, told.slots - use.slots), 0.0, use))
    return found


def _per_day(value: float, used: float, horizon_s: float | None) -> tuple[float, float]:
    """Rate and burst of a limit per day, of which a share is used: that comes back within a day."""
    if horizon_s is None:
        return value / DAY_S, 0.0
    days = horizon_s / DAY_S
    return (0.0, value * (1 - used)) if days <= 1 else (value * (1 - used / days) / DAY_S, 0.0)


def _limit(name: str, unit: Unit, models: tuple[str, ...], rate: float, burst: float, use: Use) -> Limit:
    return Limit(name=name, unit=unit, models=models, rate_per_s=rate, burst=burst, opens_in_s=use.opens_in_s)
