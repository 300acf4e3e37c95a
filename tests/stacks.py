"""A whole stack for a test: `waybill up` as a child process on a directory of its own, and what a client does with it.

Everything goes through the doors that an operator has: HTTP, the command line, the files of the data directory. The
rows and Redis are looked at only to check what the service says.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import httpx
import openai
import redis

from router_service.embedded.directory import load_secrets
from router_service.embedded.process import alive
from router_service.embedded.state import StackState, birth, load_state
from router_service.embedded.valkey import EmbeddedValkey
from tests.support.batches import CHAT, Json, custom_ids, lines
from tests.support.catalogs import document
from tests.support.customer import TERMINAL, Customer
from tests.support.processes import (
    TemporaryRoot,
    clean_environment,
    descendants,
    free_port,
    memory_kb,
    send,
    session_of,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = [
    "CHAT",
    "FAULT_SETTINGS",
    "TERMINAL",
    "RunningStack",
    "custom_ids",
    "descendants",
    "lines",
    "memory_kb",
    "temporary_root",
    "until",
]

START_S = 90.0
STOP_S = 60.0
FAULT_SETTINGS = {"WAYBILL_LEASE_S": "2", "WAYBILL_ROUTED_STALE_S": "5", "WAYBILL_DRAIN_S": "5"}

temporary_root = TemporaryRoot


class RunningStack(Customer):
    """`waybill up` between its start and its end. The end is part of the test: exit code 0, and no process left.

    `settings` are WAYBILL_ variables, `environ` other ones; nothing of ours comes in from outside. `root` keeps the data
    between two runs; without it the directory lives as long as the stack.
    """

    def __init__(
        self,
        *entries: Json,
        router_settings: Json | None = None,
        settings: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        words: Sequence[str] = (),
        root: Path | None = None,
    ) -> None:
        self._entries = entries
        self._router_settings = router_settings or {}
        self._words = words
        self._root = root
        self._extra = {**(settings or {}), **(environ or {})}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self.root = self._root or exits.enter_context(TemporaryRoot())
            self.data_dir = self.root / "data"
            self.logs = self.data_dir / "logs"
            self.catalog = self.root / "catalog.yaml"
            self.env = clean_environment(self.root) | self._extra
            self.write_catalog(*self._entries, **self._router_settings)
            self.port = free_port()
            self.url = f"http://127.0.0.1:{self.port}"
            self._output = exits.enter_context((self.root / "up.out").open("ab"))
            exits.callback(self._end_what_is_left)
            self.process = self.start()
            self.wait_ready()
            self.key = (self.data_dir / "api-key").read_text().strip()
            headers = {"authorization": f"Bearer {self.key}"}
            self.http = exits.enter_context(
                httpx.Client(base_url=self.url, headers=headers, timeout=20, trust_env=False)
            )
            self.openai = exits.enter_context(
                openai.OpenAI(
                    base_url=f"{self.url}/v1",
                    api_key=self.key,
                    max_retries=0,
                    timeout=120,
                    http_client=openai.DefaultHttpxClient(trust_env=False),
                )
            )
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._exits:
            if error is None:
                self.stop()

    # --- the process

    def start(self, *, data_dir: Path | None = None) -> subprocess.Popen[bytes]:
        """`waybill up` in a session of its own, so that whatever it leaves can be found."""
        words = ["--config", str(self.catalog), "--data-dir", str(data_dir or self.data_dir), "--port", str(self.port)]
        return subprocess.Popen(
            [sys.executable, "-m", "router_service.cli.main", "up", *words, *self._words],
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_ready(self, *, patience_s: float = START_S) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, f"the stack ended: {self.said()}"
            return self.ready()[0] == 200

        until(ready, patience_s=patience_s, what=f"the stack is ready; it said: {self.said()}")

    def ready(self) -> tuple[int, Json]:
        """The status of /readyz and its checks; status 0 where nobody answers."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=10, trust_env=False)
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()["checks"]

    def stop(self) -> None:
        """SIGTERM; the exit code is 0 and nothing of the stack runs on."""
        family = descendants(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=STOP_S)
        assert code == 0, f"`waybill up` ended with {code}: {self.said()}"
        left = {pid: name for (pid, born), name in family.items() if birth(pid) == born and alive(pid)}
        assert not left, f"still running: {left}"
        assert not session_of(self.process.pid), "a process of the stack's session is left"
        assert load_state(self.data_dir) is None

    def said(self) -> str:
        """The end of what `waybill up` printed."""
        return (self.root / "up.out").read_text(errors="replace")[-4000:]

    def _end_what_is_left(self) -> None:
        """Only where a test failed, or a stack did not start: end our own processes by their ids."""
        process = getattr(self, "process", None)
        if process is None or process.poll() is not None:
            return
        family = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=STOP_S)
        process.poll()
        send([pid for pid, born in family if birth(pid) == born], signal.SIGKILL)
        if process.returncode is None:
            process.kill()
        process.wait(timeout=STOP_S)

    # --- its parts

    @property
    def state(self) -> StackState:
        found = load_state(self.data_dir)
        assert found is not None, f"no stack runs: {self.said()}"
        return found

    @property
    def database_url(self) -> str:
        return self.state.database_url

    def pid(self, name: str) -> int:
        return self.state.children[name]

    def kill(self, name: str) -> int:
        """SIGKILL to a child; says so. The id that it had."""
        pid = self.pid(name)
        print(f"kill -9 {name} (pid {pid})")
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, name: str, *, former: int, patience_s: float = 60.0) -> None:
        until(lambda: self.state.children.get(name, former) != former, patience_s=patience_s, what=f"{name} came back")

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP to a child and what it has started (Postgres answers from there), SIGCONT at the end."""
        pid = self.pid(name)
        print(f"SIGSTOP {name} (pid {pid})")
        os.kill(pid, signal.SIGSTOP)  # first, so that it starts nothing more
        stopped = [pid, *(child for child, _born in descendants(pid))]
        send(stopped[1:], signal.SIGSTOP)
        try:
            yield
        finally:
            send(stopped, signal.SIGCONT)

    def admin_redis(self) -> redis.Redis:
        words = EmbeddedValkey(self.data_dir / "valkey", load_secrets(self.data_dir).valkey).admin_url
        address = self.state.redis_url.partition("@")[2]
        return redis.Redis.from_url(f"{words.partition('@')[0]}@{address}", socket_timeout=10)

    def waybill(self, *words: str, code: int = 0) -> str:
        """Run a command as an operator would; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "router_service.cli.main", "--data-dir", str(self.data_dir), *words],
            cwd=self.root,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, f"waybill {' '.join(words)} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def write_catalog(self, *entries: Json, **router_settings: Any) -> None:
        """The file that the stack was given; `waybill reload` puts it in force. JSON is YAML too."""
        self.catalog.write_text(json.dumps(document(*entries, **router_settings)))
