"""What a summarizer process does besides summarizing: leave Ctrl-C to its parent, end when it does.

Apart from `processes`, so that a child imports no asyncio. The end of a parent, even by SIGKILL, shows
at once on its sentinel; should a process that it forked hold the other end of that pipe, the changed
parent id shows within a second. PR_SET_PDEATHSIG would not do: it fires when the *thread* that started
the child ends.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait
from typing import Final

_LOOK_AT_PARENT_S: Final = 1.0


def prepare() -> None:
    """The initializer of each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    while os.getppid() == parent.pid and not wait([parent.sentinel], timeout=_LOOK_AT_PARENT_S):
        continue
    os._exit(1)
