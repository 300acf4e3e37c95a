"""The private servers for real: as whoever runs the tests, and as root both ways around root's own name."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
import redis.asyncio
from kombu.connection import Connection
from sqlalchemy import create_engine, text

from router_service.embedded import privileges
from router_service.embedded.postgres import EmbeddedPostgres
from router_service.embedded.privileges import Way
from router_service.embedded.process import alive, wait_until
from router_service.embedded.servers import Servers
from router_service.embedded.valkey import EmbeddedValkey
from router_service.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator

AWKWARD = "p@ss:w/rd#'%20"
ORPHAN_MAKER = """
import os, sys, threading
from pathlib import Path
from router_service.embedded.servers import Servers
def start():
    servers = Servers(Path(sys.argv[1]), durable=False).__enter__()
    print(servers.postgres.pid, servers.valkey.pid, flush=True)
    os._exit(0)
thread = threading.Thread(target=start)  # off the main thread nothing is tethered: both servers stay
thread.start()
thread.join()
"""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with Servers(tmp_path_factory.mktemp("servers"), durable=False) as running:
        yield running


def count_rows(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def ended(server: EmbeddedPostgres | EmbeddedValkey) -> bool:
    return server.poll() is not None


def connect(url: str, **options: object) -> Connection:
    return Connection(url, transport_options=options)


def keep_a_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (id int)")
        connection.execute("INSERT INTO kept VALUES (1)")


def test_database_url_serves_libpq_and_sqlalchemy(servers: Servers) -> None:
    with psycopg.connect(servers.database_url) as connection:
        row = connection.execute("SELECT current_user::text, current_setting('listen_addresses')").fetchone()
    assert row == ("waybill", "")
    engine = create_engine(servers.database_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as session:
        assert session.execute(text("SELECT current_database()")).scalar_one() == "waybill"
    engine.dispose()


def test_role_of_the_application_makes_databases_and_runs_no_programs(servers: Servers) -> None:
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE copied TEMPLATE template1")
        connection.execute("DROP DATABASE copied WITH (FORCE)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY (SELECT 1) TO PROGRAM 'true'")


def test_database_needs_its_password(servers: Servers) -> None:
    wrong = servers.database_url.replace("waybill:", "waybill:x", 1)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(wrong)


def test_sockets_and_files_are_closed_to_others(servers: Servers) -> None:
    for path in (servers.data_dir, servers.data_dir / "valkey", servers.data_dir / "valkey" / "run"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for name in ("valkey.conf", "users.acl"):
        assert stat.S_IMODE((servers.data_dir / "valkey" / name).stat().st_mode) == 0o600


def test_redis_url_serves_sync_and_asyncio_clients(servers: Servers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        assert client.register_script("return redis.call('INCR', KEYS[1])")(keys=["n"]) == 1
        with client.pubsub() as listener:
            listener.subscribe("channel")
            listener.get_message(timeout=2)
            client.publish("channel", "word")
            message = listener.get_message(timeout=2)
        assert message is not None
        assert message["data"] == b"word"
        assert client.info("server")["tcp_port"] == 0

    async def ping() -> bool:
        async with redis.asyncio.Redis.from_url(servers.redis_url) as other:
            return bool(await other.ping())

    assert asyncio.run(ping())


@pytest.mark.parametrize(
    "command", ["CONFIG GET dir", "FLUSHALL", "FLUSHDB", "SHUTDOWN", "KEYS *", "ACL LIST", "SCRIPT FLUSH", "MONITOR"]
)
def test_application_may_not_touch_the_server(servers: Servers, command: str) -> None:
    with redis.Redis.from_url(servers.redis_url) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(command)


def test_admin_may_wipe(servers: Servers) -> None:
    with redis.Redis.from_url(servers.admin_redis_url) as admin:
        admin.set("a", "b")
        admin.flushall()
        assert admin.dbsize() == 0
        assert admin.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_valkey_needs_its_password(servers: Servers) -> None:
    socket_path = servers.redis_url.partition("@")[2]
    for url in (f"unix://{socket_path}", f"unix://waybill:wrong@{socket_path}", f"unix://admin:wrong@{socket_path}"):
        with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()


def test_broker_url_carries_messages_and_shows_in_flower(servers: Servers) -> None:
    from flower.utils.broker import Broker  # noqa: PLC0415 (brings a web server)

    options = {"ack_emulation": False, "priority_steps": [0]}
    with connect(servers.broker_url, **options) as connection:
        queue = connection.SimpleQueue("model.x")
        queue.put({"job": 1})
        seen = asyncio.run(Broker(servers.broker_url, broker_options=options).queues(["model.x"]))
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
        shown = connection.as_uri()
    assert seen == [{"name": "model.x", "messages": 1}]
    assert message.payload == {"job": 1}
    assert "**" in shown


def test_awkward_passwords_and_long_paths_work(tmp_path: Path) -> None:
    folder = tmp_path / ("deep folder " * 10)
    postgres, valkey = EmbeddedPostgres(folder / "p", AWKWARD, durable=False), EmbeddedValkey(folder / "v", AWKWARD)
    try:
        keep_a_row(postgres.start())
        with redis.Redis.from_url(valkey.start()) as client:
            assert client.ping()
        with connect(valkey.broker_url) as connection:
            connection.ensure_connection(max_retries=1)
    finally:
        valkey.stop()
        postgres.stop()
    assert not list((folder / "v").glob("socket-dir"))


def test_killed_servers_start_again_on_the_same_sockets_postgres_with_its_data(tmp_path: Path) -> None:
    """Kills both with SIGKILL after a commit and a write, and starts them anew. Valkey is empty then, and never half full."""
    with Servers(tmp_path / "kept") as running:
        urls = (running.database_url, running.redis_url)
        keep_a_row(urls[0])
        with redis.Redis.from_url(urls[1]) as client:
            client.set("kept", "1")
        for server in (running.postgres, running.valkey):
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            assert wait_until(partial(ended, server), patience_s=5)
            server.start()
        assert (running.database_url, running.redis_url) == urls
        assert count_rows(urls[0]) == 1
        with redis.Redis.from_url(urls[1]) as client:
            assert client.get("kept") is None


def test_orphans_of_a_dead_owner_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    maker = subprocess.run(
        [sys.executable, "-c", ORPHAN_MAKER, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    orphans = [int(word) for word in maker.stdout.split()]
    assert len(orphans) == 2
    assert all(alive(pid) for pid in orphans)
    with Servers(folder, durable=False) as running:
        keep_a_row(running.database_url)
        assert not any(alive(pid) for pid in orphans)


def test_lock_file_that_names_a_stranger_does_not_stop_a_start(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "p", "secret", durable=False)
    try:
        postgres.start()
        cluster = tmp_path / "p" / "home" / "cluster"
        lock = (cluster / "postmaster.pid").read_text().splitlines()
        postgres.stop()
        (cluster / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lock[1:]]) + "\n")
        keep_a_row(postgres.start())
    finally:
        postgres.stop()


def test_cluster_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "p" / "home" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    postgres = EmbeddedPostgres(tmp_path / "p", "secret", durable=False)
    try:
        keep_a_row(postgres.start())
    finally:
        postgres.stop()


def test_broken_cluster_is_reported_with_the_server_log(tmp_path: Path) -> None:
    (tmp_path / "p" / "home" / "cluster").mkdir(parents=True)
    postgres = EmbeddedPostgres(tmp_path / "p", "secret")
    with pytest.raises(StackError, match="FATAL"):
        postgres.start()
    assert postgres.pid is None


def test_second_owner_of_a_directory_is_refused(servers: Servers) -> None:
    with pytest.raises(StackError, match=f"pid {os.getpid()}"), Servers(servers.data_dir):
        pass


def check_as_nobody(server: EmbeddedPostgres, folder: Path, system: Path) -> None:
    """Skips nothing of the start: a wheel below a private home cannot serve nobody, and must say so."""
    try:
        url = server.start()
        assert server.pid is not None
        assert Path(f"/proc/{server.pid}").stat().st_uid == 65534
        assert count_rows(url) == 1
    finally:
        server.stop()
    home = Path((folder / "location").read_text().strip())
    assert home.is_relative_to(system)
    assert stat.S_IMODE((home / "cluster").stat().st_mode) == 0o700
    assert home.stat().st_uid == 0


if os.geteuid() == 0:  # the ways of root; an ordinary user has none to test

    def test_root_runs_in_a_namespace_first_and_moves_to_nobody_with_its_data(tmp_path: Path) -> None:
        """The same data under both ways: the files are handed over, and moved where nobody can reach them."""
        before = Way.NAMESPACE if privileges.namespace_works() else Way.NOBODY
        folder, system = tmp_path / "private" / "p", Path("/tmp") / f"waybill-test-{os.getpid()}"
        folder.parent.mkdir(mode=0o700)
        first = EmbeddedPostgres(folder, "secret", durable=False, way=before, system_dir=system)
        try:
            keep_a_row(first.start())
            first.stop()
            second = EmbeddedPostgres(folder, "secret", durable=False, way=Way.NOBODY, system_dir=system)
            check_as_nobody(second, folder, system)
            keep_a_row(first.start())
            assert count_rows(first.database_url) == 2
            first.stop()
            assert list(system.iterdir()) == []
        finally:
            first.stop()
            subprocess.run(["rm", "-rf", str(system)], check=True)

    def test_binary_that_nobody_cannot_execute_is_reported(tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        (tmp_path / "postgres").touch(mode=0o755)
        with pytest.raises(StackError, match="WAYBILL_DATABASE_URL"):
            privileges.require_executable(tmp_path / "postgres", Way.NOBODY)
