"""One stack a directory; it ends whole, and the next one on the same directory goes on where it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import simulated
from tests.stacks import FAULT_SETTINGS, RunningStack, temporary_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def root() -> Iterator[Path]:
    with temporary_root() as folder:
        yield folder


def test_second_stack_is_refused_and_a_restart_goes_on_with_what_was_interrupted(root: Path) -> None:
    """Starts `up` twice on one directory; SIGTERM in the middle of work, with calls that outlast the drain; starts again.

    The second start is refused by the first one's pid. After SIGTERM no process is left (asserted by every stack's end).
    The next stack has the old result and finishes what was cut off.
    """
    entries = (simulated("fast"), simulated("long", latency_ms=3000, slots=10))
    settings = FAULT_SETTINGS | {"WAYBILL_DRAIN_S": "1"}
    with RunningStack(*entries, settings=settings, root=root) as first:
        done = first.finished(first.submit("fast"))
        second = first.start()
        assert second.wait(timeout=60) != 0
        assert f"pid {first.process.pid}" in first.said()
        assert first.finished(first.submit("fast"))["status"] == "succeeded"
        jobs = [first.submit("long", f"ship {number}") for number in range(12)]  # ten of them run, two wait
        states = [first.job(job)["status"] for job in jobs]
        print(f"SIGTERM with {len(jobs)} jobs under way: {sorted(set(states))}")
        assert not set(states) & {"succeeded", "failed"}
    with RunningStack(*entries, settings=settings, root=root) as again:
        assert again.job(done["id"]) == done
        ended = [again.finished(job, patience_s=90) for job in jobs]
        assert {job["status"] for job in ended} == {"succeeded"}
        print(f"finished after the restart, with {sorted({job['attempts'] for job in ended})} attempts")
        assert again.key == first.key
        again.assert_slots_come_back()
