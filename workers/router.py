"""The routing worker: takes queued jobs, chooses a model, reserves its capacity, and sends tickets to the models' queues."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import SHUT, Need, Usage, reservation
from router_service.errors import UnavailableError
from router_service.routing.decision import route
from router_service.routing.policy import Counters, RoutingPolicy, expected_tokens_out
from router_service.store import dispatch
from router_service.telemetry.logs import logger
from router_service.tickets import CALL_TASK, Message, Ticket, model_queue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from router_service.catalog.models import Catalog, Model
    from router_service.routing.decision import Decision
    from router_service.store.dispatch import Taken
    from workers.runtime import Runtime

log = logger(__name__)
MOST_TAKEN = 500
JOBS_PER_TICKET = 32
MOST_PASSES = 100
FULL_WAIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A job with its decision and its reservation."""

    taken: Taken
    decision: Decision
    need: Need
    start_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one look at the queue did. `blocked`: lanes whose models are busy; `wait_s`: when one may be free again."""

    routed: int
    blocked: frozenset[int]
    wait_s: float
    shut: bool
    taken: int


class Router:
    """Looks for work when the doorbell rings, when a model is due to be free, and every tick."""

    def __init__(self, runtime: Runtime, *, policy: RoutingPolicy) -> None:
        self._runtime = runtime
        self._policy = policy
        self._rung = asyncio.Event()
        self._wait_s = runtime.settings.tick_s

    async def open(self) -> None:
        await self._runtime.open()
        self._runtime.every(0.0, self._look, name="route")

    async def drain(self) -> None:
        """A pass under way is cut off: its transaction rolls back, and its reservations expire."""

    async def close(self) -> None:
        await self._runtime.close()

    async def ring(self) -> None:
        self._rung.set()

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._rung.wait()
        except TimeoutError:
            pass  # the tick: a doorbell may have been lost
        self._rung.clear()
        self._wait_s = self._runtime.settings.tick_s
        await self._runtime.doorbell.heard()
        self._wait_s = min(self._wait_s, await self.route_all())

    async def route_all(self) -> float:
        """Route until nothing more can be placed. Seconds until it is worth looking again."""
        blocked: frozenset[int] = frozenset()
        wait_s = self._runtime.settings.tick_s
        for _pass in range(MOST_PASSES):
            done = await self.route_some(blocked)
            blocked |= done.blocked
            wait_s = min(wait_s, done.wait_s)
            if done.shut or not done.taken:
                break
        return max(wait_s, 0.005)

    async def route_some(self, blocked: frozenset[int]) -> Pass:
        """Take up to some hundreds of jobs, place what fits, commit, then send the tickets."""
        runtime, catalog = self._runtime, self._runtime.offer.catalog
        placed: list[Placed] = []
        try:
            async with runtime.database.transaction() as session:
                taken = await dispatch.take(session, most=MOST_TAKEN, blocked=blocked)
                if not taken:
                    return Pass(routed=0, blocked=frozenset(), wait_s=runtime.settings.tick_s, shut=False, taken=0)
                placed, wait_s, shut = await self._place(taken, catalog)
                routed = await dispatch.store_routed(session, [(each.taken.job, each.decision) for each in placed])
        except BaseException:
            await self._give_back(placed, catalog)
            raise
        epochs = dict(routed)
        await self._give_back([each for each in placed if each.taken.job.id not in epochs], catalog)
        await self._send([each for each in placed if each.taken.job.id in epochs], epochs)
        done = {each.taken.job.id for each in placed}
        return Pass(
            routed=len(epochs),
            blocked=frozenset(each.lane for each in taken if each.job.id not in done),
            wait_s=wait_s,
            shut=shut,
            taken=len(taken),
        )

    async def _place(self, taken: Sequence[Taken], catalog: Catalog) -> tuple[list[Placed], float, bool]:
        """Decide and reserve, twice: what found its model full is decided anew, knowing that."""
        counters = await self._counters(catalog)
        placed: list[Placed] = []
        waiting, wait_s, shut = list(taken), self._runtime.settings.tick_s, False
        for _round in range(2):
            by_model: dict[str, list[tuple[Taken, Decision]]] = {}
            for each in waiting:
                decision = route(each.job, catalog=catalog, counters=counters, policy=self._policy)
                if decision.model_id is not None:
                    by_model.setdefault(decision.model_id, []).append((each, decision))
            for model_id, choices in by_model.items():
                granted, stopped_by, again_s = await self._reserve(catalog.by_id[model_id], choices)
                placed += granted
                if stopped_by is not None:
                    shut = shut or stopped_by == SHUT
                    wait_s = min(wait_s, again_s or wait_s)
                    full = counters[model_id]
                    counters[model_id] = replace(full, wait_s=max(full.wait_s, again_s, FULL_WAIT_S))
            done = {each.taken.job.id for each in placed}
            waiting = [each for each in waiting if each.job.id not in done]
            if not waiting or shut:
                break
        return placed, wait_s, shut

    async def _reserve(
        self, model: Model, choices: Sequence[tuple[Taken, Decision]]
    ) -> tuple[list[Placed], str | None, float]:
        needs = [
            Need(
                reservation=reservation(each.job.id.hex, each.job.epoch + 1),
                tokens_in=each.job.spec.tokens_in,
                tokens_out=expected_tokens_out(each.job.spec.tokens_out, model, self._policy),
            )
            for each, _decision in choices
        ]
        settings = self._runtime.settings
        with unavailable():
            grant = await self._runtime.limiter.reserve(
                model, needs, lease_s=settings.routed_stale_s + settings.lease_s
            )
        placed = [
            Placed(taken=taken, decision=decision, need=need, start_ms=start_ms)
            for (taken, decision), need, start_ms in zip(choices, needs, grant.starts_ms, strict=False)
        ]
        return placed, grant.stopped_by, grant.wait_s

    async def _counters(self, catalog: Catalog) -> dict[str, Counters]:
        with unavailable():
            live = await self._runtime.limiter.snapshot([model.id for model in catalog.models])
        return {
            model.id: Counters(
                in_flight=live[model.id].in_flight,
                paused_s=live[model.id].paused_s,
                wait_s=max(
                    live[model.id].paused_s,
                    live[model.id].busy_s,
                    FULL_WAIT_S if live[model.id].in_flight >= model.limits.slots else 0.0,
                ),
            )
            for model in catalog.models
        }

    async def _give_back(self, placed: Sequence[Placed], catalog: Catalog) -> None:
        """Release reservations whose jobs were not routed. Where that fails they expire by themselves."""
        by_model: dict[str, list[Usage]] = {}
        for each in placed:
            usage = Usage(need=each.need, requests=0, tokens_in=0, tokens_out=0)
            by_model.setdefault(each.decision.model_id or "", []).append(usage)
        for model_id, usages in by_model.items():
            try:
                with unavailable():
                    await self._runtime.limiter.settle(catalog.by_id[model_id], usages)
            except UnavailableError as error:
                log.warning("reservations are left to expire", model=model_id, count=len(usages), error=str(error))

    async def _send(self, placed: Sequence[Placed], epochs: dict[UUID, int]) -> None:
        """Publish after the COMMIT. A message that was lost is noticed by the janitor."""
        messages = list(_messages(placed, epochs))
        if not messages:
            return
        try:
            await self._runtime.publisher.publish(messages)
        except UnavailableError as error:
            log.warning("tickets may be lost; the janitor will issue them anew", count=len(placed), error=str(error))


def _messages(placed: Sequence[Placed], epochs: dict[UUID, int]) -> list[Message]:
    """One job a ticket where somebody waits for it, else some dozens of a model's jobs."""
    by_model: dict[str, list[Placed]] = {}
    for each in placed:
        by_model.setdefault(each.decision.model_id or "", []).append(each)
    messages = []
    for model_id, jobs in by_model.items():
        alone = [[each] for each in jobs if each.taken.interactive]
        rest = [each for each in jobs if not each.taken.interactive]
        together = [rest[start : start + JOBS_PER_TICKET] for start in range(0, len(rest), JOBS_PER_TICKET)]
        messages += [
            Message(
                queue=model_queue(model_id),
                task=CALL_TASK,
                tickets=[
                    Ticket(
                        job_id=each.taken.job.id,
                        epoch=epochs[each.taken.job.id],
                        attempt=each.taken.attempt + 1,
                        start_ms=each.start_ms,
                    )
                    for each in group
                ],
            )
            for group in (*alone, *together)
        ]
    return messages
