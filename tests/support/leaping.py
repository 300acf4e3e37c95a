"""An event loop on a clock of its own: where nothing can be done, it is at once as late as the next timer wants it."""

from __future__ import annotations

import asyncio
import selectors

TURN_S = 1e-6  # what a turn of the loop takes


class _Leap(selectors.DefaultSelector):
    """Does not wait: tells how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        events = super().select(0)
        self.now += TURN_S if events else timeout + TURN_S
        return events


class LeapingLoop(asyncio.SelectorEventLoop):
    """For tests without servers: an hour of it takes no time, and every moment of it is exact to a few turns."""

    def __init__(self) -> None:
        self._leap = _Leap()
        super().__init__(self._leap)

    def time(self) -> float:
        return self._leap.now
