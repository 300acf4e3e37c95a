"""Jobs per second and CPU per job of the whole stack: submit, route, call, store, download, with a model that takes no time.

The stack is a fresh one in a temporary directory, with its own servers. What is measured is from the upload of the file to
the last byte of the results; a first small batch warms every process up and is not counted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from router_service.embedded.state import load_state
from router_service.errors import StackError
from router_service.evaluation.cpu import cpu_s, peak_memory_mb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router_service.embedded.state import StackState

START_S = 90.0
BATCH_S = 900.0
STOP_S = 60.0
POLL_S = 0.1
WARM_UP_JOBS = 500
LINES_PER_FILE = 50_000
SLOTS = 400
PROMPT = "Summarize the following text in one sentence. " + "The quick brown fox jumps over the lazy dog. " * 8


def run(*, jobs: int, workers: int) -> dict[str, Any]:
    """Measure once. A flat report; times in seconds, CPU in milliseconds a job, memory in megabytes."""
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder, _stack(Path(folder), workers) as state:
        key = (Path(folder) / "data" / "api-key").read_text().strip()
        with httpx.Client(
            base_url=state.api_url, headers={"authorization": f"Bearer {key}"}, timeout=BATCH_S, trust_env=False
        ) as client:
            _one_batch(client, WARM_UP_JOBS)
            before, began = _spent(state), time.monotonic()
            stages = [_one_batch(client, count) for count in _sizes(jobs)]
            wall_s, after = time.monotonic() - began, _spent(state)
        memory = {f"peak_memory_mb.{name}": round(peak_memory_mb(pid), 1) for name, pid in state.children.items()}
    cpu = {name: (after[name] - before[name]) * 1000 / jobs for name in after}
    counted = {name: value for name, value in cpu.items() if name != "flower"}
    return {
        "jobs": jobs,
        "workers": workers,
        "wall_s": round(wall_s, 3),
        "jobs_per_s": round(jobs / wall_s, 1),
        "upload_s": round(sum(stage["upload_s"] for stage in stages), 3),
        "accept_s": round(sum(stage["accept_s"] for stage in stages), 3),
        "run_s": round(sum(stage["run_s"] for stage in stages), 3),
        "download_s": round(sum(stage["download_s"] for stage in stages), 3),
        "cpu_ms_per_job": round(sum(counted.values()), 4),
        **{f"cpu_ms_per_job.{name}": round(value, 4) for name, value in cpu.items()},
        **memory,
    }


def _sizes(jobs: int) -> list[int]:
    """Files of at most 50,000 lines."""
    full, rest = divmod(jobs, LINES_PER_FILE)
    return [LINES_PER_FILE] * full + ([rest] if rest else [])


def _one_batch(client: httpx.Client, count: int) -> dict[str, float]:
    """Upload, make a batch, wait, download; seconds by stage. Raises StackError where a line is missing or out of order."""
    content = "".join(_line(number) for number in range(count)).encode()
    marks = [time.monotonic()]
    uploaded = _ok(client.post("/v1/files", data={"purpose": "batch"}, files={"file": ("bench.jsonl", content)}))
    marks.append(time.monotonic())
    batch = _ok(client.post("/v1/batches", json={"input_file_id": uploaded["id"], "endpoint": "/v1/chat/completions"}))
    marks.append(time.monotonic())
    while batch["status"] == "in_progress":
        if time.monotonic() - marks[-1] > BATCH_S:
            raise StackError(f"the batch is not finished after {BATCH_S:.0f} s: {batch['request_counts']}")
        time.sleep(POLL_S)
        batch = _ok(client.get(f"/v1/batches/{batch['id']}"))
    marks.append(time.monotonic())
    if batch["status"] != "completed" or batch["output_file_id"] is None:
        raise StackError(f"the batch ended as {batch['status']}: {batch['errors']}")
    answer = client.get(f"/v1/files/{batch['output_file_id']}/content")
    marks.append(time.monotonic())
    found = [json.loads(line)["custom_id"] for line in answer.content.splitlines()]
    if found != [f"line-{number}" for number in range(count)]:
        raise StackError(f"{count} lines in order were due, {len(found)} came")
    stages = ("upload_s", "accept_s", "run_s", "download_s")
    return {stage: end - start for stage, start, end in zip(stages, marks, marks[1:], strict=False)}


def _line(number: int) -> str:
    body = {
        "model": "bench",
        "messages": [{"role": "user", "content": f"{PROMPT} {number}"}],
        "max_tokens": 32,
    }
    return (
        json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body})
        + "\n"
    )


def _ok(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise StackError(f"{response.request.method} {response.request.url.path} answered {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer


def _spent(state: StackState) -> dict[str, float]:
    return {name: cpu_s(pid) for name, pid in state.children.items()}


@contextmanager
def _stack(folder: Path, workers: int) -> Iterator[StackState]:
    """A stack as a user starts it, without the settings of this shell. Raises StackError where it does not come up."""
    catalog, data_dir = folder / "catalog.yaml", folder / "data"
    catalog.write_text(json.dumps(_catalog()))  # JSON is YAML
    words = ["up", "--config", str(catalog), "--port", "0", "--workers", str(workers), "--data-dir", str(data_dir)]
    log = folder / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "router_service.cli.main", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_clean(os.environ),
        )
    try:
        yield _wait_ready(process, data_dir, log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def _wait_ready(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> StackState:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        state = load_state(data_dir)
        if state is not None and _is_ready(state.api_url):
            return state
        time.sleep(POLL_S)
    raise StackError(f"the stack to measure did not come up:\n{log.read_text()[-2000:]}")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _catalog() -> dict[str, Any]:
    return {
        "model_list": [
            {
                "model_name": "bench",
                "litellm_params": {"model": "simulated/bench", "max_parallel_requests": SLOTS},
                "model_info": {"input_cost_per_token": 1e-7, "output_cost_per_token": 2e-7},
            }
        ]
    }


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("WAYBILL_")}
