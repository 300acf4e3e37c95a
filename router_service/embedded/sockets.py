"""A directory for a server's Unix socket: in its data directory if the path allows it, else a short one.

A socket's path has 107 bytes at most, and Flower and Postgres misread characters that a URL has to quote.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

_PATH_LIMIT_BYTES = 107
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
_REMEMBERED = "socket-dir"


def open_socket_dir(home: Path, *, socket_name: str, server_uid: int | None = None) -> Path:
    """Make the directory, or find it again: clients reconnect to the same path when a server restarts.

    `server_uid` is the user whom the caller gives the directory to, where that is another one.
    """
    inside = home / "run"
    if _fits(inside / socket_name):
        inside.mkdir(mode=0o700, exist_ok=True)
        return inside
    note = home / _REMEMBERED
    if note.exists() and _is_private(remembered := Path(note.read_text().strip()), server_uid=server_uid):
        return remembered
    outside = Path(tempfile.mkdtemp(prefix="waybill-"))
    note.write_text(f"{outside}\n")
    return outside


def close_socket_dir(home: Path, *, server_uid: int | None = None) -> None:
    """Remove the private directory outside, if there was one."""
    note = home / _REMEMBERED
    if note.exists():
        if _is_private(remembered := Path(note.read_text().strip()), server_uid=server_uid):
            shutil.rmtree(remembered)
        note.unlink()


def _fits(socket_path: Path) -> bool:
    return len(os.fsencode(socket_path)) <= _PATH_LIMIT_BYTES and bool(_PLAIN.fullmatch(str(socket_path)))


def _is_private(folder: Path, *, server_uid: int | None) -> bool:
    """Whether what stands there is still the private directory: ours or our server's, closed to others."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    owners = {os.geteuid(), server_uid}
    return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid in owners
