"""What an operator does to the store from a command: first key, keys, catalog. Each call opens and closes its own connection."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, TypeVar

from router_service.catalog.builtin import builtin_document
from router_service.catalog.load import parse_document
from router_service.errors import CatalogError
from router_service.store import catalogs, keys
from router_service.store.session import Database, Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")
DEFAULT_TENANT = "default"


def first_key(database_url: str, *, force: bool = False) -> str | None:
    """A first key for the default tenant. None where keys exist already, unless `force` asks for one more."""

    async def work(session: Session) -> str | None:
        if await keys.listed(session) and not force:
            return None
        return await _issue(session, tenant_id=DEFAULT_TENANT, name="recovered" if force else "first")

    return _run(database_url, work)


def create_key(database_url: str, *, tenant: str, name: str) -> str:
    """A new key, in plain text this once."""
    return _run(database_url, lambda session: _issue(session, tenant_id=tenant, name=name))


def list_keys(database_url: str) -> list[dict[str, Any]]:
    async def work(session: Session) -> list[dict[str, Any]]:
        return list(await keys.listed(session))

    return _run(database_url, work)


def revoke_key(database_url: str, prefix: str) -> bool:
    """False where there is no such key, or it was revoked before."""
    return _run(database_url, lambda session: keys.revoke(session, prefix=prefix))


def publish_catalog(database_url: str, path: Path | None) -> str:
    """Check a catalog file (None: the built-in one) and put it in force. Its hash. Raises CatalogError."""
    document = builtin_document() if path is None else parse_document(read_catalog_file(path), source=str(path))

    async def work(session: Session) -> str:
        return (await catalogs.publish(session, document, source=str(path or "built-in catalog"))).hash

    return _run(database_url, work)


def read_catalog_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(str(path), [f"cannot be read: {error}"]) from error


async def _issue(session: Session, *, tenant_id: str, name: str) -> str:
    return await keys.issue(
        session,
        tenant_id=tenant_id,
        name=name,
        prefix=secrets.token_hex(keys.PREFIX_HEX // 2),
        secret=secrets.token_urlsafe(32),
    )


def _run(database_url: str, work: Callable[[Session], Awaitable[T]]) -> T:
    async def run() -> T:
        database = Database(database_url, pool=1, name="waybill-cli")
        try:
            async with database.transaction() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(run())
