"""Does to a cluster what a plan says, and takes it back when its time is over."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, assert_never

import redis

from tests.faults.plan import Nemesis, Strike
from tests.support.proxy import CLEAR, BlackHole, Cut, Slow

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.cluster import Cluster

SLOW = Slow(latency_s=0.05, drip_bytes=4096)

Undo = tuple[float, "Callable[[], object]"]


class Saboteur:
    """`strike` begins a fault, `mend` ends those that are due, `mend_all` every one. `windows` tells when something was wrong."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._undo: list[Undo] = []
        self.windows: list[tuple[float, float]] = []

    def strike(self, strike: Strike) -> None:
        self.windows.append((time.time(), time.time() + strike.lasts_s))
        undo = self._begin(strike)
        if undo is not None:
            self._undo.append((time.monotonic() + strike.lasts_s, undo))

    def mend(self, *, now_s: float) -> None:
        due = [undo for until_s, undo in self._undo if until_s <= now_s]
        self._undo = [each for each in self._undo if each[0] > now_s]
        for undo in due:
            undo()

    def mend_all(self) -> None:
        self.mend(now_s=float("inf"))

    def _begin(self, strike: Strike) -> Callable[[], object] | None:
        """Do it. How it is undone, where that is needed."""
        cluster = self._cluster
        match strike.nemesis:
            case Nemesis.KILL:
                cluster.roles[strike.process].send(signal.SIGKILL)
            case Nemesis.FLUSH:
                with suppress(redis.RedisError):  # it may be down at the moment, which is worse
                    cluster.flush_redis()
            case Nemesis.KILL_REDIS:
                self._kill("valkey")
            case Nemesis.KILL_POSTGRES:
                self._kill("postgres")
            case Nemesis.FREEZE | Nemesis.FREEZE_POSTGRES:
                pids = cluster.freeze(strike.process or "postgres")
                return lambda: cluster.thaw(pids)
            case Nemesis.CUT:
                return self._links(strike, Cut())
            case Nemesis.BLACK_HOLE:
                return self._links(strike, BlackHole())
            case Nemesis.SLOW:
                return self._links(strike, SLOW)
            case _:
                assert_never(strike.nemesis)
        return None

    def _kill(self, server: str) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._cluster.pid(server), signal.SIGKILL)

    def _links(self, strike: Strike, way: Cut | BlackHole | Slow) -> Callable[[], object]:
        processes = [strike.process] if strike.process else list(self._cluster.links)
        links = [self._cluster.links[process][strike.link] for process in processes]
        for link in links:
            link.behave(way)

        def clear() -> None:
            with ExitStack() as exits:
                for link in links:
                    exits.callback(link.behave, CLEAR)

        return clear
