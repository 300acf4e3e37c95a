"""What the database needs before the roles start. Apart, because it brings the database driver with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.embedded.directory import write_private
from router_service.store import bootstrap, migrate

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "api-key"


def prepare(database_url: str, *, data_dir: Path, config: Path | None) -> None:
    """Schema, catalog, first API key; each only where it is missing. Raises SettingsError on a wrong catalog.

    A key is stored as a hash only, so where DIR/api-key is lost another one is issued.
    """
    migrate.upgrade(database_url)
    publish(database_url, config=config)
    key_file = data_dir / KEY_FILE
    key = bootstrap.first_key(database_url)
    if key is None and not key_file.exists():
        key = bootstrap.first_key(database_url, force=True)
    if key is not None:
        write_private(key_file, f"{key}\n")


def publish(database_url: str, *, config: Path | None) -> None:
    """Put the catalog file (None: the built-in one) in force. Raises SettingsError, and keeps the old one."""
    bootstrap.publish_catalog(database_url, config)
