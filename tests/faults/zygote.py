"""Starts the roles by fork, from a process that has imported all of them: a tenth of a second instead of a second and a half.

`python -m tests.faults.zygote` reads one JSON object a line, {"words", "env", "log"}, and answers each with the id of the
new process, which runs what `waybill api` or `python -m workers` would. When its input ends, so do all that it started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

from router_service.api import serve as _serve  # noqa: F401 (imported here once, for all that are forked)
from router_service.cli import main as command_line
from workers import __main__ as worker_process


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the test's to handle
    started: list[int] = []
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
        started.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in started:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _become(wish: dict[str, Any]) -> NoReturn:
    """In the child: a process as a supervisor would have started it."""
    code = 1
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
        log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, place)
        os.environ.clear()
        os.environ.update(wish["env"])
        words = wish["words"]
        code = command_line.run(words) if words[0] == "api" else worker_process.main(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
