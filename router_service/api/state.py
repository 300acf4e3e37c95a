"""What the API process holds, and how a request gets at it."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from router_service.api.turns import Turns
from router_service.capacity.connection import connect, end_loops
from router_service.capacity.doorbell import Doorbell
from router_service.capacity.limiter import Limiter
from router_service.capacity.presence import Presence
from router_service.capacity.queues import RedisQueueLengths, redis_url_of
from router_service.capacity.tallies import Tallies
from router_service.errors import AuthenticationError, UnavailableError
from router_service.jobs.ids import RANDOM_BYTES, new_id
from router_service.routing.methods import load_methods
from router_service.store import catalogs, keys
from router_service.store.keys import Principal
from router_service.store.session import Database
from router_service.telemetry.logs import logger
from router_service.tickets import Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from router_service.capacity.queues import QueueLengths
    from router_service.catalog.models import Catalog
    from router_service.routing.methods import Methods
    from router_service.settings import Settings

log = logger(__name__)
KEY_CACHE_S = 2.0
KEY_CACHE_MOST = 10_000
CATALOG_S = 1.0


@dataclass(slots=True)
class State:
    """Connections and what is remembered for a moment. A revoked key is refused after KEY_CACHE_S at the latest."""

    settings: Settings
    database: Database
    limiter: Limiter
    presence: Presence
    tallies: Tallies
    doorbell: Doorbell
    queue_lengths: QueueLengths | None
    methods: Methods
    catalog: Catalog | None = None
    catalog_version: int = 0
    principals: dict[bytes, tuple[float, Principal]] = field(default_factory=dict)
    rung: asyncio.Event = field(default_factory=asyncio.Event)
    turns: Turns = field(default_factory=Turns)

    async def refresh_catalog(self) -> None:
        async with self.database.transaction() as session:
            newer = await catalogs.newer_than(session, self.catalog_version)
        if newer is not None:
            self.catalog_version, self.catalog = newer

    def offered(self) -> Catalog:
        """The catalog in force. Raises UnavailableError before one was published."""
        if self.catalog is None:
            raise UnavailableError(
                "catalog", "no catalog is in force yet; `waybill reload --config FILE` publishes one"
            )
        return self.catalog

    def ring(self) -> None:
        """Have the router woken. Nobody waits for that: what was accepted is durable, with Redis or without."""
        self.rung.set()

    async def authenticate(self, key: str) -> Principal:
        """Raises AuthenticationError. A key that was right is remembered for a moment, by its digest."""
        digest, now = keys.digest(key), time.monotonic()
        known = self.principals.get(digest)
        if known is not None and now - known[0] < KEY_CACHE_S:
            return known[1]
        async with self.database.transaction() as session:
            principal = await keys.authenticate(session, key)
        if principal is None:
            self.principals.pop(digest, None)
            raise AuthenticationError("this API key is not known, or was revoked")
        if len(self.principals) >= KEY_CACHE_MOST:
            self.principals.clear()
        self.principals[digest] = (now, principal)
        return principal


@asynccontextmanager
async def open_state(settings: Settings) -> AsyncIterator[State]:
    """Connect lazily: the API starts, and says so in /readyz, while a dependency is still down."""
    redis = connect(settings.redis_url.get_secret_value(), name="waybill-api")
    publisher = Publisher(settings.broker)
    broker_redis = redis_url_of(settings.broker)
    state = State(
        settings=settings,
        database=Database(settings.database_url.get_secret_value(), pool=10, name="waybill-api"),
        limiter=Limiter(redis),
        presence=Presence(redis),
        tallies=Tallies(redis),
        doorbell=Doorbell(redis, publisher),
        queue_lengths=RedisQueueLengths(broker_redis) if broker_redis else None,
        methods=load_methods(),
    )
    loops = [asyncio.create_task(_follow(state)), asyncio.create_task(_ring(state))]
    try:
        yield state
    finally:
        await end_loops(loops)
        if state.queue_lengths is not None:
            await state.queue_lengths.close()
        await publisher.close()
        await redis.aclose()
        await state.database.close()


async def _follow(state: State) -> None:
    while True:
        try:
            await state.refresh_catalog()
        except UnavailableError as error:
            log.warning("the catalog could not be read", error=str(error))
        except Exception:  # the loop of this process
            log.exception("the catalog could not be read")
        await asyncio.sleep(CATALOG_S)


async def _ring(state: State) -> None:
    """Rings that come while one is under way are one. Where Redis is down the router's tick finds the work later."""
    while True:
        await state.rung.wait()
        state.rung.clear()
        try:
            await state.doorbell.ring()
        except UnavailableError as error:
            log.warning("the doorbell is out of order; the router's tick replaces it", error=str(error))


def make_id() -> UUID:
    return new_id(now_ms=time.time_ns() // 1_000_000, random=os.urandom(RANDOM_BYTES))


def state_of(request: Request) -> State:
    return cast("State", request.app.state.waybill)


async def caller(request: Request) -> Principal:
    """Who is asking. `Authorization: Bearer KEY`, the way OpenAI's clients send it. Raises AuthenticationError."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise AuthenticationError("send your key as `Authorization: Bearer wb_...`")
    return await state_of(request).authenticate(key.strip())


Here = Annotated[State, Depends(state_of)]
Caller = Annotated[Principal, Depends(caller)]
