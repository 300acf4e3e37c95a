"""Brings the schema up to date. Safe to run from several processes at once: an advisory lock lets one work."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

import migrations
from router_service.errors import UnavailableError
from router_service.store.session import driver_url

if TYPE_CHECKING:
    from sqlalchemy import Connection

ADVISORY_LOCK = 0x57_41_59_42  # "WAYB"
LOCK_TIMEOUT_S = 10
LOCK_NOT_AVAILABLE = "55P03"


def upgrade(database_url: str) -> None:
    """Run every migration that has not run yet, all in one transaction.

    Raises UnavailableError, with nothing changed, where the database cannot be reached, or a lock is not had within
    LOCK_TIMEOUT_S: that of another migration, or of a table in use.
    """
    config = _config()
    engine = create_engine(driver_url(database_url))
    try:
        with engine.begin() as connection:
            _begin_alone(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise _unavailable(error) from error
    finally:
        engine.dispose()


def pending(database_url: str) -> tuple[str | None, str]:
    """The schema's revision in the database (None: empty) and the newest one that this code knows."""
    engine = create_engine(driver_url(database_url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": "schema_version"})
            return context.get_current_revision(), head()
    except OperationalError as error:
        raise _unavailable(error) from error
    finally:
        engine.dispose()


def _unavailable(error: OperationalError) -> UnavailableError:
    if getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE:
        return UnavailableError(
            "postgres",
            f"no lock was had within {LOCK_TIMEOUT_S} s: another migration is under way, or a table is in use; nothing was"
            " changed, try again",
        )
    return UnavailableError("postgres", f"the database cannot be reached: {str(error.orig).partition(chr(10))[0]}")


@cache
def head() -> str:
    """The newest revision that this code knows; read from the disk once."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None, "there is at least one migration"  # noqa: S101
    return newest


def _begin_alone(connection: Connection) -> None:
    """The timeouts come first: they hold for the advisory lock as well."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'"))
    connection.execute(text("SET LOCAL statement_timeout = '30min'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
