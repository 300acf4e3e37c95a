"""The one publishing seam: queue names, and Celery messages that carry tickets: ids and numbers, no content.

The messages are built by hand after Celery's message protocol 2 (docs.celeryq.dev, "Message Protocol") and sent in one
pipeline, which costs a tenth of `Task.apply_async`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from kombu.connection import Connection
from kombu.entity import Exchange

from router_service.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUTE_QUEUE = "route"
ROUTE_TASK = "waybill.route"
MOST_EPOCH = 2**31 - 1  # what the store's column holds
CALL_TASK = "waybill.call"
DEAD_LETTER_TASK = "waybill.dead_letter"
TRANSPORT_OPTIONS = {
    # The row is the truth, so the broker need not remember what it handed out (docs/decisions/0002).
    "ack_emulation": False,
    "priority_steps": [0],
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
}


def model_queue(model_id: str) -> str:
    return f"model.{model_id}"


def dead_letter_queue(model_id: str) -> str:
    return f"dlq.{model_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A job and the epoch in which it was sent on.

    `attempt` numbers the call that it is for, 0 where the sender does not know; it is there to be seen. Somebody waits for
    an `urgent` one: it does not stand behind the others of its model.
    """

    job_id: UUID
    epoch: int
    attempt: int = 0
    urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One task for one queue. `model_id` is whose calls the tickets are for, where they are for calls."""

    queue: str
    task: str
    tickets: Sequence[Ticket] = ()
    model_id: str | None = None

    @property
    def arguments(self) -> list[Any]:
        """The task's positional arguments."""
        tickets = [encode(self.tickets)] if self.tickets else []
        return tickets if self.model_id is None else [*tickets, self.model_id]


def decode(raw: object) -> list[Ticket]:
    """Tickets from a task's argument. Raises ValueError on anything that this module did not write."""
    if not isinstance(raw, list):
        raise ValueError("tickets must be a list")  # noqa: TRY004
    tickets = []
    for item in raw:
        match item:
            case [str(job_id), int(epoch), int(attempt), (0 | 1) as urgent] if 0 <= epoch <= MOST_EPOCH:
                tickets.append(Ticket(job_id=UUID(hex=job_id), epoch=epoch, attempt=attempt, urgent=bool(urgent)))
            case _:
                raise ValueError("a ticket must be [job id, epoch, attempt, urgent]")
    return tickets


def encode(tickets: Sequence[Ticket]) -> list[list[Any]]:
    return [[ticket.job_id.hex, ticket.epoch, ticket.attempt, int(ticket.urgent)] for ticket in tickets]


class Publisher:
    """Sends messages to the broker from a thread of its own, since kombu blocks. An error means: outcome unknown."""

    def __init__(self, broker_url: str, *, new_id: Callable[[], UUID] = uuid4) -> None:
        self._connection = Connection(broker_url, transport_options=TRANSPORT_OPTIONS, connect_timeout=5)
        self._producer: Any = None
        self._new_id = new_id
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publisher")

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send all in one pipeline. Raises UnavailableError where the broker did not confirm; some may have been sent."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._publish, messages)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.release)
        self._thread.shutdown()

    def _publish(self, messages: Sequence[Message]) -> None:
        try:
            if self._producer is None:
                self._producer = self._connection.Producer(exchange=Exchange(""), auto_declare=False)
            with self._producer.batch(max_size=1000):
                for message in messages:
                    self._send(message)
        except Exception as error:  # kombu lets each transport raise its own
            self._producer = None
            self._connection.close()
            raise UnavailableError("broker", f"the broker did not take the messages: {type(error).__name__}") from error

    def _send(self, message: Message) -> None:
        task_id = str(self._new_id())
        self._producer.publish(
            (message.arguments, {}, {}),
            routing_key=message.queue,
            serializer="json",
            correlation_id=task_id,
            headers={
                "lang": "py",
                "task": message.task,
                "id": task_id,
                "root_id": task_id,
                "argsrepr": _shown(message.tickets),
                "kwargsrepr": "{}",
                "ignore_result": True,
            },
        )


def _shown(tickets: Sequence[Ticket]) -> str:
    """What Flower shows of a message: its jobs, their epochs and attempts."""
    first = ", ".join(
        f"job_{ticket.job_id.hex} epoch {ticket.epoch} attempt {ticket.attempt or '?'}" for ticket in tickets[:3]
    )
    return f"({first}{', ...' if len(tickets) > 3 else ''})" if tickets else "()"
