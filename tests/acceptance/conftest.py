"""The stack of the acceptance tests, beside servers of strangers on the ports of Postgres and Redis."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.stacks import RunningStack
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Iterator

POSTGRES_PORT, REDIS_PORT = 5432, 6379


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """Somebody who listens on a port; `ours` is None where it was somebody else before the test came."""

    port: int
    ours: socket.socket | None

    def callers(self) -> int:
        """How many connected since the last look, where that can be known."""
        count = 0
        if self.ours is not None:
            self.ours.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    self.ours.accept()[0].close()
                    count += 1
        return count


@pytest.fixture(scope="package")
def strangers() -> Iterator[list[Stranger]]:
    """Plain sockets that answer nothing, on 5432 and 6379 where these are free."""
    with ExitStack() as exits:
        found = []
        for port in (POSTGRES_PORT, REDIS_PORT):
            try:
                ours = exits.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                found.append(Stranger(port=port, ours=None))
            else:
                found.append(Stranger(port=port, ours=ours))
        yield found


@pytest.fixture(scope="package")
def stack(strangers: list[Stranger]) -> Iterator[RunningStack]:
    with RunningStack(
        entry("fast", model="simulated/fast", params={"max_parallel_requests": 200}, cost=1e-6),
        entry("slow", model="simulated/slow", cost=1e-6, router={"simulated": {"latency_ms": 2000}}),
        entry("local", model="local/lead", cost=1e-5),
    ) as running:
        yield running
