"""A private stack to measure, and the mock provider beside it: fresh, in temporary directories, gone with all their processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from router_service.embedded import ports, process
from router_service.embedded.state import load_state
from router_service.errors import StackError
from router_service.evaluation.allowance import Call
from router_service.evaluation.usage import cpu_s, memory, peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from subprocess import Popen

    from router_service.embedded.state import StackState
    from router_service.evaluation.allowance import Offer
    from router_service.evaluation.usage import Memory

CHAT = "/v1/chat/completions"
START_S = 90.0
STOP_S = 60.0
PATIENCE_S = 900.0
POLL_S = 0.1
COMMAND = (sys.executable, "-m", "router_service.cli.main")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateStack:
    """A stack that is ready. `pids` holds every role and server, and the routers that were started beside it."""

    state: StackState
    key: str
    pids: Mapping[str, int]

    @contextmanager
    def client(self, *, key: str | None = None) -> Iterator[StackClient]:
        """A client with this key, or with that of the default tenant."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        with httpx.Client(base_url=self.state.api_url, headers=headers, timeout=PATIENCE_S, trust_env=False) as http:
            yield StackClient(http=http)

    def spent(self) -> dict[str, float]:
        """CPU seconds of each process so far."""
        return {name: cpu_s(pid) for name, pid in self.pids.items()}

    def memory(self) -> dict[str, Memory]:
        """What each process holds now."""
        return {name: memory(pid) for name, pid in self.pids.items()}

    def peak_memory_mb(self) -> dict[str, float]:
        """The most that each process ever held; of Postgres, which has children, what all of them hold now."""
        return {name: round(peak_memory_mb(pid), 1) for name, pid in self.pids.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackClient:
    """What a benchmark asks of the API. Every answer that is an error is a StackError."""

    http: httpx.Client

    def upload(self, content: bytes) -> str:
        """The id of a batch's input file."""
        files = {"file": ("bench.jsonl", content)}
        return str(ok(self.http.post("/v1/files", data={"purpose": "batch"}, files=files))["id"])

    def create_batch(self, file_id: str) -> dict[str, Any]:
        return ok(self.http.post("/v1/batches", json={"input_file_id": file_id, "endpoint": CHAT}))

    def batch(self, batch_id: str) -> dict[str, Any]:
        return ok(self.http.get(f"/v1/batches/{batch_id}"))

    def finished(self, batch: dict[str, Any], *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """The batch once it has come to its end. Raises StackError where that takes too long, or it did not complete."""
        until = time.monotonic() + patience_s
        while batch["status"] == "in_progress":
            if time.monotonic() > until:
                raise StackError(f"the batch is not finished after {patience_s:.0f} s: {batch['request_counts']}")
            time.sleep(POLL_S)
            batch = self.batch(batch["id"])
        if batch["status"] != "completed" or batch["output_file_id"] is None:
            raise StackError(f"the batch ended as {batch['status']}: {batch['errors']}")
        return batch

    def submit(self, model: str, body: Mapping[str, Any]) -> str:
        """The id of a single job; the body names its model too, which a single job's input does not."""
        content = {name: value for name, value in body.items() if name != "model"}
        return str(ok(self.http.post("/v1/jobs", json={"model": model, "input": content}))["id"])


def ok(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise StackError(f"{response.request.method} {response.request.url.path} answered {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer


def batch_file(bodies: Iterable[tuple[str, Mapping[str, Any]]]) -> bytes:
    """The JSONL of a batch: a line for each pair of custom id and body."""
    lines = (
        json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}) for custom_id, body in bodies
    )
    return "".join(f"{line}\n" for line in lines).encode()


@contextmanager
def private_stack(
    catalog: Mapping[str, Any], *, workers: int = 1, routers: int = 1, flower: bool = False
) -> Iterator[PrivateStack]:
    """A stack as a user starts it, without the settings of this shell. Raises StackError where it does not come up.

    `routers` above one: the others are `waybill worker router` on the same servers.
    """
    with ExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="waybill-bench-")))
        path, data_dir, log = folder / "catalog.yaml", folder / "data", folder / "up.log"
        path.write_text(json.dumps(catalog))  # JSON is YAML
        words = ["up", "--config", str(path), "--port", "0", "--workers", str(workers), "--data-dir", str(data_dir)]
        up = start([*words, *([] if flower else ["--no-flower"])], log=log)
        exits.callback(_remove_moved, data_dir)
        exits.callback(_end, up)
        state = _wait_ready(up, data_dir, log)
        more = {f"router-{number}": _router(state, folder, number, exits) for number in range(2, routers + 1)}
        _wait_crowd(state, {"router": routers, "provider": workers})
        key = (data_dir / "api-key").read_text().strip()
        yield PrivateStack(state=state, key=key, pids=state.children | more)


def start(words: list[str], *, log: Path, settings: Mapping[str, str] | None = None) -> Popen[bytes]:
    """A `waybill` command with no WAYBILL_ setting but these."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")}
    return process.spawn([*COMMAND, *words], log=log, env=outside | dict(settings or {}))


def _router(state: StackState, folder: Path, number: int, exits: ExitStack) -> int:
    settings = {
        "WAYBILL_DATABASE_URL": state.database_url,
        "WAYBILL_REDIS_URL": state.redis_url,
        "WAYBILL_BROKER_URL": state.broker_url,
        "WAYBILL_DATA_DIR": str(folder / "data"),
    }
    router = start(["worker", "router"], log=folder / f"router-{number}.log", settings=settings)
    exits.callback(_end, router)
    return router.pid


def _remove_moved(data_dir: Path) -> None:
    """Postgres may have put its files where `nobody` can reach them; its directory then tells where."""
    location = data_dir / "postgres" / "location"
    if location.exists():
        shutil.rmtree(location.read_text().strip(), ignore_errors=True)


def _end(started: Popen[bytes]) -> None:
    process.stop(started, (signal.SIGTERM, STOP_S))


def _wait_ready(up: Popen[bytes], data_dir: Path, log: Path) -> StackState:
    until = time.monotonic() + START_S
    while time.monotonic() < until and not process.exited(up):
        state = load_state(data_dir)
        if state is not None and ports.probe(f"{state.api_url}/readyz")[0] == 200:
            return state
        time.sleep(POLL_S)
    raise StackError(f"the stack to measure did not come up:\n{process.tail(log)}")


def _wait_crowd(state: StackState, wanted: Mapping[str, int]) -> None:
    """Wait for every worker, not just for one of each role, as /readyz does."""

    def all_here() -> bool:
        answer = httpx.get(f"{state.api_url}/readyz", trust_env=False, timeout=5).json()
        here: str = answer["checks"]["workers"]["detail"]  # such as "1 janitor, 2 router"
        return all(f"{count} {role}" in here.split(", ") for role, count in wanted.items())

    if not process.wait_until(all_here, patience_s=START_S):
        raise StackError(f"not all workers came up: {dict(wanted)} were started")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateOracle:
    """The mock provider in its own process."""

    url: str
    pid: int

    def log(self) -> OracleLog:
        answer = ok(httpx.get(f"{self.url}/log", trust_env=False, timeout=30))
        calls = [Call(**call) for call in answer["calls"]]
        return OracleLog(now_s=answer["now_s"], cpu_s=answer["cpu_s"], models=answer["models"], calls=calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleLog:
    """All that the provider saw; `models` holds each model's Ledger as JSON."""

    now_s: float
    cpu_s: float
    models: Mapping[str, Any]
    calls: Sequence[Call]


@contextmanager
def private_oracle(offers: Mapping[str, Offer]) -> Iterator[PrivateOracle]:
    """The mock provider with these models, on a free loopback port. Raises StackError where it does not come up."""
    with tempfile.TemporaryDirectory(prefix="waybill-oracle-") as name:
        spec, log = Path(name) / "spec.json", Path(name) / "oracle.log"
        spec.write_text(json.dumps({"models": {name: asdict(offer) for name, offer in offers.items()}}))
        words = ["-m", "router_service.evaluation.oracle", "--port", "0", "--spec", str(spec)]
        running = process.spawn([sys.executable, *words], log=log)
        try:
            if not process.wait_until(lambda: b"\n" in log.read_bytes(), patience_s=START_S):
                raise StackError(f"the oracle did not come up:\n{process.tail(log)}")
            port = log.read_text().splitlines()[0]
            if not port.isdigit():
                raise StackError(f"the oracle did not come up:\n{process.tail(log)}")
            yield PrivateOracle(url=f"http://{ports.LOOPBACK}:{port}", pid=running.pid)
        finally:
            process.stop(running, (signal.SIGTERM, STOP_S))
