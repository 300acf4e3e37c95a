"""The summarizer's processes under real kills. No mocks: children and parents are processes, ended by SIGKILL."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from workers.providers.local.processes import SummaryProcesses
from workers.providers.local.ranking import Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
LONG = "\n".join(f"- The alpha beta {number} gamma of row {number % 97} counts." for number in range(9000))
PARENT = """
import asyncio, time
from workers.providers.local.processes import SummaryProcesses
from workers.providers.local.ranking import Tier

async def main():
    pool = SummaryProcesses(1)
    await pool.summarize("The cat sat.", tier=Tier.LEAD, max_words=9, timeout_s=60)
    print("ready", flush=True)
    await asyncio.sleep(60)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def pool() -> Iterator[SummaryProcesses]:
    pool = SummaryProcesses(1)
    yield pool
    pool.close()


async def short(pool: SummaryProcesses) -> str:
    return await pool.summarize("The cat sat. It slept.", tier=Tier.LEAD, max_words=3, timeout_s=60)


def summarizers(parent: int) -> list[int]:
    """The spawned children of a process, from the list that ps gives (a zombie has no command and does not count)."""
    listed = subprocess.check_output(["ps", "-ww", "-e", "-o", "pid=,ppid=,args="], text=True)
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(row[0]) for row in rows if row[1] == str(parent) and "spawn_main" in row[2]]


def is_alive(pid: int) -> bool:
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(listed.strip()) and not listed.startswith("Z")


def test_a_summary_comes_from_another_process(pool: SummaryProcesses) -> None:
    assert asyncio.run(short(pool)) == "The cat sat."
    assert len(summarizers(os.getpid())) >= 1


def test_a_call_outlives_the_kill_of_its_process(pool: SummaryProcesses) -> None:
    async def scenario() -> tuple[str, str]:
        await short(pool)
        before = set(summarizers(os.getpid()))
        running = asyncio.create_task(pool.summarize(LONG, tier=Tier.LEXRANK, max_words=9, timeout_s=60))
        await asyncio.sleep(0.1)
        assert before
        for child in before:
            os.kill(child, signal.SIGKILL)
        return await running, await short(pool)

    interrupted, following = asyncio.run(scenario())
    assert interrupted
    assert following == "The cat sat."


def test_a_child_leaves_ctrl_c_to_its_parent(pool: SummaryProcesses) -> None:
    async def scenario() -> bool:
        await short(pool)
        children = summarizers(os.getpid())
        assert children
        for child in children:
            os.kill(child, signal.SIGINT)
        await short(pool)
        return set(children) <= set(summarizers(os.getpid()))

    assert asyncio.run(scenario())


def test_a_call_that_takes_too_long_is_given_up(pool: SummaryProcesses) -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(pool.summarize(LONG, tier=Tier.LEXRANK, max_words=9, timeout_s=0.01))


def test_nothing_runs_after_close(pool: SummaryProcesses) -> None:
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(short(pool))


def test_children_end_when_their_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=ENVIRONMENT)
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        children = summarizers(parent.pid)
        parent.kill()
    deadline = time.monotonic() + 10
    while any(map(is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert children
    assert not any(map(is_alive, children))


def test_a_child_imports_nothing_heavy() -> None:
    code = (
        "import sys, workers.providers.local.child, workers.providers.local.summarize\n"
        "heavy = {'celery', 'kombu', 'sqlalchemy', 'pydantic', 'httpx', 'asyncio', 'redis'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )
    seen = subprocess.check_output([sys.executable, "-c", code], env=ENVIRONMENT, text=True)
    assert seen.strip() == "[]"
