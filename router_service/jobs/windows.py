"""Reads a completion window: `<number><s|m|h|d>`."""

from __future__ import annotations

import re

from router_service.errors import InvalidRequestError

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MOST_S = 90 * 86_400


def window_s(text: str) -> int:
    """Seconds. Raises InvalidRequestError on another form, on zero, or on more than 90 days."""
    match = re.fullmatch(r"([0-9]{1,8})([smhd])", text)
    seconds = int(match[1]) * UNITS_S[match[2]] if match else 0
    if not 0 < seconds <= MOST_S:
        raise InvalidRequestError(
            "completion_window must be a number and one of s, m, h, d, such as '24h', at most 90 days",
            param="completion_window",
        )
    return seconds
