from __future__ import annotations

import os
import subprocess
import sys

import pytest

from router_service.evaluation.usage import cpu_s, memory, peak_memory_mb

TAKE = "import sys; taken = b'x' * 40_000_000; print(len(taken), flush=True); sys.stdin.read()"
NOBODY = 2**22 + 1  # above what Linux gives out as a process id


def test_a_process_that_is_gone_uses_nothing() -> None:
    assert (cpu_s(NOBODY), memory(NOBODY).total_mb, peak_memory_mb(NOBODY)) == (0, 0, 0)


def test_a_childs_memory_counts_as_its_parents() -> None:
    before = memory(os.getpid()).total_mb
    with subprocess.Popen([sys.executable, "-c", TAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        assert memory(child.pid).total_mb > 40
        assert peak_memory_mb(child.pid) > 40
        assert memory(os.getpid()).total_mb - before > 35
        child.stdin.close()


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    free = "taken = None; print('free', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", TAKE.replace("sys.stdin.read()", free)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        child.stdout.readline()
        assert memory(child.pid).total_mb < 40
        assert peak_memory_mb(child.pid) > 40
        child.stdin.close()


def test_shared_memory_is_part_of_the_whole() -> None:
    held = memory(os.getpid())
    assert 0 <= held.shared_mb <= held.total_mb
    assert held.total_mb == pytest.approx(peak_memory_mb(os.getpid()), rel=0.9)
