"""The database connection and the only commit: a transaction ends at the edge that began it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

import psycopg
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from router_service.errors import SettingsError, StoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from psycopg import AsyncConnection as PsycopgConnection
    from sqlalchemy import URL, Row, TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

# A server that fell silent without closing its connections is noticed within half a minute, not when TCP gives up.
SILENCE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}


@cache
def statement(name: str) -> TextClause:
    """The statement in `queries/<name>.sql`."""
    return text(resources.files("router_service.store").joinpath("queries", f"{name}.sql").read_text())


def driver_url(database_url: str) -> URL:
    """SQLAlchemy's URL, over psycopg 3, for a `postgresql://` URL. Raises SettingsError on any other kind."""
    if not database_url:
        raise SettingsError(
            "WAYBILL_DATABASE_URL is not set; give postgresql://user:password@host/database, or use `waybill up`"
        )
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise SettingsError("WAYBILL_DATABASE_URL must start with postgresql://")
    return make_url(f"postgresql+psycopg://{rest}")


class Database:
    """A pool of connections. Open one per process; close it when the process ends."""

    def __init__(self, database_url: str, *, pool: int = 5, name: str = "waybill") -> None:
        self._engine = create_async_engine(
            driver_url(database_url),
            pool_size=pool,
            max_overflow=0,
            pool_timeout=30,
            pool_pre_ping=False,
            hide_parameters=True,  # an error's text must not carry a prompt into a log
            connect_args={"application_name": name, "connect_timeout": 10, "prepare_threshold": 3} | SILENCE,
        )
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ")

    @asynccontextmanager
    async def transaction(self, *, snapshot: bool = False) -> AsyncIterator[Session]:
        """One transaction: committed when the block ends well, rolled back when it raises.

        With `snapshot` all its statements see the same state of the data. Raises UnavailableError where the database cannot be
        reached or asks to try again, StoreError on any other refusal; neither shows a value.
        """
        try:
            async with (self._snapshots if snapshot else self._engine).begin() as connection:
                yield Session(connection)
        except DBAPIError as error:
            # Not chained: the driver's own text may quote the row.
            raise _refusal(error.orig or error, is_lost=error.connection_invalidated) from None
        except psycopg.Error as error:  # from a COPY, which goes past SQLAlchemy
            raise _refusal(error) from None
        except PoolTimeoutError as error:
            raise UnavailableError("postgres", "no database connection became free in 30 s") from error

    async def close(self) -> None:
        await self._engine.dispose()


class Session:
    """What a store function works with: one connection inside one transaction."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, query: str, /, **parameters: Any) -> Sequence[Row[Any]]:
        """Run `queries/<query>.sql` and fetch all rows."""
        return (await self._connection.execute(statement(query), parameters)).all()

    async def row(self, query: str, /, **parameters: Any) -> Row[Any] | None:
        return (await self._connection.execute(statement(query), parameters)).first()

    async def copy(self, command: str, rows: Sequence[Sequence[Any]]) -> None:
        """COPY rows in, with `command` such as `COPY t (a, b) FROM STDIN`."""
        async with (await self.driver()).cursor() as cursor, cursor.copy(command) as copy:
            for row in rows:
                await copy.write_row(row)

    async def driver(self) -> PsycopgConnection[Any]:
        """The psycopg connection beneath, for COPY."""
        raw = await self._connection.get_raw_connection()
        return cast("PsycopgConnection[Any]", raw.driver_connection)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        async with self._connection.begin_nested():
            yield


def _refusal(error: BaseException, *, is_lost: bool = False) -> UnavailableError | StoreError:
    if is_lost or _is_unavailable(error):
        return UnavailableError("postgres", f"the database is not available: {_what(error)}")
    return StoreError(f"the database refused: {_what(error)}")


def _is_unavailable(error: BaseException) -> bool:
    """What another try may mend, by SQLSTATE (PostgreSQL, appendix A).

    No state: the connection failed, or the driver refused a value; 08: the connection; 40: deadlock or serialization;
    53: out of disk, memory or connections; 57P: an operator's shutdown; 25006: read-only, as after a failover.
    """
    state = getattr(error, "sqlstate", None)
    if state is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return state[:2] in {"08", "40", "53"} or state.startswith("57P") or state == "25006"


def _what(error: BaseException) -> str:
    """SQLSTATE and the server's first sentence, which names objects but no values; of what it says of values, the kind alone."""
    state = getattr(error, "sqlstate", None)
    if isinstance(error, psycopg.DataError):  # class 22, or a value that the driver itself refused
        return f"{state or 'no SQLSTATE'}: {type(error).__name__}"
    message = getattr(getattr(error, "diag", None), "message_primary", None)
    return f"{state}: {message}" if state else str(error).partition("\n")[0]
