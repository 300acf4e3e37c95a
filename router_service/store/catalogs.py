"""The catalogs that were ever in force; the newest rules, on every machine."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from router_service.catalog.load import build_catalog, content_hash, without_secrets
from router_service.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from router_service.catalog.models import Catalog
    from router_service.store.session import Session


async def publish(session: Session, document: Mapping[str, Any], *, source: str) -> Catalog:
    """Check a document and put it in force, without its secrets. Raises CatalogError and changes nothing where it is wrong."""
    catalog = build_catalog(document, source=source)
    await session.rows(
        "catalog_publish",
        hash=content_hash(document),
        document=json.dumps(without_secrets(document), default=str),
    )
    return catalog


async def of_hashes(session: Session, hashes: Collection[str]) -> dict[str, str]:
    """What catalogs said that were once in force, as JSON, by its hash."""
    return {row.hash: row.document for row in await session.rows("catalogs_by_hash", hashes=sorted(hashes))}


def restored(text: str, *, name: str) -> Catalog | None:
    """A catalog that was once in force, of its JSON; None where it cannot be read any more. `name`: its hash."""
    with suppress(CatalogError):
        return build_catalog(json.loads(text), source=f"catalog {name}")
    return None


async def newer_than(session: Session, version: int) -> tuple[int, Catalog] | None:
    """The catalog in force and its version, where that is newer than `version` (0: any)."""
    row = await session.row("catalog_newest", known=version)
    if row is None:
        return None
    return row.version, build_catalog(row.document, source=f"catalog version {row.version}")
