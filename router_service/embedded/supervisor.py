"""Keeping processes up: what dies starts again, later and later while it keeps dying; all end in order.

One thread, no signals: the caller asks again and again (`tend`), so that it alone decides what happens when.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING, Protocol

import structlog

from router_service.embedded.process import exited, spawn, sweep, wait_until
from router_service.errors import StackError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 10.0
STEADY_AFTER_S = 30.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep up. `ready` tells whether it does its work; without one, to run is enough."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    ready: Callable[[], bool] | None = None


class Service(Protocol):
    """What can be kept up: a ChildProcess or an embedded server."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int | None: ...
    def launch(self) -> None: ...
    def ready(self) -> bool: ...
    def poll(self) -> int | None: ...


class ChildProcess:
    """A Child and the process that it is at the moment. Its output goes to `log_dir`/<name>.log."""

    def __init__(self, child: Child, *, log_dir: Path) -> None:
        self.child = child
        self.name = child.name
        self.log = log_dir / f"{child.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def launch(self) -> None:
        self._process = spawn(self.child.argv, log=self.log, env=self.child.env)

    def ready(self) -> bool:
        up = self._process is not None and not exited(self._process)
        return up and (self.child.ready is None or self.child.ready())

    def poll(self) -> int | None:
        """The exit status once it has ended; then it is reaped and the rest of its group is dead too."""
        if self._process is None or not exited(self._process):
            return None
        sweep(self._process)
        return self._process.wait()

    def ask_to_stop(self) -> None:
        if self._process is not None and not exited(self._process):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its group now. Does nothing to one that was never launched or is reaped."""
        if self._process is not None:
            sweep(self._process)
            self._process.wait()


def stop_children(
    children: Sequence[ChildProcess], *, drain_s: float, hurry: Callable[[], bool] = lambda: False
) -> None:
    """SIGTERM to each in order, up to `drain_s` seconds for all together (or until `hurry`), then SIGKILL."""
    for child in children:
        child.ask_to_stop()
    wait_until(
        lambda: all(child.pid is None or child.poll() is not None for child in children) or hurry(),
        patience_s=drain_s,
    )
    for child in children:
        child.kill()


def delay_s(failures: int, *, uniform: Callable[[float, float], float]) -> float:
    """Exponential backoff with full jitter: anything between none and the doubled, bounded pause."""
    return uniform(0.0, min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures, 30)))


@dataclass(slots=True, kw_only=True)
class _Record:
    started_at: float = 0.0
    failures: int = 0
    due_at: float | None = None


class Supervisor:
    """Keeps services up, in the order given."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] | None = None,
    ) -> None:
        self._services = tuple(services)
        self._clock = clock
        self._uniform = uniform or SystemRandom().uniform
        self._records = {service.name: _Record() for service in services}

    @property
    def pids(self) -> dict[str, int]:
        """The process of each service that is up, by name."""
        return {
            service.name: service.pid
            for service in self._services
            if service.pid is not None and self._records[service.name].due_at is None
        }

    def start(self) -> None:
        for service in self._services:
            self._launch(service)

    def tend(self) -> bool:
        """Reap what has ended and start what is due. True when a process came or went."""
        changes = [self._tend(service) for service in self._services]  # every one, whatever the first says
        return any(changes)

    def failures(self, name: str) -> int:
        """How often in a row the service has ended within STEADY_AFTER_S of its start."""
        return self._records[name].failures

    def _tend(self, service: Service) -> bool:
        record = self._records[service.name]
        if record.due_at is not None:
            if self._clock() < record.due_at:
                return False
            self._launch(service)
            return True
        status = service.poll()
        if status is None:
            return False
        self._put_off(service, why=f"it ended with status {status}")
        return True

    def _launch(self, service: Service) -> None:
        record = self._records[service.name]
        record.started_at, record.due_at = self._clock(), None
        try:
            service.launch()
        except (StackError, OSError) as error:
            self._put_off(service, why=str(error))

    def _put_off(self, service: Service, *, why: str) -> None:
        record = self._records[service.name]
        now = self._clock()
        if now - record.started_at >= STEADY_AFTER_S:
            record.failures = 0
        pause_s = delay_s(record.failures, uniform=self._uniform)
        record.failures += 1
        record.due_at = now + pause_s
        _log.warning("process_restarts", name=service.name, why=why, in_s=round(pause_s, 2), failures=record.failures)
