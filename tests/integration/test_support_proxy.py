"""The network of the fault tests does what it says: else a fault that heals would prove nothing."""

from __future__ import annotations

import socket
import socketserver
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.proxy import CLEAR, BlackHole, Cut, Network, Slow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.proxy import Link

SILENCE_S = 0.1
PATIENCE_S = 5.0


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1000):
            self.request.sendall(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with _Server(("127.0.0.1", 0), _Echo) as echo:
        thread = threading.Thread(target=echo.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield ("127.0.0.1", echo.server_address[1])
        echo.shutdown()
        thread.join()


@pytest.fixture
def link(server: tuple[str, int]) -> Iterator[Link]:
    with tempfile.TemporaryDirectory() as folder, Network() as network:
        yield network.link(listen=Path(folder) / "link", to=server)


def connected(link: Link) -> socket.socket:
    family = socket.AF_UNIX if isinstance(link.address, Path) else socket.AF_INET
    client = socket.socket(family)
    client.settimeout(PATIENCE_S)
    try:
        client.connect(str(link.address) if isinstance(link.address, Path) else link.address)
    except OSError:
        client.close()
        raise
    return client


def is_over(client: socket.socket) -> bool:
    """A Unix socket knows no reset: it reads as its end."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def echo(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    return read(client, len(words))


def read(client: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (piece := client.recv(count - len(found))):
        found += piece
    return found


def test_clear_link_carries_both_ways_over_a_port_too(server: tuple[str, int]) -> None:
    with Network() as network:
        link = network.link(listen=("127.0.0.1", 0), to=server)
        with connected(link) as client:
            assert echo(client, b"a" * 200_000) == b"a" * 200_000


def test_cut_link_resets_what_is_open_and_refuses_until_it_is_clear_again(link: Link) -> None:
    with connected(link) as client:
        assert echo(client, b"before") == b"before"
        link.behave(Cut())
        assert is_over(client)
    with pytest.raises((ConnectionError, FileNotFoundError)):
        connected(link)
    link.behave(CLEAR)
    with connected(link) as client:
        assert echo(client, b"after") == b"after"


def test_black_hole_swallows_until_it_is_clear_and_loses_nothing(link: Link) -> None:
    with connected(link) as client:
        assert echo(client, b"before") == b"before"
        link.behave(BlackHole())
        with connected(link) as newcomer:
            for each in (client, newcomer):
                each.sendall(b"silence")
                each.settimeout(SILENCE_S)
                with pytest.raises(TimeoutError):
                    each.recv(1)
                each.settimeout(PATIENCE_S)
            link.behave(CLEAR)
            assert read(client, 7) == read(newcomer, 7) == b"silence"


def test_slow_link_takes_its_time_for_each_drip(link: Link) -> None:
    with connected(link) as client:
        link.behave(Slow(latency_s=0.02, drip_bytes=2))
        began = time.monotonic()
        assert echo(client, b"12345678") == b"12345678"
        assert time.monotonic() - began >= 4 * 0.02


def test_lost_server_closes_the_connection_of_its_client() -> None:
    with tempfile.TemporaryDirectory() as folder, Network() as network:
        link = network.link(listen=Path(folder) / "link", to=Path(folder) / "nobody")
        with connected(link) as client:
            assert is_over(client)
