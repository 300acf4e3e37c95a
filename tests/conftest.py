"""The servers of the tests' own: one Postgres and one Valkey per xdist worker, a database per test."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
import redis
from pydantic import SecretStr

from router_service.api.app import make_app
from router_service.capacity.connection import connect
from router_service.capacity.limiter import Limiter
from router_service.embedded import directory
from router_service.embedded.servers import Servers
from router_service.settings import Settings
from router_service.store import bootstrap, catalogs, migrate
from router_service.store.session import Database
from tests.support.catalogs import document
from tests.support.steps import TENANT, Sql, Steps
from tests.support.workers import Workers
from workers.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from fastapi import FastAPI

    from router_service.catalog.models import Catalog
    from workers.providers.base import Adapter

    OpenWorkers = Callable[..., Awaitable[Workers]]

TEMPLATE = "waybill_template"
PREFIX = "waybill-tests-"
YOUNG_S = 60.0
MEMORY = Path("/dev/shm")
ROOMY_BYTES = 2_000_000_000


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with _temporary_directory() as folder, Servers(folder, durable=False) as running:
        yield running


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    """A short path, since it will hold sockets. Postgres may have moved its part to where `nobody` can reach it."""
    parent = MEMORY if _is_roomy(MEMORY) else Path(tempfile.gettempdir())
    for left in parent.glob(f"{PREFIX}*"):
        _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    location = folder / "postgres" / "location"
    if location.exists():
        shutil.rmtree(location.read_text().strip(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    """A run that was killed leaves its directory; its servers ended with it. A young one may be about to be owned."""
    with suppress(OSError):
        if time.time() - folder.stat().st_mtime > YOUNG_S and directory.holder(folder) is None:
            _remove(folder)


def _is_roomy(folder: Path) -> bool:
    """A database per test is a thousand small files: in memory that takes a twentieth of the time. Containers keep it small."""
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > ROOMY_BYTES


@pytest.fixture(scope="session")
def _template(servers: Servers) -> str:
    """A database with the whole schema, of which every test gets a copy."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}")
    migrate.upgrade(_with_database(servers.database_url, TEMPLATE))
    return TEMPLATE


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def database_url(servers: Servers, _template: str, _numbers: Iterator[int]) -> Iterator[str]:
    name = f"waybill_test_{next(_numbers)}"
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_template} STRATEGY file_copy")
        yield _with_database(servers.database_url, name)
        _drop(connection, name)


def _drop(connection: psycopg.Connection[Any], name: str) -> None:
    """FORCE is refused while an autovacuum worker, who is not ours to end, looks at the database; a plain DROP ends it."""
    try:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    except psycopg.errors.InsufficientPrivilege:
        connection.execute(f"DROP DATABASE {name}")


def _with_database(database_url: str, name: str) -> str:
    return urlunsplit(urlsplit(database_url)._replace(path=f"/{name}"))


@pytest.fixture
def admin_redis_url(servers: Servers) -> str:
    """An empty Redis, as the user who may empty it again."""
    with redis.Redis.from_url(servers.admin_redis_url) as admin:
        admin.flushall()
    return servers.admin_redis_url


@pytest.fixture
def redis_url(servers: Servers, admin_redis_url: str) -> str:
    return servers.redis_url


@pytest.fixture
def broker_url(servers: Servers, admin_redis_url: str) -> str:
    return servers.broker_url


@pytest.fixture
def admin_redis(admin_redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(admin_redis_url) as admin:
        yield admin


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, pool=5, name="waybill-tests")
    yield database
    await database.close()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[Sql]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        yield Sql(connection)


@pytest.fixture
def steps(database: Database) -> Steps:
    return Steps(database)


@pytest.fixture
async def shut_limiter(redis_url: str) -> AsyncIterator[Limiter]:
    """As Redis is after it lost its state."""
    connection = connect(redis_url, name="waybill-tests")
    yield Limiter(connection)
    await connection.aclose()


@pytest.fixture
async def limiter(shut_limiter: Limiter) -> Limiter:
    await shut_limiter.rebuild([], [])
    return shut_limiter


@pytest.fixture
def settings(
    database_url: str, redis_url: str, broker_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Settings:
    for name in os.environ:
        if name.startswith("WAYBILL_"):
            monkeypatch.delenv(name)
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        broker_url=SecretStr(broker_url),
        data_dir=tmp_path,
        drain_s=0.0,
    )


@pytest.fixture
async def catalog(database: Database) -> Catalog:
    """The models of `tests.support.catalogs`, in force."""
    return await publish(database, document())


async def publish(database: Database, wanted: Mapping[str, Any]) -> Catalog:
    async with database.transaction() as session:
        return await catalogs.publish(session, wanted, source="the test's catalog")


@pytest.fixture
async def runtime(settings: Settings, catalog: Catalog, limiter: Limiter) -> AsyncIterator[Runtime]:
    """What a worker holds, without a worker's loops: the test calls the steps."""
    runtime = Runtime(settings, role="test", name="test-1")
    await runtime.open()
    yield runtime
    await runtime.close()


@pytest.fixture
async def api_key(database: Database) -> str:
    return await issue_key(database, tenant=TENANT)


async def issue_key(database: Database, *, tenant: str) -> str:
    async with database.transaction() as session:
        return await bootstrap._issue(session, tenant_id=tenant, name=secrets.token_hex(2))


@pytest.fixture
async def app(settings: Settings, catalog: Catalog) -> AsyncIterator[FastAPI]:
    async with running(settings) as app:
        yield app


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[FastAPI]:
    """The application between its start and its end, with the catalog in force read."""
    app = make_app(settings)
    async with app.router.lifespan_context(app):
        await app.state.waybill.refresh_catalog()
        yield app


@pytest.fixture
async def api(app: FastAPI, api_key: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app, key=api_key) as client:
        yield client


def client_of(app: FastAPI, *, key: str | None) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://waybill", headers=headers)


@pytest.fixture
async def open_workers(
    settings: Settings, database: Database, limiter: Limiter, admin_redis: redis.Redis
) -> AsyncIterator[OpenWorkers]:
    """Every worker in this process over a catalog of these entries; closed after the test."""
    async with AsyncExitStack() as exits:

        async def open_them(
            *entries: dict[str, Any], adapter: Adapter | None = None, **router_settings: Any
        ) -> Workers:
            await publish(database, document(*entries, **router_settings))
            runtime = Runtime(settings, role="test", name="test-1")
            await runtime.open()
            exits.push_async_callback(runtime.close)
            workers = Workers(runtime, admin_redis, adapter=adapter)
            exits.push_async_callback(workers.close)
            return workers

        yield open_them
