"""The lines of a file that a quote rests on: few enough, small enough, and as they are stored until the answer is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from router_service.jobs.spec import RoutableJob
from router_service.routing.insight import NOTHING
from router_service.routing.replay import inputs_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router_service.store.jobs import NewJob

MOST_LINES = 2000
MOST_BYTES = 32_000_000


class Sample:
    """Lines of a file, evenly spread, at most so many and of so many bytes: every one, then every second, every fourth, ...

    Bytes are those of the UTF-8 JSON that is stored: a character has up to four.
    """

    def __init__(self, *, most: int = MOST_LINES, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._every, self._seen, self._bytes = 1, 0, 0
        self._lines: list[bytes] = []

    def add(self, jobs: Iterable[NewJob]) -> None:
        """Those that come next in the file."""
        for job in jobs:
            if self._seen % self._every == 0:
                self._lines.append(_stored(job))
                self._bytes += len(self._lines[-1])
            self._seen += 1
            while len(self._lines) > self._most or (self._bytes > self._most_bytes and len(self._lines) > 1):
                self._lines = self._lines[::2]
                self._every *= 2
                self._bytes = sum(len(each) for each in self._lines)

    def as_json(self) -> str:
        """An array of the lines, each with the job's `id`, `inputs` and `body`."""
        return "[" + b",".join(self._lines).decode() + "]"


def _stored(job: NewJob) -> bytes:
    routable = RoutableJob(id=job.id, epoch=0, spec=job.spec, tenant_id=job.tenant_id)
    line = {"id": job.id.hex, "inputs": inputs_of(routable, NOTHING), "body": job.body}
    return json.dumps(line, ensure_ascii=False).encode()
