"""Processes of this machine as a test sees them: a clean environment for new ones, a look at those that run."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from router_service.embedded.state import birth

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable
    from types import TracebackType

POLL_S = 0.05


def until(fact: Callable[[], bool], *, patience_s: float, what: str, every_s: float = POLL_S) -> None:
    """Poll a fact with a bound. Raises AssertionError that says what did not come."""
    deadline = time.monotonic() + patience_s
    while not fact():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(every_s)


def clean_environment(home: Path) -> dict[str, str]:
    """Ours without any WAYBILL_ variable, and a home without anybody's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WAYBILL_", "PYTEST_", "COV_"))}
    return kept | {"HOME": str(home), "PYTHONWARNINGS": "default", "COLUMNS": "200"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def descendants(pid: int) -> dict[tuple[int, str | None], str]:
    """Every process below `pid`, as (id, start) with its command line."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    family, newest = {pid}, {pid}
    while newest:
        newest = {child for child, parent in parents.items() if parent in family} - family
        family |= newest
    return {(each, birth(each)): command_line(each) for each in family - {pid}}


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """A signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def session_of(leader: int) -> list[int]:
    """The living processes of a session."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in {"Z", "X"}:
                members.append(int(stat.parent.name))
    return members


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def memory_kb(pid: int, field: str) -> int:
    """A field of /proc/<pid>/status in kB, such as VmHWM: the most that was resident."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(f"no {field} for process {pid}")


class TemporaryRoot:
    """A short path, since it will hold sockets. Postgres may have moved its part to where `nobody` can reach it."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="waybill-stack-"))
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        location = self.path / "data" / "postgres" / "location"
        if location.exists():
            shutil.rmtree(location.read_text().strip(), ignore_errors=True)
        shutil.rmtree(self.path)
