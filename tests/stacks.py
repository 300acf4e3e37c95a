"""A whole stack for a test: `waybill up` as a child process on a directory of its own, and what a client does with it.

Everything goes through the doors that an operator has: HTTP, the command line, the files of the data directory. The
rows and Redis are looked at only to check what the service says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import httpx
import openai
import psycopg
import redis
from psycopg.rows import dict_row

from router_service.embedded.directory import load_secrets
from router_service.embedded.process import alive
from router_service.embedded.state import StackState, birth, load_state
from router_service.embedded.valkey import EmbeddedValkey
from tests.support.catalogs import document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

START_S = 90.0
STOP_S = 60.0
POLL_S = 0.05
CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
ROLES = ("api", "router", "provider-1", "dead-letter", "janitor")
TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
# What a call before the last one may have ended as: a worker's death, a failure that is tried again, a throttle.
EXPLAINED = frozenset({"lost", "late", "failed", "throttled", "returned", "cancelled"})
FAULT_SETTINGS = {"WAYBILL_LEASE_S": "2", "WAYBILL_ROUTED_STALE_S": "5", "WAYBILL_DRAIN_S": "5"}

Json = dict[str, Any]


class RunningStack:
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
            self.root = self._root or exits.enter_context(_Directory())
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
        _signal([pid for pid, born in family if birth(pid) == born], signal.SIGKILL)
        if process.returncode is None:
            process.kill()
        process.wait(timeout=STOP_S)

    # --- its parts

    @property
    def state(self) -> StackState:
        found = load_state(self.data_dir)
        assert found is not None, f"no stack runs: {self.said()}"
        return found

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
        _signal(stopped[1:], signal.SIGSTOP)
        try:
            yield
        finally:
            _signal(stopped, signal.SIGCONT)

    def admin_redis(self) -> redis.Redis:
        """As the user who may do everything; the roles' user may not FLUSHALL."""
        words = EmbeddedValkey(self.data_dir / "valkey", load_secrets(self.data_dir).valkey).admin_url
        address = self.state.redis_url.partition("@")[2]
        return redis.Redis.from_url(f"{words.partition('@')[0]}@{address}", socket_timeout=10)

    def rows(self, statement: str, *parameters: object) -> list[Json]:
        with psycopg.connect(self.state.database_url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(statement.encode(), parameters or None).fetchall()

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

    # --- jobs and batches

    def submit(self, model: str, prompt: str = "a harbour", **fields: Any) -> str:
        """One job; its id."""
        answer = self.http.post(
            "/v1/jobs",
            json={"model": model, "input": {"messages": [{"role": "user", "content": prompt}]}, **fields},
        )
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str, *, wait_s: float = 0) -> Json:
        answer = self.http.get(f"/v1/jobs/{job_id}", params={"wait": wait_s}, timeout=wait_s + 20)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def finished(self, job_id: str, *, patience_s: float = 60.0) -> Json:
        """The job once it is terminal, through restarts of the API."""
        found: Json = {}

        def terminal() -> bool:
            with suppress(httpx.HTTPError, AssertionError):
                found.update(self.job(job_id, wait_s=1))
            return found.get("status") in TERMINAL

        until(terminal, patience_s=patience_s, what=f"{job_id} ended")
        return found

    def submit_batch(self, content: bytes) -> str:
        file = self.openai.files.create(file=("batch.jsonl", content), purpose="batch")
        batch = self.openai.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        assert batch.status == "in_progress", batch.errors
        return batch.id

    def done_of(self, batch: str) -> int:
        """How many jobs of a batch are terminal, asked of the database: the API may be down."""
        (row,) = self.rows(
            "SELECT count(*) AS n FROM jobs WHERE batch_id = %s AND finished_at IS NOT NULL",
            batch.removeprefix("batch_"),
        )
        return int(row["n"])

    def wait_done(self, batch: str, count: int, *, patience_s: float = 60.0) -> None:
        def reached() -> bool:
            with suppress(psycopg.OperationalError):
                return self.done_of(batch) >= count
            return False

        until(reached, patience_s=patience_s, what=f"{count} jobs of {batch} ended")

    def wait_batch(self, batch: str, *, patience_s: float) -> openai.types.Batch:
        """The batch once it has ended, through restarts of the API and the database."""
        found: list[openai.types.Batch] = []

        def ended() -> bool:
            with suppress(openai.APIConnectionError, openai.InternalServerError):
                found[:] = [self.openai.batches.retrieve(batch)]
            return bool(found) and found[0].status in {"completed", "expired", "cancelled", "failed"}

        until(
            ended, patience_s=patience_s, what=f"{batch} ended; counts {found and found[0].request_counts}", every_s=0.2
        )
        return found[0]

    def lines_of(self, file_id: str | None) -> list[Json]:
        if file_id is None:
            return []
        return [json.loads(line) for line in self.openai.files.content(file_id).text.splitlines()]

    def attempts_of(self, batch: str) -> list[Json]:
        return self.rows(
            "SELECT a.*, j.custom_id, j.state, r.attempt AS stored FROM attempts a JOIN jobs j ON j.id = a.job_id "
            "LEFT JOIN job_results r ON r.job_id = j.id WHERE j.batch_id = %s ORDER BY a.job_id, a.attempt",
            batch.removeprefix("batch_"),
        )

    def slots_held(self) -> dict[str, int]:
        """Reservations in Redis, by model, where there are any that have not expired."""
        with self.admin_redis() as admin:
            seconds, microseconds = cast("tuple[int, int]", admin.time())
            now_ms = seconds * 1000 + microseconds // 1000
            keys = [key.decode() for key in admin.scan_iter("waybill:slots:*")]
            held = {key.removeprefix("waybill:slots:"): int(admin.zcount(key, now_ms, "+inf")) for key in keys}
        return {model: count for model, count in held.items() if count}

    # --- what must hold

    def assert_batch_whole(self, batch: openai.types.Batch, wanted: Sequence[str]) -> None:
        """Every custom_id exactly once, both files in input order, counts that agree with them."""
        outputs, errors = self.lines_of(batch.output_file_id), self.lines_of(batch.error_file_id)
        place = {custom_id: number for number, custom_id in enumerate(wanted)}
        for lines in (outputs, errors):
            places = [place[line["custom_id"]] for line in lines]
            assert places == sorted(places), "lines are not in input order"
        found = [line["custom_id"] for line in (*outputs, *errors)]
        assert len(found) == len(set(found)), "a custom_id came twice"
        assert set(found) == set(wanted), f"missing: {sorted(set(wanted) - set(found))[:5]}"
        counts = batch.request_counts
        assert counts is not None
        assert (counts.completed, counts.failed) == (len(outputs), len(errors))

    def assert_attempts_explained(self, batch: str) -> list[Json]:
        """Every call before a job's last one says why it was not the last; the stored result is the answered call's."""
        attempts = self.attempts_of(batch)
        by_job: dict[str, list[Json]] = {}
        for attempt in attempts:
            by_job.setdefault(str(attempt["job_id"]), []).append(attempt)
        for job_id, calls in by_job.items():
            told = [(call["attempt"], call["outcome"]) for call in calls]
            assert [call["attempt"] for call in calls] == list(range(1, len(calls) + 1)), (job_id, told)
            assert all(call["outcome"] in EXPLAINED for call in calls[:-1]), (job_id, told)
            if calls[-1]["state"] == "succeeded":
                assert calls[-1]["outcome"] == "answered", (job_id, told)
                assert calls[-1]["stored"] == calls[-1]["attempt"], (job_id, told)
        return attempts

    def assert_slots_come_back(self, *, patience_s: float = 20.0) -> None:
        """No reservation is held once nothing runs; the API shows the same."""
        until(lambda: not self.slots_held(), patience_s=patience_s, what="all slots came back")
        models = self.http.get("/v1/models").json()["data"]
        deployments = [each for model in models for each in model["waybill"]["deployments"]]
        assert {each["in_flight"] for each in deployments} == {0}


def peak_of(attempts: Iterable[Json], model: str) -> int:
    """The most calls of a model at once, as recorded; calls of workers that died are left out, their end is not known."""
    events = [
        event
        for call in attempts
        if call["model_id"] == model and call["outcome"] != "lost"
        for event in ((call["started_at"], 1), (call["ended_at"], -1))
    ]
    running, peak = 0, 0
    for _moment, change in sorted(events):  # of one instant, ends come first
        running += change
        peak = max(peak, running)
    return peak


def lines(models: Sequence[str], *, prompt: Callable[[int], str] = "Describe harbour {}.".format) -> bytes:
    """A batch file with one request per model name, custom ids c0, c1, ..."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"c{number}",
                "method": "POST",
                "url": CHAT,
                "body": {"model": model, "messages": [{"role": "user", "content": prompt(number)}], "max_tokens": 8},
            }
        ).encode()
        + b"\n"
        for number, model in enumerate(models)
    )


def custom_ids(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


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


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
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


class _Directory:
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


temporary_root = _Directory
