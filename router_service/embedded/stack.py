"""`waybill up`: everything on one machine, from an empty directory to a ready API, until a signal ends it.

One thread and one loop. The directory is held first, then what a killed stack left is ended and the port
looked at, and only then anything starts; it is stopped on every way out, roles before servers.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from router_service.embedded import directory, ports, report
from router_service.embedded.process import end_stranger
from router_service.embedded.roles import Plan, default_roles
from router_service.embedded.servers import open_servers
from router_service.embedded.state import (
    StackState,
    birth,
    load_state,
    read_state,
    remove_state,
    running_stack_pid,
    write_state,
)
from router_service.embedded.supervisor import ChildProcess, Service, Supervisor, stop_children
from router_service.embedded.switch import Switch
from router_service.errors import SettingsError, StackError, WaybillError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router_service.embedded.supervisor import Child
    from router_service.settings import Settings

__all__ = ["Stack", "StackOptions", "StackState", "load_state", "running_stack_pid"]

READY_S = 60.0
HOPELESS_FAILURES = 5  # ends in a row, at the start, after which waiting longer is no use
KILL_MARGIN_S = 5.0  # a role drains for settings.drain_s, and then needs a moment to leave
TICK_S = 0.1
_SERVERS = frozenset({"postgres", "valkey"})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """The words of `waybill up`. Port 0 picks a free one."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    flower: bool = True


class Stack:
    """One run of the stack on `settings.data_dir`. `roles` makes the children; tests give small ones."""

    def __init__(
        self,
        settings: Settings,
        options: StackOptions,
        *,
        roles: Callable[[Plan], Sequence[Child]] = default_roles,
        say: Callable[[str], object] = print,
    ) -> None:
        self._settings = settings
        self._options = options
        self._roles = roles
        self._say = say
        self._dir = settings.data_dir.resolve()
        self._servers: list[Service] = []
        self._children: list[ChildProcess] = []

    def run(self) -> None:
        """Start all, say where it is, keep it up, and come back when SIGTERM or SIGINT has ended it.

        From the main thread only. Raises StackError or SettingsError, all stopped, where it does not start.
        """
        with Switch() as switch, ExitStack() as exits:
            exits.enter_context(directory.own(self._dir))
            self._end_leftovers()
            port = self._choose_port()
            exits.callback(remove_state, self._dir)
            plan = self._plan(port, exits)
            self._prepare(plan)
            self._children = [ChildProcess(child, log_dir=self._dir / "logs") for child in self._roles(plan)]
            keepers = (Supervisor(self._servers), Supervisor(self._children))
            exits.callback(self._stop_children, switch)
            keepers[1].start()
            self._note(plan, keepers)
            if self._wait_ready(plan, keepers, switch):
                self._tell(f"Waybill is up (pid {os.getpid()}).\n{report.table(plan)}")
            self._watch(plan, keepers, switch)
            self._tell("Stopping: calls in flight may end first; once more to stop at once.")

    def _choose_port(self) -> int:
        how = "choose another one with --port, or stop what listens there"
        port = self._options.port or ports.choose()
        ports.require_free(self._options.host, port, what="the API", how=how)
        return port

    def _plan(self, port: int, exits: ExitStack) -> Plan:
        """Start the servers that no URL was given for, and lay down what the roles will be told."""
        settings = self._settings
        urls = [url.get_secret_value() for url in (settings.database_url, settings.redis_url)]
        broker = settings.broker
        postgres, valkey = open_servers(self._dir)
        if not urls[0]:
            exits.callback(postgres.stop)
            urls[0] = postgres.start()
            self._servers.append(postgres)
        if not urls[1]:
            exits.callback(valkey.stop)
            urls[1] = valkey.start()
            self._servers.append(valkey)
            broker = broker or valkey.broker_url
        return Plan(
            data_dir=self._dir,
            database_url=urls[0],
            redis_url=urls[1],
            broker_url=broker,
            config=settings.config,
            host=self._options.host,
            port=port,
            workers=self._options.workers,
            flower_port=self._flower_port() if self._options.flower else None,
            flower_password=self._flower_password() if self._options.flower else "",
        )

    def _flower_port(self) -> int:
        note = self._dir / "flower-port"
        before = int(note.read_text()) if note.exists() else None
        port = ports.choose(preferred=before)
        note.write_text(f"{port}\n")
        return port

    def _flower_password(self) -> str:
        path = self._dir / "flower-password"
        if not path.exists():
            directory.write_private(path, f"{secrets.token_urlsafe(24)}\n")
        return path.read_text().strip()

    def _prepare(self, plan: Plan) -> None:
        # Imported late: the command line looks for a running stack without the database driver.
        from router_service.embedded import preparation  # noqa: PLC0415

        preparation.prepare(plan.database_url, data_dir=self._dir, config=plan.config)

    def _wait_ready(self, plan: Plan, keepers: Sequence[Supervisor], switch: Switch) -> bool:
        """True when the API says that all is ready, False when we are asked to stop before."""
        began = time.monotonic()
        status, body = 0, ""
        while not switch.stops:
            self._tend(plan, keepers)
            hopeless = any(keepers[1].failures(child.name) >= HOPELESS_FAILURES for child in self._children)
            waited_s = time.monotonic() - began
            if hopeless or waited_s > READY_S:
                raise StackError(
                    report.not_ready(plan, self._children, keepers[1], status=status, body=body, waited_s=waited_s)
                )
            status, body = ports.probe(f"{ports.http_url(plan.host, plan.port)}/readyz")
            if status == 200:
                return True
            time.sleep(TICK_S)
        return False

    def _watch(self, plan: Plan, keepers: Sequence[Supervisor], switch: Switch) -> None:
        while not switch.stops:
            self._tend(plan, keepers)
            if switch.take_reload():
                self._reload(plan)
            time.sleep(TICK_S)

    def _tend(self, plan: Plan, keepers: Sequence[Supervisor]) -> None:
        changes = [keeper.tend() for keeper in keepers]
        if any(changes):
            self._note(plan, keepers)

    def _reload(self, plan: Plan) -> None:
        from router_service.embedded import preparation  # noqa: PLC0415 (as in _prepare)

        try:
            preparation.publish(plan.database_url, config=plan.config)
        except SettingsError as error:
            _log.warning("catalog_refused", kept="the catalog in force", problems=str(error))
            self._tell(f"The catalog was not changed. {error}")
        except WaybillError:
            _log.exception("catalog_not_published")
        else:
            self._tell("The catalog was read again.")

    def _stop_children(self, switch: Switch) -> None:
        already = switch.stops
        stop_children(
            self._children,
            drain_s=self._settings.drain_s + KILL_MARGIN_S,
            hurry=lambda: switch.stops > max(already, 1),
        )

    def _end_leftovers(self) -> None:
        """End the roles of a stack that was killed. Its servers see to themselves when they start."""
        before = read_state(self._dir)
        if before is None:
            return
        left = {
            name: pid
            for name, pid in before.children.items()
            if name not in _SERVERS and (born := before.births.get(name)) is not None and born == birth(pid)
        }
        if left:
            _log.warning("ending_leftovers", names=sorted(left), at_most_s=self._settings.drain_s + KILL_MARGIN_S)
        for pid in left.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in left.values():
            end_stranger(pid, (signal.SIGTERM, self._settings.drain_s + KILL_MARGIN_S))

    def _note(self, plan: Plan, keepers: Sequence[Supervisor]) -> None:
        pids = keepers[0].pids | keepers[1].pids
        write_state(
            self._dir,
            StackState(
                pid=os.getpid(),
                api_url=ports.http_url(plan.host, plan.port),
                flower_url=None if plan.flower_port is None else ports.http_url(ports.LOOPBACK, plan.flower_port),
                database_url=plan.database_url,
                redis_url=plan.redis_url,
                broker_url=plan.broker_url,
                children=pids,
                births={name: born for name, pid in pids.items() if (born := birth(pid)) is not None},
                config=None if plan.config is None else str(plan.config.resolve()),
            ),
        )

    def _tell(self, text: str) -> None:
        # A terminal that has gone away is no reason to stop.
        with contextlib.suppress(OSError):
            self._say(text)
