"""What every worker process holds: connections, the catalog in force, and a sign of life."""

from __future__ import annotations

import asyncio
import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_service.capacity import freed
from router_service.capacity.connection import connect, end_loops, unavailable
from router_service.capacity.doorbell import Doorbell
from router_service.capacity.fair import Fair
from router_service.capacity.limiter import Limiter
from router_service.capacity.presence import Presence
from router_service.capacity.tallies import Tallies
from router_service.catalog.load import build_catalog, parse_document, secrets
from router_service.errors import CatalogError, UnavailableError
from router_service.store import catalogs
from router_service.store.bootstrap import read_catalog_file
from router_service.store.session import Database
from router_service.telemetry.logs import logger
from router_service.tickets import Publisher
from workers.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from router_service.catalog.models import Catalog
    from router_service.settings import Settings

log = logger(__name__)
RING_AGAIN_S = 0.02
NO_HURRY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The catalog in force, its version, and the keys that this machine has for it."""

    version: int
    catalog: Catalog
    keys: dict[str, str]


class Runtime:
    """Opened inside the process's event loop, closed when it stops. `name` is unique among live workers."""

    def __init__(self, settings: Settings, *, role: str, name: str) -> None:
        self.settings = settings
        self.role = role
        self.name = name
        self.database: Database
        self.limiter: Limiter
        self.tallies: Tallies
        self.fair: Fair
        self.doorbell: Doorbell
        self.publisher: Publisher
        self.offer: Offer
        self._presence: Presence
        self._loops: list[asyncio.Task[None]] = []
        self._followers: list[Callable[[Catalog], None]] = []
        self._rings: Batcher[None, None] = Batcher(self._ring)
        self._ring_at, self._rung_at = math.inf, 0.0
        self._ring_moved = asyncio.Event()

    async def open(self) -> None:
        """Connect, and wait for a catalog. Raises UnavailableError where the database cannot be reached."""
        settings = self.settings
        self.database = Database(settings.database_url.get_secret_value(), name=f"waybill-{self.role}")
        self._redis = connect(settings.redis_url.get_secret_value(), name=f"waybill-{self.role}")
        self._presence = Presence(self._redis)
        self.limiter = Limiter(self._redis)
        self.tallies = Tallies(self._redis)
        self.fair = Fair(self._redis)
        self.publisher = Publisher(settings.broker)
        self.doorbell = Doorbell(self._redis, self.publisher)
        while (offer := await self._newer_offer(0)) is None:
            log.warning("no catalog is in force yet; `waybill reload --config FILE` publishes one")
            await asyncio.sleep(settings.tick_s)
        self.offer = offer
        self.every(1.0, self._tell, name="presence")
        self.every(0.0, self._ring_when_due, name="ring")
        self.every(1.0, self._follow_catalog, name="catalog")

    async def close(self) -> None:
        await end_loops(self._loops)
        try:
            await self.tallies.flush()
            with unavailable():
                await self._presence.leave(role=self.role, name=self.name)
        except UnavailableError as error:
            log.info("left without saying so", error=str(error))
        await self.publisher.close()
        await self._redis.aclose()
        await self.database.close()

    def every(self, interval_s: float, step: Callable[[], Awaitable[object]], *, name: str) -> None:
        """Run `step` again and again, `interval_s` after its end, until the process closes. An error is logged, not fatal."""
        self._loops.append(asyncio.create_task(self._repeat(interval_s, step, name), name=name))

    def follow(self, follower: Callable[[Catalog], None]) -> None:
        """Call `follower` with the catalog in force every second, changed or not: what it does must be safe to repeat."""
        self._followers.append(follower)

    async def ring(self) -> None:
        """Wake the router; rings at the same time are one. Where Redis is down the router's tick does it later."""
        await self._rings.submit(None)

    def ring_soon(self, *, hurry: bool) -> None:
        """Wake the router without waiting for it: at most once in RING_AGAIN_S, or in NO_HURRY_S where there is work enough."""
        moment = max(self._rung_at + RING_AGAIN_S, time.monotonic() + (0.0 if hurry else NO_HURRY_S))
        if moment < self._ring_at:
            self._ring_at = moment
            self._ring_moved.set()

    async def listen(self, heard: Callable[[str], None]) -> None:
        """Hear of scopes in which capacity came free, without end. Raises UnavailableError where Redis is lost."""
        await freed.listen(self._redis, heard)

    async def _ring_when_due(self) -> None:
        self._ring_moved.clear()
        left_s = self._ring_at - time.monotonic()
        if left_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left_s == math.inf else left_s):
                    await self._ring_moved.wait()
            return
        self._ring_at, self._rung_at = math.inf, time.monotonic()
        await self._ring([None])

    async def _ring(self, rings: Sequence[None]) -> Sequence[None]:
        try:
            await self.doorbell.ring()
        except UnavailableError as error:
            log.info("the doorbell is out of order; the router's tick replaces it", error=str(error))
        return rings

    async def _repeat(self, interval_s: float, step: Callable[[], Awaitable[object]], name: str) -> None:
        while True:
            try:
                await step()
            except UnavailableError as error:
                log.warning("waiting for a dependency", loop=name, dependency=error.dependency, error=str(error))
            except Exception:
                log.exception("a loop's step failed; it goes on", loop=name)
            await asyncio.sleep(interval_s)

    async def _tell(self) -> None:
        with unavailable():
            await self._presence.tell(role=self.role, name=self.name)
        await self.tallies.flush()

    async def _follow_catalog(self) -> None:
        offer = await self._newer_offer(self.offer.version)
        if offer is not None:
            self.offer = offer
            models = len(offer.catalog.models)
            log.info("catalog in force", version=offer.version, hash=offer.catalog.hash, models=models)
        for follower in self._followers:
            follower(self.offer.catalog)

    async def _newer_offer(self, version: int) -> Offer | None:
        async with self.database.transaction() as session:
            newer = await catalogs.newer_than(session, version)
        if newer is None:
            return None
        keys, missing = secrets(newer[1], local=self._local_catalog(), environ=os.environ)
        if missing and self.role == "provider":
            log.warning(
                "this worker has no key for some models; the jobs of theirs that it takes go to their dead letters",
                models=missing,
            )
        return Offer(version=newer[0], catalog=newer[1], keys=keys)

    def _local_catalog(self) -> Catalog | None:
        """This machine's own file: the only place of keys that are written out in it."""
        path = self.settings.config
        if path is None:
            return None
        try:
            return build_catalog(parse_document(read_catalog_file(path), source=str(path)), source=str(path))
        except CatalogError as error:
            log.warning("this machine's catalog file is not usable; keys in it are not known here", error=str(error))
            return None
