"""What the workers count, summed in Redis for every process to read: why jobs waited, what was mended, what was thrown away.

Counted in memory and added to one hash every second. The sums go when Redis loses its state, which a reader of counters takes
for a restart (Prometheus' `rate()` does). A worker that is killed takes its last second along; a flush whose answer was lost
is repeated, and may then count twice. They are for watching: what must be exact stands in Postgres.
"""

from __future__ import annotations

import json
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from router_service.capacity.connection import unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

KEY = "waybill:tallies"

Labels: TypeAlias = tuple[tuple[str, str], ...]
Counts: TypeAlias = "Mapping[tuple[str, Labels], float]"


class Tally(StrEnum):
    """What is counted. The members' values are the names in Redis; `LABELS` has the labels of each."""

    CALLS = "calls"  # calls to a provider that came to an end
    THROTTLED = "throttled"  # the provider answered 429
    WAIT_SECONDS = "wait_seconds"  # seconds that jobs waited, by what they waited for
    EXCHANGED = "exchanged"  # a reserved start was missed and reserved anew
    GIVEN_BACK = "given_back"  # jobs that went back from a model's queue to the line in Postgres
    STALE_FINISHES = "stale_finishes"  # answers that came after their job had been given to somebody else
    STALE_TICKETS = "stale_tickets"  # tickets of jobs that had moved on
    DUPLICATE_CALLS = "duplicate_calls"  # calls that were perhaps made twice: their worker fell silent
    RECOVERED = "recovered"  # what the janitor mended


LABELS: Mapping[Tally, tuple[str, ...]] = MappingProxyType(
    {
        Tally.CALLS: ("model",),
        Tally.THROTTLED: ("model",),
        Tally.WAIT_SECONDS: ("model", "reason"),
        Tally.EXCHANGED: ("model",),
        Tally.GIVEN_BACK: ("model", "reason"),
        Tally.STALE_FINISHES: ("model",),
        Tally.STALE_TICKETS: ("model",),
        Tally.DUPLICATE_CALLS: ("model",),
        Tally.RECOVERED: ("what",),
    }
)

RECOVERIES = ("lease", "routed", "dead_letter", "counters")


class Tallies:
    """Counts of this process until the next flush, and the sums of all processes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._counted: dict[tuple[str, Labels], float] = {}

    def add(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Count, in memory. `name` is one of Tally, its labels those of LABELS."""
        key = (name, tuple(sorted(labels.items())))
        self._counted[key] = self._counted.get(key, 0) + amount

    async def flush(self) -> None:
        """Add what was counted to the sums. Raises UnavailableError, and then keeps the counts for the next time."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            with unavailable():
                async with self._redis.pipeline(transaction=True) as pipe:
                    for (name, labels), amount in counted.items():
                        pipe.hincrbyfloat(KEY, _field(name, labels), amount)
                    await pipe.execute()
        except BaseException:
            for key, amount in counted.items():
                self._counted[key] = self._counted.get(key, 0) + amount
            raise

    async def read(self) -> Counts:
        """The sums of all processes since Redis was last empty. Raises UnavailableError."""
        with unavailable():
            fields = await self._redis.hgetall(KEY)
        return {_key(field): float(amount) for field, amount in fields.items()}


def _field(name: str, labels: Labels) -> str:
    return json.dumps([name, *labels], separators=(",", ":"))


def _key(field: bytes | str) -> tuple[str, Labels]:
    name, *labels = json.loads(field)
    return name, tuple((label, value) for label, value in labels)
