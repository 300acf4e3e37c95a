"""CPU time and memory of processes, from /proc (Linux; proc(5)).

A process counts together with its descendants: Postgres is many. Resident memory is then told as PSS, the proportional set
size: a page that n processes share counts 1/n for each, so that shared buffers count once, however many connections see them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MB_PER_KB = 1024 / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory (PSS) in megabytes, and how much of it is shared memory, such as Postgres' buffers."""

    total_mb: float
    shared_mb: float


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its ended children and its living descendants. 0 for a process that is gone."""
    stats = _stats()
    # user and system time, of each process and of the children that it has waited for
    ticks = sum(int(field) for member in _family(pid, stats) for field in stats[member][11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> Memory:
    """What a process and its living descendants hold now. 0 for a process that is gone."""
    found = [_kilobytes(member, "smaps_rollup") for member in _family(pid, _stats())]
    return Memory(
        total_mb=sum(each.get("Pss", 0) for each in found) * MB_PER_KB,
        shared_mb=sum(each.get("Pss_Shmem", 0) for each in found) * MB_PER_KB,
    )


def peak_memory_mb(pid: int) -> float:
    """The most resident memory that a process ever had (VmHWM). Of one with children, what all of them hold now (PSS).

    The sum of their peaks would count shared pages many times. 0 for a process that is gone.
    """
    if len(_family(pid, _stats())) > 1:
        return memory(pid).total_mb
    return _kilobytes(pid, "status").get("VmHWM", 0) * MB_PER_KB


def _family(pid: int, stats: dict[int, list[str]]) -> list[int]:
    """The process and its living descendants; none for a process that is gone."""
    children: dict[int, list[int]] = {}
    for member, fields in stats.items():
        children.setdefault(int(fields[1]), []).append(member)
    found = [pid] if pid in stats else []
    for member in found:  # grows as it is read
        found += children.get(member, [])
    return found


def _stats() -> dict[int, list[str]]:
    """The fields of /proc/<pid>/stat from the third on, of every process that is there."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (text := _read(entry / "stat")):
            found[int(entry.name)] = text.rpartition(")")[2].split()
    return found


def _kilobytes(pid: int, name: str) -> dict[str, int]:
    """The `Name: NUMBER kB` lines of such a file. None of a process that is gone, or is not ours to look into."""
    lines = [line.split() for line in _read(PROC / str(pid) / name).splitlines()]
    return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}


def _read(path: Path) -> str:
    """Nothing of a process that is gone."""
    try:
        return path.read_text()
    except OSError:
        return ""
