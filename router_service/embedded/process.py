"""Starting, watching and ending one operating-system process.

Every process is a child in our own session, in a process group of its own: Ctrl-C in the terminal reaches
only `waybill up`, which then ends its children in order. On Linux a child is tethered: the kernel signals it
when we die without a word (kill -9).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOG_LIMIT_BYTES = 5_000_000
POLL_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Under whose name a process runs: words before its command, or a user and group (None: ours)."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    @property
    def extra_groups(self) -> list[int] | None:
        """None of our supplementary groups go with another user."""
        return None if self.uid is None else []


OURSELVES = Identity()


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    identity: Identity = OURSELVES,
    last_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `argv` with its output appended to `log`; `last_signal` is what it gets when we are killed."""
    rotate(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            [*_tether(last_signal), *identity.prefix, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            process_group=0,
            user=identity.uid,
            group=identity.gid,
            extra_groups=identity.extra_groups,
        )


def rotate(log: Path) -> None:
    """Open the log for us alone, and keep one earlier one when it has grown over LOG_LIMIT_BYTES."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(log.suffix + ".1"))
    log.touch(mode=0o600)


def stop(process: subprocess.Popen[bytes], *steps: tuple[signal.Signals, float]) -> int:
    """Signal and wait (seconds) step by step, then kill; what is left of its group is killed too."""
    for number, patience_s in steps:
        if wait_until(lambda: exited(process), patience_s=0):
            break
        process.send_signal(number)
        if wait_until(lambda: exited(process), patience_s=patience_s):
            break
    sweep(process)
    return process.wait()


def exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended, without reaping it: its id stays its own until `sweep` has used it."""
    if process.returncode is not None:
        return True
    try:
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return ended is not None


def sweep(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group of a child that is not reaped yet, the child included."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_until(fact: Callable[[], bool], *, patience_s: float) -> bool:
    """Poll `fact` until it holds or `patience_s` seconds have passed; the last look decides."""
    deadline = time.monotonic() + patience_s
    while not fact():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True


def end_stranger(pid: int, *steps: tuple[signal.Signals, float]) -> bool:
    """End a process that is not our child, the same way. False when it outlived even SIGKILL."""
    for number, patience_s in (*steps, (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_until(lambda: not alive(pid), patience_s=patience_s):
            return True
    return False


def alive(pid: int) -> bool:
    """Whether a process runs under this id; a zombie does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return not Path("/proc/self/stat").exists() and _answers(pid)


def command_line(pid: int) -> list[str]:
    """The words a running process was started with; none when there is no such process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        if Path("/proc/self/stat").exists():
            return []
    ps = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, check=False, text=True).stdout.split()


def tail(log: Path, *, lines: int = 20, since_byte: int = 0) -> str:
    """The last lines of a log, for the message that says why its process did not start."""
    if not log.exists():
        return "(no log)"
    with log.open("rb") as stream:
        stream.seek(max(since_byte, log.stat().st_size - 64_000))
        text = stream.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(its log is empty)"


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _tether(last_signal: signal.Signals) -> tuple[str, ...]:
    """Words that make the kernel send `last_signal` when our thread ends; hence only from the main thread.

    util-linux's setpriv and not a `preexec_fn`, which runs Python between fork and exec, unsafe with threads.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return ()
    return (setpriv, "--pdeathsig", last_signal.name.removeprefix("SIG"), "--")
