from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest

from router_service.errors import CatalogError, SettingsError, StoreError, UnavailableError
from router_service.store import bootstrap, catalogs, keys, migrate
from router_service.store.session import Database
from tests.conftest import issue_key, publish
from tests.support.catalogs import document, entry

if TYPE_CHECKING:
    from pathlib import Path

    from router_service.store.keys import Principal
    from tests.support.steps import Sql

PREFIX = "0123456789ab"


async def authenticate(database: Database, key: str) -> Principal | None:
    async with database.transaction() as session:
        return await keys.authenticate(session, key)


async def test_a_key_says_whose_it_is_and_only_its_digest_is_stored(database: Database, sql: Sql) -> None:
    key = await issue_key(database, tenant="acme")
    principal = await authenticate(database, key)
    assert principal is not None
    assert principal.tenant_id == "acme"
    secret = key.split("_", 2)[2]
    assert secret not in str(await sql.rows("SELECT *, encode(digest, 'escape') FROM api_keys"))


async def test_a_revoked_key_is_nobodys(database: Database) -> None:
    key = await issue_key(database, tenant="acme")
    async with database.transaction() as session:
        assert await keys.revoke(session, prefix=key.split("_")[1])
        assert not await keys.revoke(session, prefix=key.split("_")[1])
    assert await authenticate(database, key) is None


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "wb_",
        "wb__",
        f"wb_{PREFIX}_",
        f"wb_{PREFIX}_wrong",
        f"wb_{PREFIX}_secret ",
        f"wb_{PREFIX}_SECRET",
        f"WB_{PREFIX}_secret",
        f"{PREFIX}_secret",
        "wb_\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00_secret",
        "wb_\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9_secret",
        "wb_\ud800\ud800\ud800\ud800\ud800\ud800\ud800\ud800\ud800\ud800\ud800\ud800_secret",
    ],
)
async def test_a_wrong_key_is_nobodys(database: Database, wrong: str) -> None:
    async with database.transaction() as session:
        await keys.issue(session, tenant_id="acme", name="n", prefix=PREFIX, secret="secret")
    assert await authenticate(database, wrong) is None


async def test_a_prefix_that_is_taken_is_not_issued_again(database: Database) -> None:
    async def issue(secret: str) -> str:
        async with database.transaction() as session:
            return await keys.issue(session, tenant_id="acme", name="n", prefix=PREFIX, secret=secret)

    first = await issue("one_with_underscores")
    with pytest.raises(StoreError, match="23505"):
        await issue("two")
    assert await authenticate(database, first) is not None


async def test_a_list_of_keys_shows_no_digest(database: Database) -> None:
    await issue_key(database, tenant="acme")
    async with database.transaction() as session:
        (listed,) = await keys.listed(session)
    assert listed.keys() == {"prefix", "tenant_id", "name", "created_at", "revoked_at"}


async def test_the_newest_catalog_rules_and_the_older_ones_stay(database: Database, sql: Sql) -> None:
    async with database.transaction() as session:
        assert await catalogs.newer_than(session, 0) is None
    first = await publish(database, document(entry("one")))
    second = await publish(database, document(entry("two")))
    async with database.transaction() as session:
        newest = await catalogs.newer_than(session, 0)
        assert newest is not None
        assert await catalogs.newer_than(session, newest[0]) is None
    assert newest[1].hash == second.hash
    assert [row["hash"] for row in await sql.rows("SELECT hash FROM catalogs ORDER BY version")] == [
        first.hash,
        second.hash,
    ]


async def test_a_wrong_catalog_changes_nothing(database: Database, sql: Sql) -> None:
    with pytest.raises(CatalogError):
        await publish(database, document(entry("auto")))
    assert await sql.rows("SELECT * FROM catalogs") == []


async def test_a_literal_key_never_reaches_the_database(database: Database, sql: Sql) -> None:
    wanted = document(entry("a", model="openai/x", params={"api_key": "sk-canary"}))
    in_force = await publish(database, wanted)
    assert "sk-canary" not in json.dumps(await sql.value("SELECT document FROM catalogs"))
    async with database.transaction() as session:
        newest = await catalogs.newer_than(session, 0)
    assert newest is not None
    assert newest[1].hash == in_force.hash


def test_an_operators_commands_make_one_first_key(database_url: str, tmp_path: Path) -> None:
    assert bootstrap.first_key(database_url)
    assert bootstrap.first_key(database_url) is None
    assert bootstrap.first_key(database_url, force=True)
    assert bootstrap.create_key(database_url, tenant="acme", name="ci")
    listed = bootstrap.list_keys(database_url)
    assert [key["name"] for key in listed] == ["first", "recovered", "ci"]
    assert bootstrap.revoke_key(database_url, listed[0]["prefix"])
    assert bootstrap.publish_catalog(database_url, None)
    file = tmp_path / "catalog.yaml"
    file.write_bytes(b"\xff")
    with pytest.raises(CatalogError, match="cannot be read"):
        bootstrap.publish_catalog(database_url, file)


def test_the_schema_is_up_to_date_and_migrating_again_changes_nothing(database_url: str) -> None:
    before, newest = migrate.pending(database_url)
    assert before == newest
    migrate.upgrade(database_url)
    assert migrate.pending(database_url) == (newest, newest)


@pytest.mark.parametrize("url", ["", "mysql://localhost/x", "postgresql"])
def test_another_kind_of_database_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="WAYBILL_DATABASE_URL"):
        Database(url)


async def test_a_database_that_cannot_be_reached_is_named_as_unavailable(tmp_path: Path) -> None:
    database = Database(f"postgresql://u:p@/db?host={tmp_path}")
    with pytest.raises(UnavailableError) as caught:
        async with database.transaction():
            pass
    assert caught.value.dependency == "postgres"
    await database.close()


async def test_a_connection_that_the_server_cut_is_unavailable_and_the_next_one_works(
    database: Database, database_url: str
) -> None:
    async def broken() -> None:
        async with database.transaction() as session:
            await session.row("ping")
            async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
                await other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'waybill-tests' AND datname = current_database()"
                )
            await session.row("ping")

    with pytest.raises(UnavailableError):
        await broken()
    async with database.transaction() as session:
        assert await session.row("ping") is not None


async def test_what_a_copy_refuses_is_told_without_the_row(database: Database) -> None:
    wanted = "COPY job_inputs (job_id, body) FROM STDIN"
    for row, said in (((UUID(int=1), "a secret\0"), "DataError"), (("a secret", ""), "22P02")):
        with pytest.raises(StoreError, match=said) as refused:
            async with database.transaction() as session:
                await session.copy(wanted, [row])
        assert "secret" not in str(refused.value)
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__
