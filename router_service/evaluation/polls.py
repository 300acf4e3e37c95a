"""How long a poll takes: `GET` of jobs that wait in line and of batches, at a steady pace, over one connection."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

from router_service.evaluation.interactive import in_ms
from router_service.evaluation.measures import percentile
from router_service.evaluation.stack import ok

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.evaluation.stack import StackClient

EVERY_S = 0.02
MOST_JOBS = 1000  # of one page


def poll(client: StackClient, batches: Sequence[str], *, seconds: float) -> list[dict[str, Any]]:
    """Polls a job and a batch in turn for so long; the jobs are those of the last batch. A row of milliseconds for each kind."""
    listed = ok(client.http.get("/v1/jobs", params={"batch_id": batches[-1], "limit": MOST_JOBS}))
    paths = {
        "job": itertools.cycle([f"/v1/jobs/{job['id']}" for job in listed["data"]]),
        "batch": itertools.cycle([f"/v1/batches/{batch}" for batch in batches]),
    }
    took_s: dict[str, list[float]] = {kind: [] for kind in paths}
    due_s = time.monotonic()
    end_s = due_s + seconds
    for kind in itertools.cycle(paths):
        time.sleep(max(due_s - time.monotonic(), 0.0))
        began_s = time.monotonic()
        if began_s >= end_s:
            break
        ok(client.http.get(next(paths[kind])))
        took_s[kind].append(time.monotonic() - began_s)
        due_s = max(due_s + EVERY_S, time.monotonic())
    return [_row(kind, taken) for kind, taken in took_s.items()]


def _row(kind: str, taken: Sequence[float]) -> dict[str, Any]:
    return {
        "polled": kind,
        "count": len(taken),
        **{f"ms_p{percent}": in_ms(percentile(taken, percent)) for percent in (50, 99)},
        "ms_most": in_ms(max(taken, default=None)),
    }
