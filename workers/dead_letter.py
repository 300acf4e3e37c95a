"""The dead-letter worker: takes every `dlq.*` queue; finds each job the next model that it may use, or parks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.failpoints import failpoint
from router_service.routing.decision import TO_BE_MENDED, route
from router_service.routing.insight import NOTHING
from router_service.routing.methods import BUILT_IN
from router_service.routing.replay import versions_of
from router_service.store import dead_letters
from router_service.store.decisions import Routed
from router_service.telemetry.logs import logger
from router_service.tickets import decode

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.decision import Decision
    from router_service.routing.insight import Insight
    from router_service.routing.methods import Methods
    from workers.insights import Insights
    from workers.runtime import Runtime

log = logger(__name__)


class DeadLetterWorker:
    """Eligibility alone is asked here, along the chain of the letter's kind.

    Capacity is the router's business when the job comes round again.
    """

    def __init__(self, runtime: Runtime, insights: Insights, *, methods: Methods = BUILT_IN) -> None:
        self._runtime = runtime
        self._insights = insights
        self._methods = methods

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
            known = await self._insights.of(session, [each.job for each in dead], catalog=catalog)
            decided = [(each, self._next(each.job, known.get(each.job.id, NOTHING), catalog)) for each in dead]
            settled = [(each, routed) for each, routed in decided if not _is_to_be_mended(routed.decision)]
            queued = await dead_letters.settle(session, settled)
            failpoint("dead_letter.before_commit")
        failpoint("dead_letter.after_commit")
        if len(settled) < len(dead):
            log.warning("dead letters wait for a plugin or a policy that is missing", count=len(dead) - len(settled))
        parked, stale = len(settled) - queued, len(tickets) - len(dead)
        log.info("dead letters settled", rerouted=queued, parked=parked, stale=stale)
        if queued:
            await self._runtime.ring()

    def _next(self, job: RoutableJob, insight: Insight, catalog: Catalog) -> Routed:
        policy = catalog.policy_of(job)
        decision = route(job, catalog=catalog, counters={}, policy=policy, insight=insight, methods=self._methods)
        return Routed(job=job, decision=decision, insight=insight, versions=versions_of(policy, self._methods))


def _is_to_be_mended(decision: Decision) -> bool:
    """Whether an operator has to mend what was decided by: the janitor sends the letter again until then."""
    return decision.model_id is None and any(each.reason in TO_BE_MENDED for each in decision.candidates)
