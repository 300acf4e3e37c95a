"""Jobs per second and CPU per job of the whole stack: submit, route, call, store, download, with a model that takes no time.

What is measured is from the upload of the file to the last byte of the results; a first small batch warms every process up
and is not counted.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from router_service.errors import StackError
from router_service.evaluation.stack import batch_file, private_stack

if TYPE_CHECKING:
    from router_service.evaluation.stack import StackClient

WARM_UP_JOBS = 500
LINES_PER_FILE = 50_000
SLOTS = 400
PROMPT = "Summarize the following text in one sentence. " + "The quick brown fox jumps over the lazy dog. " * 8


def run(*, jobs: int, workers: int) -> dict[str, Any]:
    """Measure once. A flat report; times in seconds, CPU in milliseconds a job, memory in megabytes."""
    with private_stack(_catalog(), workers=workers, flower=True) as stack, stack.client() as client:
        _one_batch(client, WARM_UP_JOBS)
        before, began = stack.spent(), time.monotonic()
        stages = [_one_batch(client, count) for count in _sizes(jobs)]
        wall_s, after = time.monotonic() - began, stack.spent()
        memory = {f"peak_memory_mb.{name}": peak for name, peak in stack.peak_memory_mb().items()}
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


def _one_batch(client: StackClient, count: int) -> dict[str, float]:
    """Upload, make a batch, wait, download; seconds by stage. Raises StackError where a line is missing or out of order."""
    content = batch_file((f"line-{number}", _body(number)) for number in range(count))
    marks = [time.monotonic()]
    file_id = client.upload(content)
    marks.append(time.monotonic())
    batch = client.create_batch(file_id)
    marks.append(time.monotonic())
    batch = client.finished(batch)
    marks.append(time.monotonic())
    answer = client.http.get(f"/v1/files/{batch['output_file_id']}/content")
    marks.append(time.monotonic())
    found = [json.loads(line)["custom_id"] for line in answer.content.splitlines()]
    if found != [f"line-{number}" for number in range(count)]:
        raise StackError(f"{count} lines in order were due, {len(found)} came")
    stages = ("upload_s", "accept_s", "run_s", "download_s")
    return {stage: end - start for stage, start, end in zip(stages, marks, marks[1:], strict=False)}


def _body(number: int) -> dict[str, Any]:
    return {
        "model": "bench",
        "messages": [{"role": "user", "content": f"{PROMPT} {number}"}],
        "max_tokens": 32,
    }


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
