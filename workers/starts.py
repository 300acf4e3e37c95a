"""How bursty the starts of a model's calls have been."""

from __future__ import annotations

from collections import deque

BUSY_S = 2.0  # a model that started something so lately has its next jobs claimed before a slot comes free


class Starts:
    """How bursty the starts of the last seconds were."""

    def __init__(self, *, within_s: float) -> None:
        self._within_s = within_s
        self._moments: deque[float] = deque()
        self._crowds: deque[tuple[float, int]] = deque()

    def add(self, now: float) -> None:
        self._moments.append(now)
        while self._moments[0] < now - self._within_s:
            self._moments.popleft()
        self._crowds.append((now, len(self._moments)))

    def most(self, now: float) -> int:
        """The most that started within `within_s`."""
        while self._crowds and self._crowds[0][0] < now - BUSY_S:
            self._crowds.popleft()
        return max((count for _moment, count in self._crowds), default=0)
