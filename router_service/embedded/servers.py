"""Just the two servers, as a context: for tests of the whole project, and the first half of a stack."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from router_service.embedded import directory
from router_service.embedded.postgres import EmbeddedPostgres
from router_service.embedded.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class Servers:
    """A running Postgres and Valkey over `data_dir`; `durable=False` writes nothing through to disk.

    The directory has one owner at a time; a second one gets a StackError.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.resolve()
        self._durable = durable
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            exits.enter_context(directory.own(self.data_dir))
            self.postgres, self.valkey = open_servers(self.data_dir, durable=self._durable)
            exits.callback(self.postgres.stop)
            self.postgres.start()
            exits.callback(self.valkey.stop)
            self.valkey.start()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    @property
    def database_url(self) -> str:
        return self.postgres.database_url

    @property
    def redis_url(self) -> str:
        return self.valkey.redis_url

    @property
    def broker_url(self) -> str:
        return self.valkey.broker_url

    @property
    def admin_redis_url(self) -> str:
        """For what no process of ours may do: FLUSHALL, CONFIG, CLIENT KILL."""
        return self.valkey.admin_url


def open_servers(data_dir: Path, *, durable: bool = True) -> tuple[EmbeddedPostgres, EmbeddedValkey]:
    """Both servers of a directory, not started, with its secrets and its log directory."""
    words, logs = directory.load_secrets(data_dir), data_dir / "logs"
    postgres = EmbeddedPostgres(data_dir / "postgres", words.postgres, log=logs / "postgres.log", durable=durable)
    valkey = EmbeddedValkey(data_dir / "valkey", words.valkey, log=logs / "valkey.log", durable=durable)
    return postgres, valkey
