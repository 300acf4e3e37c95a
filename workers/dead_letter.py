"""The dead-letter worker: takes every `dlq.*` queue; finds each job the next model that it may use, or parks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.failpoints import failpoint
from router_service.routing.decision import route
from router_service.store import dead_letters
from router_service.telemetry.logs import logger
from router_service.tickets import decode

if TYPE_CHECKING:
    from router_service.routing.policy import RoutingPolicy
    from workers.runtime import Runtime

log = logger(__name__)


class DeadLetterWorker:
    """Eligibility alone is asked here, along the chain of the letter's kind.

    Capacity is the router's business when the job comes round again.
    """

    def __init__(self, runtime: Runtime, *, policy: RoutingPolicy) -> None:
        self._runtime = runtime
        self._policy = policy

    async def open(self) -> None:
        await self._runtime.open()

    async def drain(self) -> None:
        """A transaction under way ends by itself."""

    async def close(self) -> None:
        await self._runtime.close()

    async def settle(self, raw: object) -> None:
        """The task: one ticket. Raises ValueError on a message that is not ours."""
        tickets = [(ticket.job_id, ticket.epoch) for ticket in decode(raw)]
        catalog = self._runtime.offer.catalog
        async with self._runtime.database.transaction() as session:
            dead = await dead_letters.load(session, tickets)
            verdicts = [(each, route(each.job, catalog=catalog, counters={}, policy=self._policy)) for each in dead]
            queued = await dead_letters.settle(session, verdicts)
            failpoint("dead_letter.before_commit")
        failpoint("dead_letter.after_commit")
        log.info("dead letters settled", rerouted=queued, parked=len(dead) - queued, stale=len(tickets) - len(dead))
        if queued:
            await self._runtime.ring()
