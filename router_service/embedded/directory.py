"""The data directory of a stack: one owner at a time, private files, secrets that are made once."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router_service.embedded.process import wait_until
from router_service.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK = "up.lock"
_SECRETS = "secrets.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The passwords of the private servers."""

    postgres: str = field(repr=False)
    valkey: str = field(repr=False)


@contextmanager
def own(data_dir: Path) -> Iterator[None]:
    """Make the directory (0700) and hold it. Raises StackError that names the process which holds it already.

    The kernel drops the lock with its holder, so it is never stale.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        data_dir.chmod(0o700)
    except OSError as error:
        raise StackError(f"{data_dir} cannot be the data directory: {error.strerror}; name another one") from error
    with (data_dir / _LOCK).open("a+") as lock:
        # A look by `holder` takes the lock for an instant: that is no owner.
        if not wait_until(lambda: _take(lock.fileno(), fcntl.LOCK_EX), patience_s=0.3):
            raise StackError(
                f"a stack runs on {data_dir} already (pid {_noted_pid(data_dir)}): "
                "use that one, stop it (`waybill down`), or choose another directory"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def holder(data_dir: Path) -> int | None:
    """The id of the process that holds the directory, if one does."""
    try:
        with (data_dir / _LOCK).open() as lock:
            return None if _take(lock.fileno(), fcntl.LOCK_SH) else _noted_pid(data_dir)
    except FileNotFoundError:
        return None


def load_secrets(data_dir: Path) -> Secrets:
    """The secrets of the directory, made at the first call. Raises StackError when the file is wrong."""
    path = data_dir / _SECRETS
    if not path.exists():
        if (data_dir / "postgres").exists():
            raise StackError(
                f"{path} is gone, and with it the password of the database: restore it, or start on an empty directory"
            )
        fresh = {"postgres": secrets.token_urlsafe(32), "valkey": secrets.token_urlsafe(32)}
        write_private(path, json.dumps(fresh, indent=2) + "\n")
    try:
        return Secrets(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise StackError(
            f"{path} is not what was written there: restore it; the data cannot be opened without"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _noted_pid(data_dir: Path) -> int | None:
    text = (data_dir / _LOCK).read_text().strip()
    return int(text) if text.isdigit() else None
