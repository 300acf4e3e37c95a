"""What a client sees of a whole stack: the unmodified OpenAI client, long polls, strangers on well-known ports."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.stacks import custom_ids, lines, memory_kb

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stranger
    from tests.stacks import RunningStack

pytestmark = pytest.mark.timeout(240)

LINES = 10_000
WORDS = " a harbour where ships come in" * 80  # 2.4 kB a line: the file is far larger than what memory may grow by
MOST_GROWTH_KB = 50_000


def test_ten_thousand_lines_come_back_in_order_and_memory_does_not_grow_with_them(stack: RunningStack) -> None:
    """Uploads 10,000 lines (25 MB) with the official client, polls, downloads; the API's peak memory grows by < 50 MB."""
    api = stack.pid("api")
    with suppress(PermissionError):  # where it may not be reset, the peak since the start is a stricter measure
        Path(f"/proc/{api}/clear_refs").write_text("5")
    before = memory_kb(api, "VmHWM")
    began = time.monotonic()
    batch = stack.submit_batch(lines(["fast"] * LINES, prompt=lambda number: f"Ship {number}:{WORDS}"))
    accepted_s = time.monotonic() - began
    ended = stack.wait_batch(batch, patience_s=180)
    assert ended.status == "completed"
    assert ended.request_counts is not None
    assert (ended.request_counts.total, ended.request_counts.completed) == (LINES, LINES)
    outputs = stack.lines_of(ended.output_file_id)
    took_s = time.monotonic() - began
    grown = memory_kb(api, "VmHWM") - before
    print(f"accepted in {accepted_s:.1f} s, downloaded after {took_s:.1f} s; the API's peak grew by {grown} kB")
    assert [line["custom_id"] for line in outputs] == custom_ids(LINES)
    assert all(line["response"]["body"]["choices"][0]["message"]["content"] for line in outputs)
    assert ended.error_file_id is None
    assert stack.pid("api") == api
    assert grown < MOST_GROWTH_KB


def test_an_idle_stack_answers_a_single_job_within_two_seconds(stack: RunningStack) -> None:
    stack.finished(stack.submit("fast"))
    began = time.monotonic()
    job = stack.job(stack.submit("local", "The harbour opened in 1900. Ships came from all over."), wait_s=30)
    took_s = time.monotonic() - began
    assert job["status"] == "succeeded"
    assert job["result"]["body"]["choices"][0]["message"]["content"]
    assert took_s < 2


def test_long_poll_answers_when_the_job_ends_or_when_the_wait_is_over(stack: RunningStack) -> None:
    job = stack.submit("slow")  # it takes 2 s
    began = time.monotonic()
    assert stack.job(job, wait_s=0.5)["status"] not in {"succeeded", "failed"}
    waited_s = time.monotonic() - began
    assert 0.5 <= waited_s < 2
    assert stack.job(job, wait_s=30)["status"] == "succeeded"
    assert time.monotonic() - began < 10
    assert stack.http.get(f"/v1/jobs/{job}", params={"wait": 61}).status_code == 400


def test_a_stack_works_beside_strangers_on_5432_and_6379(stack: RunningStack, strangers: list[Stranger]) -> None:
    """Sockets listen on both ports since before the stack started; nobody has called, and nothing of ours listens there."""
    assert stack.finished(stack.submit("fast"))["status"] == "succeeded"
    called = {stranger.port: stranger.callers() for stranger in strangers}
    print(f"connections to {called}; taken before the test: {[each.port for each in strangers if each.ours is None]}")
    assert set(called.values()) == {0}
