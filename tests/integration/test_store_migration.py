"""A database of the first schema, with rows, is brought up to date; and code of then may go on beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from alembic import command
from psycopg.rows import dict_row
from sqlalchemy import create_engine

from router_service.store import migrate
from router_service.store.session import driver_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router_service.embedded.servers import Servers

OLD_JOB = (
    "INSERT INTO jobs (id, tenant_id, endpoint, model, lane, tokens_in, priority, created_at, deadline, state, finished_at)"
    " VALUES (gen_random_uuid(), 't', '/', 'alpha', 5, 1, %s, %s, %s, %s, %s)"
)
CAME = "2026-03-01T12:00:00Z"
CAME_S = 1772366400.0
DUE = "2026-03-01T18:00:00Z"


@pytest.fixture
def old_url(servers: Servers) -> Iterator[str]:
    """An empty database at the first revision."""
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE waybill_old")
        url = urlunsplit(urlsplit(servers.database_url)._replace(path="/waybill_old"))
        move(url, "0001")
        yield url
        connection.execute("DROP DATABASE waybill_old")


def move(url: str, revision: str) -> None:
    engine, config = create_engine(driver_url(url)), migrate._config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        act = command.downgrade if revision == "0001" and migrate.pending(url)[0] else command.upgrade
        act(config, revision)
    engine.dispose()


def test_rows_of_the_first_schema_get_their_ranks(old_url: str) -> None:
    with psycopg.connect(old_url, autocommit=True, row_factory=dict_row) as connection:
        for priority, deadline, state, finished in (
            (0, None, "queued", None),
            (2, None, "queued", None),
            (-10, DUE, "queued", None),
            (1, DUE, "failed", CAME),
            (3, DUE, "succeeded", CAME),
        ):
            given = "queued" if state == "succeeded" else state
            connection.execute(OLD_JOB, (priority, CAME, deadline, given, None if given == "queued" else finished))
        connection.execute("UPDATE jobs SET state = 'expired', finished_at = now() WHERE priority = 3")
        migrate.upgrade(old_url)
        rows = connection.execute("SELECT priority, rank, fallback FROM jobs ORDER BY priority").fetchall()
    ranks = {row["priority"]: row["rank"] for row in rows}
    assert ranks == {
        0: CAME_S + 3600,
        2: CAME_S + 3600 - 1800,
        -10: CAME_S + 21600 + 9000,
        1: CAME_S + 21600 - 900,
        3: 0,
    }
    assert {row["fallback"] for row in rows} == {"general"}


def test_what_old_code_accepts_afterwards_is_ranked_by_its_time(old_url: str) -> None:
    migrate.upgrade(old_url)
    with psycopg.connect(old_url, autocommit=True) as connection:
        connection.execute(OLD_JOB, (0, CAME, None, "queued", None))
        (ahead_s,) = connection.execute("SELECT rank - extract(epoch FROM now())::float8 FROM jobs").fetchone() or (0,)
    assert ahead_s == pytest.approx(3600, abs=30)


def test_the_way_back_leads_to_the_first_schema_and_forth_again(old_url: str) -> None:
    migrate.upgrade(old_url)
    move(old_url, "0001")
    assert migrate.pending(old_url) == ("0001", migrate.head())
    migrate.upgrade(old_url)
    assert migrate.pending(old_url)[0] == migrate.head()
