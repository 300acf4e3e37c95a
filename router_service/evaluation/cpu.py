"""CPU time and peak memory of processes, from /proc (Linux; proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its ended children and its living descendants. 0 for a process that is gone."""
    ticks = os.sysconf("SC_CLK_TCK")
    children: dict[int, list[int]] = {}
    spent: dict[int, int] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            # user and system time, of the process and of the children that it has waited for
            spent[int(entry.name)] = sum(int(field) for field in fields[11:15])
    family, total = [pid], 0
    while family:
        member = family.pop()
        total += spent.get(member, 0)
        family += children.get(member, [])
    return total / ticks


def peak_memory_mb(pid: int) -> float:
    """The most resident memory that a process ever had, in megabytes. 0 for a process that is gone."""
    try:
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0.0
    kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "0")
    return int(kilobytes) * 1024 / 1e6


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on; None for a process that is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
