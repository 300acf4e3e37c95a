"""Real processes: signals, groups, sessions, and the tether that ends them when their starter is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from router_service.embedded import ports, process
from router_service.embedded.process import alive, spawn, wait_until
from router_service.embedded.state import birth
from router_service.embedded.supervisor import Child, ChildProcess, stop_children
from router_service.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print(child.pid, flush=True)
time.sleep(60)
"""
STARTER = """
import sys, time
from pathlib import Path
from router_service.embedded.process import spawn
child = spawn([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'], log=Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(60)
"""


def said(log: Path) -> str:
    assert wait_until(lambda: log.exists() and bool(log.read_text()), patience_s=10)
    return log.read_text()


def child_of(name: str, code: str, log_dir: Path) -> ChildProcess:
    return ChildProcess(Child(name=name, argv=(sys.executable, "-c", code), env=dict(os.environ)), log_dir=log_dir)


def test_child_is_in_our_session_and_in_a_group_of_its_own(tmp_path: Path) -> None:
    running = spawn([sys.executable, "-c", "import time; time.sleep(60)"], log=tmp_path / "log")
    assert os.getsid(running.pid) == os.getsid(0)
    assert os.getpgid(running.pid) == running.pid
    assert birth(running.pid) is not None
    assert process.stop(running, (signal.SIGTERM, 5)) == -signal.SIGTERM
    assert not alive(running.pid)
    assert birth(running.pid) is None


def test_child_that_ignores_sigterm_is_killed_after_the_drain(tmp_path: Path) -> None:
    child = child_of("stubborn", STUBBORN, tmp_path)
    child.launch()
    said(child.log)
    pid = child.pid
    assert pid is not None
    stop_children([child], drain_s=0.1)
    assert not alive(pid)
    assert child.poll() == -signal.SIGKILL


def test_drain_is_cut_short_in_a_hurry(tmp_path: Path) -> None:
    child = child_of("stubborn", STUBBORN, tmp_path)
    child.launch()
    said(child.log)
    stop_children([child], drain_s=60, hurry=lambda: True)
    assert child.poll() == -signal.SIGKILL


def test_grandchildren_do_not_outlive_a_child_that_is_killed(tmp_path: Path) -> None:
    child = child_of("parent", PARENT, tmp_path)
    child.launch()
    grandchild = int(said(child.log))
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    assert wait_until(lambda: child.poll() is not None, patience_s=5)
    assert wait_until(lambda: not alive(grandchild), patience_s=5)


@pytest.mark.skipif(sys.platform != "linux", reason="the tether is Linux's")
def test_child_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", STARTER, str(tmp_path / "log")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        said(tmp_path / "log")
        starter.kill()
    assert wait_until(lambda: not alive(pid), patience_s=5)


def test_taken_port_is_refused_with_its_number_and_the_way_out() -> None:
    port = ports.choose()
    ports.require_free("127.0.0.1", port, what="the API", how="choose --port")

    with socket.create_server(("127.0.0.1", port)), pytest.raises(StackError, match=rf"{port} .*choose --port"):
        ports.require_free("127.0.0.1", port, what="the API", how="choose --port")


def test_unknown_host_is_refused() -> None:
    with pytest.raises(StackError, match="host"):
        ports.require_free("256.256.256.256", 1, what="the API", how="")


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8"), ("::", "http://[::1]:8"), ("box", "http://box:8")],
)
def test_address_reaches_a_server_that_listens_everywhere(host: str, url: str) -> None:
    assert ports.http_url(host, 8) == url


def test_probe_of_nobody_is_status_zero_with_the_reason() -> None:
    status, reason = ports.probe(f"http://127.0.0.1:{ports.choose()}/readyz")
    assert (status, bool(reason)) == (0, True)
