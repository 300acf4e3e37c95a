"""Who may have the heavy questions answered now: few at a time in a process, and of a tenant one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from router_service.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 2
AGAIN_S = 5


class Turns:
    """Nobody waits here: who comes in vain is told when to come again, and holds neither memory nor a connection until then."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._taken: set[str] = set()

    @contextmanager
    def turn(self, tenant_id: str) -> Iterator[None]:
        """Raises BusyError where it is not the tenant's turn."""
        if tenant_id in self._taken:
            raise BusyError("your last question about decisions is still being answered", retry_after_s=AGAIN_S)
        if len(self._taken) >= self._most:
            raise BusyError("others' questions about decisions are being answered", retry_after_s=AGAIN_S)
        self._taken.add(tenant_id)
        try:
            yield
        finally:
            self._taken.remove(tenant_id)
