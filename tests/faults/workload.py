"""The tenants of a chaos run: each hands in its orders in time, cancels some, asks for some, and remembers what it was told."""

from __future__ import annotations

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import httpx

from router_service.evaluation.oracle import prompt
from tests.faults.checker import TERMINAL, Accepted
from tests.support.batches import CHAT, bound, lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tests.faults.cluster import Cluster
    from tests.faults.plan import Order, Plan

TOKENS_IN = 30
PATIENCE_S = 4.0
ASK_EVERY_S = 0.25


@dataclass(slots=True, kw_only=True)
class Ticket:
    """What a client holds: the id of a job or of a batch, and what may become of it."""

    order: Order
    id: str
    cancelled: bool = False
    seen: str | None = None


@dataclass(slots=True)
class Ledger:
    """What all tenants were told."""

    tickets: list[Ticket] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, what: str) -> None:
        self.refused[what] = self.refused.get(what, 0) + 1


class Tenant(threading.Thread):
    """Hands in its orders, one after the other; where an answer takes long the next ones are late."""

    def __init__(self, cluster: Cluster, name: str, plan: Plan, ledger: Ledger) -> None:
        super().__init__(name=f"tenant-{name}", daemon=True)
        self._client = cluster.client(name, timeout_s=PATIENCE_S)
        self._orders = [order for order in plan.orders if order.tenant == name]
        self._ledger = ledger
        self._chance = random.Random(f"{plan.seed}/{name}")
        self._to_cancel: list[tuple[float, Ticket]] = []
        self._mine: list[Ticket] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        began, waiting = time.monotonic(), list(self._orders)
        with self._client:
            while (waiting or self._to_cancel) and not self.stopped.is_set():
                now_s = time.monotonic() - began
                while waiting and waiting[0].at_s <= now_s:
                    self._hand_in(waiting.pop(0), now_s)
                self._cancel_due(now_s)
                self._look()
                self.stopped.wait(ASK_EVERY_S)

    def _hand_in(self, order: Order, now_s: float) -> None:
        job = self._call(lambda: self._batch(order) if order.is_batch else self._single(order))
        if job is None:
            return
        ticket = Ticket(order=order, id=job)
        self._ledger.tickets.append(ticket)
        self._mine.append(ticket)
        if order.cancel_s is not None:
            self._to_cancel.append((now_s + order.cancel_s, ticket))

    def _single(self, order: Order) -> httpx.Response:
        asked = {"messages": [_message(order, 0)]} | bound(order.max_tokens[0])
        body: dict[str, Any] = {"model": order.models[0], "input": asked}
        if order.deadline_s is not None:
            body["deadline"] = (datetime.now(UTC) + timedelta(seconds=order.deadline_s)).isoformat()
        return self._client.post("/v1/jobs", json=body)

    def _batch(self, order: Order) -> httpx.Response:
        content = lines(
            order.models,
            prompt=lambda number: str(_message(order, number)["content"]),
            max_tokens=order.max_tokens.__getitem__,
        )
        file = self._client.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
        if file.status_code != 200:
            return file
        wanted = {"input_file_id": file.json()["id"], "endpoint": CHAT, "completion_window": "24h"}
        return self._client.post("/v1/batches", json=wanted)

    def _cancel_due(self, now_s: float) -> None:
        due = [ticket for at_s, ticket in self._to_cancel if at_s <= now_s]
        self._to_cancel = [each for each in self._to_cancel if each[0] > now_s]
        for ticket in due:
            self._cancel(ticket)

    def _cancel(self, ticket: Ticket) -> None:
        ticket.cancelled = True  # before it is asked for: the answer may be lost
        kind = "batches" if ticket.order.is_batch else "jobs"
        self._call(lambda: self._client.post(f"/v1/{kind}/{ticket.id}/cancel"))

    def _look(self) -> None:
        """Ask for one of the jobs; what has ended once must stay so."""
        singles = [ticket for ticket in self._mine if not ticket.order.is_batch and ticket.seen is None]
        if singles:
            look_at(self._client, self._chance.choice(singles))

    def _call(self, call: Callable[[], httpx.Response]) -> str | None:
        """The id in an answer of success; anything else is counted by what it was."""
        try:
            answer = call()
        except httpx.HTTPError as error:
            self._ledger.refuse(type(error).__name__)
            return None
        if answer.status_code not in {200, 202}:
            self._ledger.refuse(str(answer.status_code))
            return None
        return str(answer.json()["id"])


class Workload:
    """All tenants of a plan, at work until the end of the block."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.ledger = Ledger()
        names = {order.tenant for order in plan.orders}
        self._tenants = [Tenant(cluster, name, plan, self.ledger) for name in sorted(names)]

    def __enter__(self) -> Self:
        for tenant in self._tenants:
            tenant.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tenant in self._tenants:
            tenant.stopped.set()
            tenant.join(timeout=60)

    @property
    def busy(self) -> bool:
        return any(tenant.is_alive() for tenant in self._tenants)


def look_at(client: httpx.Client, ticket: Ticket) -> None:
    try:
        answer = client.get(f"/v1/jobs/{ticket.id}")
    except httpx.HTTPError:
        return
    if answer.status_code == 200 and answer.json()["status"] in TERMINAL:
        ticket.seen = str(answer.json()["status"])


def look_at_all(cluster: Cluster, ledger: Ledger) -> None:
    """Once more, at the end: what was seen before is kept."""
    with ExitStack() as exits:
        clients = {name: exits.enter_context(cluster.client(name)) for name in {t.order.tenant for t in ledger.tickets}}
        for ticket in ledger.tickets:
            if not ticket.order.is_batch and ticket.seen is None:
                look_at(clients[ticket.order.tenant], ticket)


def accepted(cluster: Cluster, ledger: Ledger) -> list[Accepted]:
    """Every job that a tenant holds a 2xx for. A batch stands for all its lines."""
    rows = cluster.rows("SELECT id, batch_id, line FROM jobs WHERE batch_id IS NOT NULL")
    lines_of = {(row["batch_id"].hex, row["line"]): row["id"].hex for row in rows}
    return [each for ticket in ledger.tickets for each in _accepted(ticket, lines_of)]


def _accepted(ticket: Ticket, lines_of: dict[tuple[str, int], str]) -> list[Accepted]:
    order, identity = ticket.order, ticket.id.partition("_")[2]
    may_end = frozenset(["cancelled"] * ticket.cancelled + ["expired"] * (order.deadline_s is not None))
    if not order.is_batch:
        return [Accepted(id=identity, tag=_tag(order, 0), may_end=may_end, seen=ticket.seen)]
    usual = Accepted(id="", tag="", may_end=may_end)
    return [
        replace(
            usual, id=lines_of.get((identity, number + 1), f"{identity} line {number + 1}"), tag=_tag(order, number)
        )
        for number in range(len(order.models))
    ]


def _message(order: Order, number: int) -> dict[str, str]:
    content = prompt(_tag(order, number), tokens_in=TOKENS_IN, tokens_out=order.tokens_out[number])
    return {"role": "user", "content": content}


def _tag(order: Order, number: int) -> str:
    return f"{order.tag}-{number}"
