"""Stored decisions with all that they were taken from, a page at a time: however many are asked for, few are in memory.

JSON is read in a thread, and between two pages no connection is held.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from router_service.routing.history import History
from router_service.routing.snapshot import Snapshot
from router_service.store import catalogs, decisions, plans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from router_service.catalog.models import Catalog
    from router_service.routing.counters import Counters
    from router_service.routing.prices import Prices
    from router_service.store.decisions import Selection, Stored
    from router_service.store.session import Database, Session

LARGEST_PAGE = 100
MOST_COUNTERS = 2000  # of models, in one page: some 8 kB each
T = TypeVar("T")


@dataclass(slots=True)
class _Named:
    """What the decisions of the last page name, by hash. What the next page names too is not read again.

    A catalog is None where it is not stored any more, or cannot be read.
    """

    catalogs: dict[str, Catalog | None] = field(default_factory=dict)
    counters: dict[str, Mapping[str, Counters]] = field(default_factory=dict)
    plans: dict[str, Prices] = field(default_factory=dict)


async def histories(
    database: Database, selection: Selection, *, most: int, models: int, page: int = LARGEST_PAGE
) -> AsyncIterator[History]:
    """Up to `most` decisions, in pages of `page`, or smaller ones where `models` on offer are many."""
    named, size = _Named(), max(1, min(page, MOST_COUNTERS // max(1, models)))
    async for rows in pages(database, selection, most=most, page=size):
        async with database.transaction() as session:
            texts = await _missing(session, rows, named)
        yield await asyncio.to_thread(_read, rows, *texts, named)


async def pages(
    database: Database, selection: Selection, *, most: int, page: int = LARGEST_PAGE
) -> AsyncIterator[Sequence[Stored]]:
    """Up to `most` decisions as they are stored."""
    left, after = most, None
    while left > 0:
        size = min(page, left)
        async with database.transaction() as session:
            rows = await decisions.page(session, selection, after=after, most=size)
        if rows:
            yield rows
        if len(rows) < size:
            return
        left, after = left - size, rows[-1]


async def _missing(
    session: Session, rows: Sequence[Stored], named: _Named
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What the page names and the one before did not: catalogs and counters as JSON; prices of plans are put among the others."""
    hashes = {each.catalog for each in rows}
    snapshots = {each.snapshot for each in rows if each.snapshot is not None}
    planned = {each.plan for each in rows if each.plan is not None}
    named.catalogs = _only(named.catalogs, hashes)
    named.counters = _only(named.counters, snapshots)
    named.plans = _only(named.plans, planned)
    named.plans |= await plans.prices(session, planned - named.plans.keys())
    documents = await catalogs.of_hashes(session, hashes - named.catalogs.keys())
    counters = await decisions.snapshots(session, snapshots - named.counters.keys())
    return documents, counters


def _read(rows: Sequence[Stored], documents: Mapping[str, str], counters: Mapping[str, str], named: _Named) -> History:
    for name, text in documents.items():
        named.catalogs[name] = catalogs.restored(text, name=name)
    for name, text in counters.items():
        named.counters[name] = Snapshot.from_json(json.loads(text)).counters
    return History(
        recorded=[decisions.recorded(each) for each in rows],
        catalogs={name: catalog for name, catalog in named.catalogs.items() if catalog is not None},
        counters=named.counters,
        plans=named.plans,
    )


def _only(known: Mapping[str, T], names: Collection[str]) -> dict[str, T]:
    return {name: value for name, value in known.items() if name in names}
