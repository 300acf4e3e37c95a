"""Brings the schema up to date. Safe to run from several processes at once: an advisory lock lets one work."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import migrations
from router_service.store.session import driver_url

ADVISORY_LOCK = 0x57_41_59_42  # "WAYB"


def upgrade(database_url: str) -> None:
    """Run every migration that has not run yet. A migration waits at most 10 s for a lock, and never forever."""
    config = _config()
    engine = create_engine(driver_url(database_url))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            connection.execute(text("SET LOCAL statement_timeout = '30min'"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def pending(database_url: str) -> tuple[str | None, str]:
    """The schema's revision in the database (None: empty) and the newest one that this code knows."""
    engine = create_engine(driver_url(database_url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": "schema_version"})
            return context.get_current_revision(), head()
    finally:
        engine.dispose()


def head() -> str:
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None, "there is at least one migration"  # noqa: S101
    return newest


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    return config
