"""The signals of `waybill up`, as facts that its loop looks at: a handler only notes, it never acts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_NOTED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Switch:
    """While it is open, SIGTERM and SIGINT count as `stops` and SIGHUP as a wish to reload."""

    def __init__(self) -> None:
        self.stops = 0
        self._reload = False
        self._before: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._note) for number in _NOTED}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def take_reload(self) -> bool:
        """Whether a reload was asked for since the last look."""
        asked, self._reload = self._reload, False
        return asked

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stops += 1
