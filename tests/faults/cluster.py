"""Every role as a process of its own, each with its own links to the servers, kept up by this test: the ground for faults.

One thread does all: whoever waits calls `tend` again and again (`until` does), and what has died is started anew.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx
import redis

from router_service.embedded import preparation
from router_service.embedded.directory import write_private
from router_service.embedded.ports import LOOPBACK
from router_service.embedded.servers import Servers
from router_service.embedded.supervisor import Supervisor
from router_service.store import bootstrap
from tests.faults.addresses import path_of, socket_of, with_folder, with_path
from tests.faults.oracle import running_oracle
from tests.faults.roles import Role, Zygote
from tests.support.catalogs import document
from tests.support.customer import Customer
from tests.support.processes import POLL_S, TemporaryRoot, clean_environment, descendants, free_port, send
from tests.support.proxy import Link, Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from router_service.evaluation.allowance import Offer
    from tests.support.batches import Json

ROLE_READY = "router,provider,dead-letter,janitor"
QUICK_RESTART_S = 0.3
START_S = 60.0
STOP_S = 10.0
SERVERS = ("postgres", "valkey")
TENANTS = ("acme", "globex")
SHORT = {"WAYBILL_LEASE_S": "3", "WAYBILL_ROUTED_STALE_S": "4", "WAYBILL_TICK_S": "0.3", "WAYBILL_DRAIN_S": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many processes of each role; there is always one API."""

    routers: int = 1
    providers: int = 1
    dead_letters: int = 1
    janitors: int = 1

    def names(self) -> dict[str, tuple[str, ...]]:
        """Each process by its name, with the words of its role."""
        counts = {
            "router": self.routers,
            "provider": self.providers,
            "dead-letter": self.dead_letters,
            "janitor": self.janitors,
        }
        return {f"{role}-{number}": (role,) for role, count in counts.items() for number in range(1, count + 1)}


class Cluster(Customer):
    """Servers, oracle and roles between their start and their end.

    `entries` make the catalog, `offers` the models of the oracle; an entry reaches it as `ORACLE/v1`. `settings` are
    WAYBILL_ variables over the short ones.
    """

    ORACLE = "http://oracle.invalid"

    def __init__(
        self,
        *entries: Json,
        offers: Mapping[str, Offer],
        shape: Shape | None = None,
        router_settings: Json | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._document = document(*entries, **(router_settings or {}))
        self._offers = offers
        self._shape = shape or Shape()
        self._settings = {**SHORT, **(settings or {})}
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self.root = exits.enter_context(TemporaryRoot())
            self.logs = self.root / "logs"
            self.logs.mkdir()
            self.servers = exits.enter_context(Servers(self.root / "data"))
            self.network = exits.enter_context(Network())
            self.oracle = exits.enter_context(running_oracle(self._offers, root=self.root))
            self._prepare()
            env = clean_environment(self.root) | {"PYTHONWARNINGS": "ignore"}
            self._zygote = exits.enter_context(Zygote(env=env, log=self.logs / "zygote.log"))
            self.port = free_port()
            self.links: dict[str, dict[str, Link]] = {}
            self.roles = self._make_roles(env)
            self._keepers = [Supervisor(services, uniform=_soon) for services in self._services()]
            self._keepers[1].start()
            exits.callback(self._end_roles)
            self.http = exits.enter_context(self.client(TENANTS[0]))
            self.wait_ready()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    # --- keeping it up

    def tend(self) -> None:
        for keeper in self._keepers:
            keeper.tend()

    def until(self, fact: Callable[[], bool], *, patience_s: float, what: str, every_s: float = POLL_S) -> None:
        """Poll a fact with a bound, and start anew what has died meanwhile."""
        deadline = time.monotonic() + patience_s
        while not fact():
            assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
            self.tend()
            time.sleep(every_s)

    def wait_ready(self, *, patience_s: float = START_S) -> None:
        self.until(lambda: self.readiness()[0] == 200, patience_s=patience_s, what="the cluster is ready", every_s=0.1)

    def readiness(self) -> tuple[int, Json]:
        try:
            answer = self.http.get("/readyz", timeout=3)
        except httpx.HTTPError:
            return 0, {}
        return answer.status_code, answer.json()["checks"]

    # --- faults

    def kill(self, name: str) -> None:
        """SIGKILL to a role or a server; the supervisor finds it."""
        os.kill(self.pid(name), signal.SIGKILL)

    def pid(self, name: str) -> int:
        pid = self.servers.postgres.pid if name == "postgres" else self.servers.valkey.pid
        if name not in SERVERS:
            pid = self.roles[name].pid
        assert pid is not None, f"{name} does not run"
        return pid

    def freeze(self, name: str) -> list[int]:
        """SIGSTOP to it and to all that it has started (Postgres answers from there). What `thaw` takes."""
        pid = self.pid(name)
        send([pid], signal.SIGSTOP)  # first, so that it starts nothing more
        below = [child for child, _born in descendants(pid)]
        send(below, signal.SIGSTOP)
        return [pid, *below]

    def thaw(self, pids: Sequence[int]) -> None:
        send(pids, signal.SIGCONT)

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        pids = [pid for name in names for pid in self.freeze(name)]
        try:
            yield
        finally:
            self.thaw(pids)

    def replace(self, name: str, **variables: str) -> int:
        """Kill a role and start it with these variables, at once. How long its log was before."""
        role = self.roles[name]
        # A start that is due already would come beside ours.
        self.until(lambda: name in self._keepers[1].pids, patience_s=START_S, what=f"{name} runs")
        role.send(signal.SIGKILL)
        while role.poll() is None:
            time.sleep(0.002)
        said = len(role.said().encode())
        role.start(**variables)
        return said

    def flush_redis(self) -> None:
        with self.admin_redis() as admin:
            admin.flushall()

    # --- looking at it

    @property
    def database_url(self) -> str:
        return self.servers.database_url

    def admin_redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.servers.admin_redis_url, socket_timeout=5)

    def client(self, tenant: str, *, timeout_s: float = 5.0) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.keys[tenant]}"}
        return httpx.Client(
            base_url=f"http://{LOOPBACK}:{self.port}", headers=headers, timeout=timeout_s, trust_env=False
        )

    # --- its parts

    def _prepare(self) -> None:
        text = json.dumps(self._document).replace(self.ORACLE, self.oracle.url)
        self.catalog = self.root / "catalog.yaml"
        write_private(self.catalog, text)
        preparation.prepare(self.database_url, data_dir=self.root / "data", config=self.catalog)
        self.keys = {
            tenant: bootstrap.create_key(self.database_url, tenant=tenant, name=secrets.token_hex(2))
            for tenant in TENANTS
        }

    def _make_roles(self, env: Mapping[str, str]) -> dict[str, Role]:
        api = ("api", "--host", LOOPBACK, "--port", str(self.port))
        named = {"api": api, **self._shape.names()}
        return {
            name: Role(
                name, words, zygote=self._zygote, env={**env, **self._environment(name)}, log=self.logs / f"{name}.log"
            )
            for name, words in named.items()
        }

    def _environment(self, name: str) -> dict[str, str]:
        """What the process is told: its own links instead of the servers."""
        folder = self.root / "links" / name
        folder.mkdir(parents=True)
        postgres, valkey = socket_of(self.servers.database_url), path_of(self.servers.redis_url)
        self.links[name] = {
            "postgres": self.network.link(listen=folder / postgres.name, to=postgres),
            "redis": self.network.link(listen=folder / "redis", to=valkey),
            "broker": self.network.link(listen=folder / "broker", to=valkey),
        }
        return self._settings | {
            "WAYBILL_DATABASE_URL": with_folder(self.servers.database_url, folder),
            "WAYBILL_REDIS_URL": with_path(self.servers.redis_url, folder / "redis"),
            "WAYBILL_BROKER_URL": with_path(self.servers.broker_url, folder / "broker"),
            "WAYBILL_CONFIG": str(self.catalog),
            "WAYBILL_DATA_DIR": str(self.root / "data"),
            "WAYBILL_READINESS_ROLES": ROLE_READY,
        }

    def _services(self) -> tuple[list[Any], list[Any]]:
        return [self.servers.postgres, self.servers.valkey], list(self.roles.values())

    def _end_roles(self) -> None:
        for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
            for role in self.roles.values():
                role.send(signal.SIGCONT)
                role.send(number)
            deadline = time.monotonic() + patience_s
            while any(role.poll() is None for role in self.roles.values()) and time.monotonic() < deadline:
                time.sleep(POLL_S)


def _soon(low: float, high: float) -> float:
    """A restart after a moment, where production would wait longer and longer."""
    return min(high, QUICK_RESTART_S)
