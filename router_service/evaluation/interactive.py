"""Single jobs sent at a steady pace beside a load, and how long each waited until the provider saw it."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from router_service.errors import StackError
from router_service.evaluation.measures import percentile
from router_service.evaluation.shapes import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from router_service.evaluation.allowance import Call
    from router_service.evaluation.stack import PrivateStack

ARRIVE_S = 10.0
MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A job and when it was due to be sent: a slow API does not make its own measurement start later."""

    tag: str
    due_s: float
    job_id: str


class Sender:
    """Sends a job every `every_s` seconds from a thread of its own, until `with` ends or `most_s` are over.

    Raises StackError at the end of `with` where the API refused one.
    """

    def __init__(
        self, stack: PrivateStack, *, model: str, label: str, every_s: float, most_s: float = math.inf
    ) -> None:
        self.sent: list[Sent] = []
        self._most_s = most_s
        self._stack, self._model, self._label, self._every_s = stack, model, label, every_s
        self._stop = threading.Event()
        self._failure: StackError | None = None
        self._thread = threading.Thread(target=self._run, name=f"sender-{label}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def join(self) -> None:
        """Wait until `most_s` are over."""
        self._thread.join()

    def wait_served(self) -> None:
        """Wait until all that were sent have ended, for a bounded time."""
        until = time.monotonic() + ARRIVE_S
        with self._stack.client() as client:
            for each in self.sent:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    break
                client.http.get(f"/v1/jobs/{each.job_id}", params={"wait": round(left_s, 3)})

    def _run(self) -> None:
        due_s = time.monotonic()
        end_s = due_s + self._most_s
        try:
            with self._stack.client() as client:
                while due_s < end_s and not self._stop.wait(max(due_s - time.monotonic(), 0.0)):
                    job = Job(tag=f"{self._label}/{len(self.sent)}")
                    job_id = client.submit(self._model, job.body(self._model))
                    self.sent.append(Sent(tag=job.tag, due_s=due_s, job_id=job_id))
                    due_s += self._every_s
        except StackError as error:
            self._failure = error


def waits_s(sent: Sequence[Sent], arrived: Mapping[str, Call], *, now_s: float) -> list[float]:
    """From due to arrived at the provider; of one that has not arrived, as long as it has waited until `now_s`."""
    return [(arrived[each.tag].arrived_s if each.tag in arrived else now_s) - each.due_s for each in sent]


def first_arrivals(calls: Sequence[Call]) -> dict[str, Call]:
    """The first call of each tag that the provider let in."""
    found: dict[str, Call] = {}
    for call in calls:
        if call.refused is None:
            found.setdefault(call.tag, call)
    return found


def summary(sent: Sequence[Sent], arrived: Mapping[str, Call], *, now_s: float) -> dict[str, Any]:
    """Waits in milliseconds."""
    waits = waits_s(sent, arrived, now_s=now_s)
    return {
        "sent": len(sent),
        "not_arrived": sum(each.tag not in arrived for each in sent),
        **{f"wait_ms_p{percent}": in_ms(percentile(waits, percent)) for percent in (50, 99)},
        "wait_ms_most": in_ms(max(waits, default=None)),
    }


def in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * MS, 1)
