"""A local server that speaks raw bytes: the provider that the tests of an adapter are afraid of."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class HostileServer:
    """Reads each request whole, remembers it, and lets the test answer with whatever it likes."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self.requests: list[bytes] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):  # the client may have had enough
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
            )
            self.requests.append(head + await reader.readexactly(length))
            await self._behave(writer)
            await writer.drain()


@asynccontextmanager
async def hostile(behave: Behaviour) -> AsyncIterator[HostileServer]:
    server = HostileServer(behave)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, backlog=1000, limit=2**20)
    host, port = listener.sockets[0].getsockname()
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        listener.close()
        await listener.wait_closed()


def reply(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
