"""Running Postgres, which refuses root, for somebody who is root: no new users, no opened directories.

An ordinary user's server runs as that user. Root's runs in a user namespace in which root is called `nobody`:
files stay root's, and no other process is given access. Where the kernel forbids namespaces it runs as the
real `nobody`, on data that `nobody` can reach.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from router_service.embedded.process import Identity
from router_service.errors import StackError

SYSTEM_DIR = Path("/var/lib/waybill")
_LOCATION = "location"
_OVERFLOW_ID = 65534


class Way(StrEnum):
    """How the server is kept from running as root; chosen at each start from what this machine allows."""

    AS_IS = "as-is"  # we are not root
    NAMESPACE = "namespace"  # root, renamed inside a user namespace
    NOBODY = "nobody"  # root without namespaces: the real user nobody


def choose_way() -> Way:
    """Ask the machine, once per server, who we are and whether a user namespace works here."""
    if os.geteuid() != 0:
        return Way.AS_IS
    return Way.NAMESPACE if namespace_works() else Way.NOBODY


def namespace_works() -> bool:
    prefix = _namespace_prefix()
    if prefix is None:
        return False
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0


def identity(way: Way) -> Identity:
    """Who the server's processes are, this way. Raises StackError where there is no user nobody."""
    match way:
        case Way.AS_IS:
            return Identity()
        case Way.NAMESPACE:
            return Identity(prefix=_namespace_prefix() or ())
        case Way.NOBODY:
            user = _nobody()
            return Identity(uid=user.pw_uid, gid=user.pw_gid)
        case _:
            assert_never(way)


def settle_home(data_dir: Path, way: Way, *, system_dir: Path = SYSTEM_DIR) -> Path:
    """The directory of the server's files: in `data_dir`, or a remembered one that nobody can reach.

    It stays ours: the server owns only what `hand_over` gives it, and can plant no link where we write. Data
    that an earlier start kept elsewhere are moved, so that a machine may change its mind.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    data_dir = data_dir.resolve()
    before = _remembered(data_dir)
    home = data_dir / "home"
    if way is Way.NOBODY and not _others_reach(data_dir):
        system_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        home = system_dir / hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        if not _others_reach(system_dir):
            raise StackError(f"the user nobody cannot reach {system_dir}: give it and its parents mode 0755")
    if before != home and before.exists():
        shutil.move(before, home)
    home.mkdir(mode=0o700, exist_ok=True)
    home.chmod(0o711 if way is Way.NOBODY else 0o700)
    (data_dir / _LOCATION).write_text(f"{home}\n")
    return home


def hand_over(path: Path, way: Way) -> None:
    """Give a directory and all in it to the server's user, if it is not that user's yet; only root has to."""
    if way is Way.AS_IS:
        return
    user = _nobody() if way is Way.NOBODY else None
    uid, gid = (user.pw_uid, user.pw_gid) if user else (0, 0)
    if path.lstat().st_uid == uid:
        return
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(Path(folder) / name, uid, gid, follow_symlinks=False)
    os.chown(path, uid, gid, follow_symlinks=False)


def require_executable(binary: Path, way: Way) -> None:
    """Raise StackError where nobody cannot execute the wheel's binary, as below root's own home."""
    if way is Way.NOBODY and not _others_reach(binary.resolve()):
        raise StackError(
            f"Postgres cannot run as root, and the user nobody cannot execute {binary}: run `waybill up` "
            "as an ordinary user, install Waybill where every user can read it, or set WAYBILL_DATABASE_URL"
        )


def _remembered(data_dir: Path) -> Path:
    location = data_dir / _LOCATION
    return Path(location.read_text().strip()) if location.exists() else data_dir / "home"


def _others_reach(path: Path) -> bool:
    return all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def _nobody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("nobody")
    except KeyError as error:
        raise StackError(
            "Postgres cannot run as root, and this machine has neither user namespaces nor a user nobody: "
            "run `waybill up` as an ordinary user, or set WAYBILL_DATABASE_URL"
        ) from error


def _namespace_prefix() -> tuple[str, ...] | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    return (unshare, "--user", f"--map-user={_OVERFLOW_ID}", f"--map-group={_OVERFLOW_ID}", "--")
