"""`waybill up` as a process: the real servers and store, and small children in the place of the roles."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import redis

from router_service.embedded import ports
from router_service.embedded.process import alive, wait_until
from router_service.embedded.stack import StackState, load_state, running_stack_pid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SCRIPT = """
import os, sys
from pathlib import Path
from router_service import settings
from router_service.embedded.stack import Stack, StackOptions
from router_service.embedded.supervisor import Child
from router_service.errors import WaybillError

API = '''
import http.server, os, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        assert os.environ["WAYBILL_DATABASE_URL"] and os.environ["WAYBILL_BROKER_URL"]
        self.send_response(200); self.end_headers()
    def log_message(self, *words): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
'''
BROKEN = 'raise SystemExit("the role has no fuel")'
IDLE = 'import time; time.sleep(600)'

def roles(plan):
    env = {**os.environ, "WAYBILL_DATABASE_URL": plan.database_url, "WAYBILL_BROKER_URL": plan.broker_url}
    code = {"good": API, "broken": BROKEN}[sys.argv[1]]
    return [
        Child(name="api", argv=(sys.executable, "-c", code, str(plan.port)), env=env),
        Child(name="janitor", argv=(sys.executable, "-c", IDLE), env=env),
    ]

try:
    Stack(
        settings.load(), StackOptions(port=int(sys.argv[2])), roles=roles, say=lambda text: print(text, flush=True)
    ).run()
except WaybillError as error:
    print(error, flush=True)
    sys.exit(3)
"""


def launch(
    data_dir: Path, *, kind: str = "good", port: int = 0, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("WAYBILL_")}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, kind, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ours | {"WAYBILL_DATA_DIR": str(data_dir), "WAYBILL_DRAIN_S": "2"} | dict(env or {}),
    )


def read_until(stack: subprocess.Popen[str], words: str) -> str:
    """Everything said up to the line with `words`; fails when the stack ends without them."""
    assert stack.stdout is not None
    text = ""
    for line in stack.stdout:
        text += line
        if words in line:
            return text
    raise AssertionError(f"{words!r} was never said: {text}")


@contextmanager
def up(data_dir: Path, *, env: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with launch(data_dir, env=env) as stack:
        try:
            yield stack, read_until(stack, "Logs")
        finally:
            stack.send_signal(signal.SIGTERM)
            stack.wait(timeout=30)


def state_of(data_dir: Path) -> StackState:
    state = load_state(data_dir)
    assert state is not None
    return state


def test_stack_comes_up_from_nothing_and_leaves_no_process(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder) as (stack, said):
        state = state_of(folder)
        assert state.pid == stack.pid == running_stack_pid(folder)
        assert set(state.children) == {"postgres", "valkey", "api", "janitor"}
        assert all(os.getsid(pid) == os.getsid(0) for pid in state.children.values())
        assert state.api_url in said
        assert ports.probe(state.api_url)[0] == 200
        key = (folder / "api-key").read_text().strip()
        secrets = [key, (folder / "flower-password").read_text().strip(), state.database_url]
        assert not any(secret in said for secret in secrets)
        for name in ("api-key", "flower-password", "secrets.json", "stack.json"):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert stack.returncode == 0
    assert not any(alive(pid) for pid in state.children.values())
    assert load_state(folder) is None
    assert not (folder / "stack.json").exists()


def test_second_start_keeps_data_keys_and_ports_and_replaces_a_lost_key_file(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder):
        first, key = state_of(folder), (folder / "api-key").read_text()
    with up(folder):
        second = state_of(folder)
        assert (folder / "api-key").read_text() == key
        assert second.flower_url == first.flower_url
        assert second.database_url.partition("@")[0] == first.database_url.partition("@")[0]
    (folder / "api-key").unlink()
    with up(folder):
        assert (folder / "api-key").read_text() not in {"", key}


def test_second_stack_on_a_directory_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with up(tmp_path) as (stack, _), launch(tmp_path) as second:
        said, _ = second.communicate(timeout=30)
        assert second.returncode == 3
        assert f"pid {stack.pid}" in said


def test_what_dies_comes_back_on_the_same_sockets(tmp_path: Path) -> None:
    """Kills a role and both servers with SIGKILL."""
    with up(tmp_path):
        before = state_of(tmp_path)
        for name in ("janitor", "postgres", "valkey"):
            os.kill(before.children[name], signal.SIGKILL)

        def all_new() -> bool:
            now = load_state(tmp_path)
            return now is not None and all(
                now.children.get(name, pid) != pid for name, pid in before.children.items() if name != "api"
            )

        assert wait_until(all_new, patience_s=20)
        assert wait_until(lambda: answers(before), patience_s=20)
        assert state_of(tmp_path).children["api"] == before.children["api"]


def answers(state: StackState) -> bool:
    try:
        with psycopg.connect(state.database_url) as connection, redis.Redis.from_url(state.redis_url) as client:
            connection.execute("SELECT 1")
            return bool(client.ping())
    except (psycopg.OperationalError, redis.exceptions.ConnectionError):
        return False


def test_stack_after_a_killed_one_has_no_leftovers(tmp_path: Path) -> None:
    """Kills `waybill up` itself with SIGKILL and starts it again at once."""
    with launch(tmp_path) as killed:
        read_until(killed, "Logs")
        before = state_of(tmp_path)
        killed.kill()
    assert running_stack_pid(tmp_path) is None
    with up(tmp_path):
        assert not any(alive(pid) for pid in before.children.values())
        assert answers(state_of(tmp_path))


def test_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with launch(tmp_path, port=port) as stack:
            said, _ = stack.communicate(timeout=30)
    assert stack.returncode == 3
    assert str(port) in said
    assert "--port" in said
    assert not (tmp_path / "postgres").exists()


def test_stack_that_cannot_get_ready_shows_the_log_at_fault_and_stops(tmp_path: Path) -> None:
    with launch(tmp_path, kind="broken") as stack:
        said, _ = stack.communicate(timeout=60)
    assert stack.returncode == 3
    assert "the role has no fuel" in said
    assert not (tmp_path / "stack.json").exists()
    assert running_stack_pid(tmp_path) is None


GOOD_CATALOG = """
model_list:
  - model_name: local-echo
    litellm_params: {model: openai/echo, api_base: "http://127.0.0.1:1/v1", api_key: os.environ/NO_KEY}
"""
WRONG_CATALOG = "model_list: 7\n"


def test_wrong_catalog_is_refused_at_the_start(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(WRONG_CATALOG)
    with launch(tmp_path / "data", env={"WAYBILL_CONFIG": str(catalog)}) as stack:
        said, _ = stack.communicate(timeout=60)
    assert stack.returncode == 3
    assert "catalog.yaml" in said
    assert running_stack_pid(tmp_path / "data") is None


def test_sighup_reads_the_catalog_again_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(GOOD_CATALOG)
    with up(tmp_path / "data", env={"WAYBILL_CONFIG": str(catalog)}) as (stack, _):
        stack.send_signal(signal.SIGHUP)
        assert "read again" in read_until(stack, "The catalog was")
        catalog.write_text(WRONG_CATALOG)
        stack.send_signal(signal.SIGHUP)
        assert "not changed" in read_until(stack, "The catalog was")
        assert ports.probe(state_of(tmp_path / "data").api_url)[0] == 200
    assert stack.returncode == 0
