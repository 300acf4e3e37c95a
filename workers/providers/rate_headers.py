"""Reads what a reply's headers tell of the provider's limits. Pure; what makes no sense is passed over.

OpenAI's `x-ratelimit-*` (a duration such as `6m0s`, or plain seconds, or Unix time) and Anthropic's
`anthropic-ratelimit-*` (RFC 3339). In both, `reset` is when the limit is whole again, not when there is something left.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

from router_service.policy.outcomes import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-")
NAMES = {"rpm": "requests", "tpm": "tokens", "itpm": "input-tokens", "otpm": "output-tokens"}
MOST_LIMIT = 1e12
MOST_EXHAUSTED_S = 3600.0
LEAST_SHARE = 1 / 60  # what is worth waiting for: a second's worth of a limit per minute
LEAST_UNIX_S = 1e9  # no duration; so it is a time
NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
DURATION = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m(?!s))?(?:([0-9]{1,6}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,9})ms)?"
)
UNITS_S = (86_400.0, 3600.0, 60.0, 1.0, 0.001)


def read_limits(headers: Mapping[str, str], *, now_s: float) -> Seen | None:
    """What the headers (names in lower case) tell; None where they tell nothing. `now_s`: Unix time."""
    told = {name: value for name, value in headers.items() if name.startswith(PREFIXES)}
    if not told:
        return None
    limits = {rate: _limit(told, name) for rate, name in NAMES.items()}
    exhausted_s = max(_exhausted_s(told, name, limits[rate], now_s=now_s) for rate, name in NAMES.items())
    seen = Seen(**limits, exhausted_s=exhausted_s)
    return None if seen == Seen() else seen


def _value(told: Mapping[str, str], name: str, what: str) -> str:
    return (told.get(f"x-ratelimit-{what}-{name}") or told.get(f"anthropic-ratelimit-{name}-{what}") or "").strip()


def _limit(told: Mapping[str, str], name: str) -> float | None:
    limit = _number(_value(told, name, "limit"))
    return limit if limit is not None and 0 < limit <= MOST_LIMIT else None


def _exhausted_s(told: Mapping[str, str], name: str, limit: float | None, *, now_s: float) -> float:
    """How long nothing remains of one limit.

    A limit comes back little by little, and is whole after `reset`: the wait is for one unit of it, and for a sixtieth at
    the least. Where the limit is not told, it is for the whole.
    """
    if _number(_value(told, name, "remaining")) != 0:
        return 0.0
    reset_s = _reset_s(_value(told, name, "reset"), now_s=now_s)
    share = 1.0 if limit is None else min(1.0, max(1 / limit, LEAST_SHARE))
    return min(reset_s * share, MOST_EXHAUSTED_S)


def _reset_s(value: str, *, now_s: float) -> float:
    """Seconds from now; 0 where that is not said, or is past."""
    number = _number(value)
    if number is not None:
        return max(0.0, number - now_s) if number >= LEAST_UNIX_S else number
    if value and (duration := DURATION.fullmatch(value)):
        return math.fsum(float(count or 0) * unit_s for count, unit_s in zip(duration.groups(), UNITS_S, strict=True))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - now_s) if moment.tzinfo is not None else 0.0


def _number(value: str) -> float | None:
    return float(value) if NUMBER.fullmatch(value) else None
