"""A network between our processes and their servers that can be cut, swallow everything, or be slow.

One thread with one event loop carries all links. A link listens on a socket of its own (Unix, or a loopback port) and
forwards to one server; the process that is given its address has the server to itself, as far as faults go.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

T = TypeVar("T")
Address = Path | tuple[str, int]  # a Unix socket, or a host with a port (0: any)
CHUNK = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """Everything passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Open connections are reset, new ones are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackHole:
    """Connections are accepted and stay open, and nothing arrives. What was sent meanwhile arrives when the link is clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """Each piece of at most `drip_bytes` arrives `latency_s` after the one before it."""

    latency_s: float
    drip_bytes: int = CHUNK


Way = Clear | Cut | BlackHole | Slow
CLEAR = Clear()


class Link:
    """One way to one server. Made by `Network.link`; `address` is where it listens."""

    def __init__(self, network: Network, *, listen: Address, to: Address) -> None:
        self.address = listen
        self._network = network
        self._to = to
        self._way: Way = CLEAR
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def way(self) -> Way:
        return self._way

    def behave(self, way: Way) -> None:
        """From now on, for open connections and for new ones. Returns when it is so."""
        self._network.run(self._behave(way))

    async def open(self) -> None:
        await self._behave(CLEAR)

    async def close(self) -> None:
        await self._behave(Cut())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _behave(self, way: Way) -> None:
        self._way = way
        if isinstance(way, Cut):
            await self._refuse()
        elif self._server is None:
            self._server = await self._listen()
        if isinstance(way, BlackHole):
            self._flowing.clear()
        else:
            self._flowing.set()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()
        if isinstance(self.address, Path):
            self.address.unlink(missing_ok=True)
        await asyncio.sleep(0)

    async def _listen(self) -> asyncio.Server:
        if isinstance(self.address, Path):
            self.address.unlink(missing_ok=True)
            return await asyncio.start_unix_server(self._accept, path=self.address)
        server = await asyncio.start_server(self._accept, *self.address)
        self.address = server.sockets[0].getsockname()[:2]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        async with AsyncExitStack() as exits:
            exits.callback(self._tasks.discard, task)
            self._hold(writer, exits)
            await self._flowing.wait()
            with suppress(OSError):
                up_reader, up_writer = await _connect(self._to)
                self._hold(up_writer, exits)
                await self._carry(self._pump(reader, up_writer), self._pump(up_reader, writer))

    def _hold(self, writer: asyncio.StreamWriter, exits: AsyncExitStack) -> None:
        self._ends.add(writer)
        exits.callback(self._ends.discard, writer)
        exits.callback(writer.transport.abort)

    async def _carry(self, *pumps: Coroutine[Any, Any, None]) -> None:
        """Until one direction ends: neither Postgres nor Redis closes one half only."""
        tasks = [asyncio.ensure_future(pump) for pump in pumps]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            await self._flowing.wait()
            step = self._way.drip_bytes if isinstance(self._way, Slow) else len(data)
            for start in range(0, len(data), step):
                if isinstance(self._way, Slow):
                    await asyncio.sleep(self._way.latency_s)
                await self._flowing.wait()
                writer.write(data[start : start + step])
                await writer.drain()


class Network:
    """The thread and its links. What is left open is closed at the end."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._links: list[Link] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links:
            self.run(link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def link(self, *, listen: Address, to: Address) -> Link:
        link = Link(self, listen=listen, to=to)
        self.run(link.open())
        self._links.append(link)
        return link

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)


async def _connect(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(address, Path):
        return await asyncio.open_unix_connection(address)
    return await asyncio.open_connection(*address)
