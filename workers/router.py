"""The routing worker: takes queued jobs, chooses a model, reserves its capacity, and sends tickets to the models' queues."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import UUID

from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import FULL_WAIT_S, SHUT, Grant, Need, Usage, reservation
from router_service.errors import UnavailableError
from router_service.routing.decision import route
from router_service.routing.policy import RoutingPolicy, expected_tokens_out
from router_service.store import dispatch
from router_service.telemetry.logs import logger
from router_service.tickets import CALL_TASK, Message, Ticket, model_queue

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from router_service.catalog.models import Catalog, Model
    from router_service.routing.decision import Decision
    from router_service.routing.policy import Counters
    from router_service.store.dispatch import Taken
    from workers.runtime import Runtime

log = logger(__name__)
MOST_TAKEN = 500
LEAST_TAKEN = 16
JOBS_PER_TICKET = 32
MOST_PASSES = 100
LEAST_WAIT_S = 0.005
MOST_HOLD_S = 5.0
HOMELESS_HOLD_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A job with its decision and its reservation."""

    taken: Taken
    decision: Decision
    need: Need
    start_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What one look at the queue did.

    `blocked`: lanes with jobs that found no capacity, and the seconds after which a rate or a pause lets their model start again
    (0 where a slot must come free, which rings); `shut`: the counters are being rebuilt, nothing can be placed.
    """

    taken: int = 0
    routed: int = 0
    blocked: Mapping[int, float] = field(default_factory=dict)
    shut: bool = False


class Router:
    """Looks for work when the doorbell rings, when a model is due to be free, and every tick."""

    def __init__(self, runtime: Runtime, *, policy: RoutingPolicy) -> None:
        self._runtime = runtime
        self._policy = policy
        self._rung = asyncio.Event()
        self._wait_s = runtime.settings.tick_s
        self._held: dict[int, float] = {}
        self._held_under = 0
        self._first_lane = 0

    async def open(self) -> None:
        await self._runtime.open()
        self._runtime.every(0.0, self._look, name="route")

    async def drain(self) -> None:
        """A pass under way is cut off: its transaction rolls back, and its reservations are given back."""

    async def close(self) -> None:
        await self._runtime.close()

    async def ring(self) -> None:
        self._rung.set()

    async def _look(self) -> None:
        with suppress(TimeoutError):  # the tick: a doorbell may have been lost
            async with asyncio.timeout(self._wait_s):
                await self._rung.wait()
        self._rung.clear()
        self._wait_s = self._runtime.settings.tick_s
        await self._runtime.doorbell.heard()
        await self.route_all()
        now = time.monotonic()
        self._held = {lane: until for lane, until in self._held.items() if until > now}
        self._wait_s = max(LEAST_WAIT_S, min([self._wait_s, *(until - now for until in self._held.values())]))

    async def route_all(self) -> None:
        """Route until nothing more can be placed. A lane that waits for a rate or a pause is held until then."""
        if self._held_under != self._runtime.offer.version:  # another catalog, other models
            self._held, self._held_under = {}, self._runtime.offer.version
        now = time.monotonic()
        blocked = {lane for lane, until in self._held.items() if until > now}
        for _pass in range(MOST_PASSES):
            done = await self.route_some(blocked)
            blocked |= done.blocked.keys()
            self._held |= {lane: time.monotonic() + wait_s for lane, wait_s in done.blocked.items() if wait_s > 0}
            if done.shut or not done.taken:
                break

    async def route_some(self, blocked: Collection[int]) -> Pass:
        """Take as many jobs as there may be room for, place what fits, commit, then send the tickets."""
        runtime, catalog = self._runtime, self._runtime.offer.catalog
        counters = await self._counters(catalog)
        room = sum(each.room for each in counters.values())
        if room == 0:
            return Pass()
        placed: list[Placed] = []
        try:
            async with runtime.database.transaction() as session:
                most = min(MOST_TAKEN, max(room, LEAST_TAKEN))
                taken = await dispatch.take(session, most=most, blocked=blocked, first_lane=self._first_lane)
                if not taken:
                    return Pass()
                self._first_lane = taken[0].lane + 1  # another lane is the first next time
                stuck, homeless, shut = await self._place(taken, catalog, counters, into=placed)
                if homeless:
                    await dispatch.hold(session, homeless, hold_s=HOMELESS_HOLD_S)
                routed = await dispatch.store_routed(session, [(each.taken.job, each.decision) for each in placed])
        except BaseException:
            await self._give_back(placed, catalog)
            raise
        epochs = dict(routed)
        await self._give_back([each for each in placed if each.taken.job.id not in epochs], catalog)
        held = await self._still_held([each for each in placed if each.taken.job.id in epochs])
        await self._send(held, epochs)
        return Pass(taken=len(taken), routed=len(epochs), blocked=stuck, shut=shut)

    async def _place(
        self, taken: Sequence[Taken], catalog: Catalog, counters: dict[str, Counters], *, into: list[Placed]
    ) -> tuple[dict[int, float], list[UUID], bool]:
        """Decide and reserve, twice: what found its model full is decided anew, knowing that.

        What was reserved goes `into` the list at once. Of the others: the lanes that wait for a model with their waits, the jobs
        that no model may take; and whether the gate is shut.
        """
        waiting, chosen = list(taken), dict[UUID, str | None]()
        for _round in range(2):
            by_model: dict[str, list[tuple[Taken, Decision]]] = {}
            for each in waiting:
                decision = route(each.job, catalog=catalog, counters=counters, policy=self._policy)
                chosen[each.job.id] = decision.model_id
                if decision.model_id is not None and counters[decision.model_id].room > 0:
                    by_model.setdefault(decision.model_id, []).append((each, decision))
            for model_id, choices in by_model.items():
                grant = await self._reserve(catalog.by_id[model_id], choices, into=into)
                if grant.stopped_by == SHUT:
                    return {}, [], True
                if grant.stopped_by is not None:
                    wait_s = grant.wait_s or FULL_WAIT_S
                    counters[model_id] = replace(
                        counters[model_id], room=0, wait_s=wait_s, slots_short=not grant.wait_s
                    )
            done = {each.taken.job.id for each in into}
            waiting = [each for each in waiting if each.job.id not in done]
            if not waiting or not by_model:
                break
        homeless = [each.job.id for each in waiting if chosen[each.job.id] is None]
        stuck = {
            each.lane: 0.0 if counters[model_id].slots_short else min(counters[model_id].wait_s, MOST_HOLD_S)
            for each in waiting
            for model_id in (chosen[each.job.id],)
            if model_id is not None
        }
        return stuck, homeless, False

    async def _reserve(self, model: Model, choices: Sequence[tuple[Taken, Decision]], *, into: list[Placed]) -> Grant:
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
        into += [
            Placed(taken=taken, decision=decision, need=need, start_ms=start_ms)
            for (taken, decision), need, start_ms in zip(choices, needs, grant.starts_ms, strict=False)
        ]
        return grant

    async def _counters(self, catalog: Catalog) -> dict[str, Counters]:
        with unavailable():
            live = await self._runtime.limiter.snapshot([model.id for model in catalog.models])
        return {model.id: live[model.id].counters(model.limits) for model in catalog.models}

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

    async def _still_held(self, placed: Sequence[Placed]) -> list[Placed]:
        """Those whose reservations outlived the COMMIT. Redis may have lost the others and have been rebuilt without them.

        No ticket is sent for those, so that no call starts uncounted; the janitor queues their jobs again.
        """
        by_model: dict[str, list[str]] = {}
        for each in placed:
            by_model.setdefault(each.decision.model_id or "", []).append(each.need.reservation)
        gone: set[str] = set()
        for model_id, reservations in by_model.items():
            try:
                with unavailable():
                    gone.update(await self._runtime.limiter.renew(model_id, reservations, lease_s=0))
            except UnavailableError:
                gone.update(reservations)
        if gone:
            log.warning("reservations were lost before their tickets were sent", count=len(gone))
        return [each for each in placed if each.need.reservation not in gone]

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
