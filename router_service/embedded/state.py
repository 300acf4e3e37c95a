"""What a running stack tells the command line: DIR/stack.json, private because its URLs hold passwords."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from router_service.embedded import directory

_FILE = "stack.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """`children` maps names (roles and servers) to process ids; `births` their start, to tell a reused id.

    `config` is the catalog file that it was given, None for the built-in one.
    """

    pid: int
    api_url: str
    flower_url: str | None
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    children: dict[str, int]
    births: dict[str, str]
    config: str | None = None


def load_state(data_dir: Path) -> StackState | None:
    """The state of the stack that runs on the directory; None when none does, or it is still starting."""
    return read_state(data_dir) if running_stack_pid(data_dir) is not None else None


def running_stack_pid(data_dir: Path) -> int | None:
    """The process id of the `waybill up` that holds the directory."""
    return directory.holder(data_dir)


def read_state(data_dir: Path) -> StackState | None:
    """The state as last written, be its stack alive or not."""
    try:
        return StackState(**json.loads((data_dir / _FILE).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None  # none, or one of another version: nothing to learn from


def write_state(data_dir: Path, state: StackState) -> None:
    directory.write_private(data_dir / _FILE, json.dumps(asdict(state), indent=2) + "\n")


def remove_state(data_dir: Path) -> None:
    (data_dir / _FILE).unlink(missing_ok=True)


def birth(pid: int) -> str | None:
    """When a process began, in the kernel's own count; None without /proc or without the process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None
