"""Unit tests run with sockets off: nothing reaches beyond this machine's own processes."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest


@pytest.fixture(autouse=True)
def _sockets_off(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refuse(address: object) -> NoReturn:
        raise AssertionError(f"a unit test connects to {address!r}; unit tests run with sockets off")

    def guarded(self: socket.socket, address: Any) -> None:
        return connect(self, address) if self.family == socket.AF_UNIX else refuse(address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        return connect_ex(self, address) if self.family == socket.AF_UNIX else refuse(address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)
