"""Decides for jobs that were taken, and takes a place for each in the queue of its model: what fits, in the order given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from router_service.capacity import room
from router_service.capacity.limiter import SLOTS, Wish, reservation
from router_service.capacity.scopes import names, scopes_of
from router_service.catalog.policies import Strategy
from router_service.errors import UnavailableError
from router_service.routing.decision import route
from router_service.routing.insight import NOTHING
from router_service.routing.methods import BUILT_IN
from router_service.routing.reading import shadow_of
from router_service.routing.replay import versions_of
from router_service.routing.snapshot import Snapshot
from router_service.store.decisions import Routed
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from router_service.capacity.limiter import Live
    from router_service.catalog.models import Catalog, Model
    from router_service.catalog.policies import RoutingPolicy
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.counters import Counters
    from router_service.routing.decision import Decision
    from router_service.routing.insight import Insight
    from router_service.routing.methods import Methods
    from router_service.store.dispatch import Taken
    from workers.insights import Insights
    from workers.runtime import Runtime

log = logger(__name__)
PLACE_S = 15.0  # a ticket waits no longer in a worker
FULL_WAIT_S = 1.0  # a guess: when a call of a full model may end
# Under these what was placed just now counts: a whole pass decided on one snapshot would run to one model.
LOOK_AT_LOAD = frozenset({Strategy.LEAST_BUSY, Strategy.USAGE, Strategy.LATENCY, Strategy.FASTEST})
FEW = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A job with its decision and its place."""

    taken: Taken
    routed: Routed
    wish: Wish


@dataclass(slots=True, kw_only=True)
class Round:
    """What a pass knows while it places: the live counters, what was placed, and what of each model is full by now.

    `known`: what is known of the jobs that had to be read; `beside`: of those that the shadow policy had to have read.
    """

    catalog: Catalog
    live: Mapping[str, Live]
    counters: dict[str, Counters]
    placed: list[Placed] = field(default_factory=list)
    decided: dict[UUID, Routed] = field(default_factory=dict)
    known: Mapping[UUID, Insight] = field(default_factory=dict)
    beside: Mapping[UUID, Insight] = field(default_factory=dict)
    shut: bool = False
    _seen: dict[str, Snapshot] = field(default_factory=dict)

    def see(self, models: Collection[str]) -> str:
        """Remember the counters of these models as they are now: decisions were taken from them. The snapshot's hash."""
        snapshot = Snapshot(counters={name: self.counters[name] for name in sorted(models)})
        self._seen[snapshot.hash] = snapshot
        return snapshot.hash

    def insight(self, job: RoutableJob) -> Insight:
        return self.known.get(job.id, NOTHING)

    def used_snapshots(self) -> dict[str, Mapping[str, Any]]:
        """By hash, those that a decision to be stored was taken from."""
        used = {each.routed.snapshot for each in self.placed}
        return {name: snapshot.as_json() for name, snapshot in self._seen.items() if name in used}


class Placing:
    """`methods`: what policies may name beyond what is built in."""

    def __init__(self, runtime: Runtime, insights: Insights, *, methods: Methods = BUILT_IN) -> None:
        self._runtime = runtime
        self._insights = insights
        self._methods = methods

    async def place(self, taken: Sequence[Taken], now: Round) -> list[Taken]:
        """Decide and take places. Those that were not placed."""
        looks_at_load = any(now.catalog.policy_of(each.job).strategy in LOOK_AT_LOAD for each in taken)
        size = FEW if looks_at_load else max(1, len(taken))
        waiting: list[Taken] = []
        for start in range(0, len(taken), size):
            waiting += await self._place(taken[start : start + size], now)
            if now.shut:
                return []
        return waiting

    async def _place(self, taken: Sequence[Taken], now: Round) -> list[Taken]:
        """Decide and take places, twice: what found its model full is decided anew, knowing that. Those that were not placed."""
        waiting = list(taken)
        for _round in range(2):
            by_model: dict[str, list[tuple[Taken, Routed]]] = {}
            for each, routed in zip(waiting, self._decide(waiting, now), strict=True):
                decision = routed.decision
                now.decided[each.job.id] = routed
                if decision.model_id is not None and _may_try(now.counters[decision.model_id], urgent=each.interactive):
                    by_model.setdefault(decision.model_id, []).append((each, routed))
            for model_id, choices in by_model.items():
                await self._place_at(now.catalog.by_id[model_id], choices, now)
                if now.shut:
                    return []
            placed = {each.taken.job.id for each in now.placed}
            waiting = [each for each in waiting if each.job.id not in placed]
            if not waiting or not by_model:
                break
        return waiting

    def _decide(self, waiting: Sequence[Taken], now: Round) -> list[Routed]:
        """All on the counters as they are now, of which those that anybody looked at are kept."""
        decided = [
            self._route(each.job, now, policy=now.catalog.policy_of(each.job), insight=now.insight(each.job))
            for each in waiting
        ]
        snapshot = now.see({candidate.model for decision in decided for candidate in decision.candidates})
        return [
            Routed(
                job=each.job,
                decision=decision,
                insight=now.insight(each.job),
                versions=versions_of(now.catalog.policy_of(each.job), self._methods),
                snapshot=snapshot,
                shadow=self._shadow(each.job, now),
            )
            for each, decision in zip(waiting, decided, strict=True)
        ]

    def _shadow(self, job: RoutableJob, now: Round) -> Decision | None:
        """What the shadow policy makes of a job, if it looks at it."""
        policy, insight = shadow_of(job, now.catalog), now.beside.get(job.id, NOTHING)
        if policy is None or not insight.is_read:
            return None
        return self._route(job, now, policy=policy, insight=insight)

    def _route(self, job: RoutableJob, now: Round, *, policy: RoutingPolicy, insight: Insight) -> Decision:
        return route(
            job, catalog=now.catalog, counters=now.counters, policy=policy, insight=insight, methods=self._methods
        )

    async def _place_at(self, model: Model, choices: Sequence[tuple[Taken, Routed]], now: Round) -> None:
        wishes = [self._wish(model, taken, now.catalog) for taken, _routed in choices]
        most = {scope.name: room.most_of(scope) for wish in wishes for scope in wish.scopes}
        most[wishes[0].scopes[0].name] = room.most(model.limits, now.live[model.id])
        taken_places = await self._runtime.limiter.place(wishes, most=most, lease_s=PLACE_S)
        if taken_places is None:
            now.shut = True
            return
        now.placed += [
            Placed(taken=taken, routed=routed, wish=wish)
            for (taken, routed), wish, got in zip(choices, wishes, taken_places, strict=True)
            if got
        ]
        counters = now.counters[model.id]
        placed = sum(taken_places)
        left = max(0, counters.room - placed) if all(taken_places) else 0  # full, or as good as full for these tenants
        now.counters[model.id] = replace(
            counters,
            room=left,
            waiting=counters.waiting + placed,
            wait_s=counters.wait_s if left else max(counters.wait_s, FULL_WAIT_S),
            held_by=counters.held_by if left else counters.held_by or SLOTS,
        )

    def _wish(self, model: Model, taken: Taken, catalog: Catalog) -> Wish:
        return Wish(
            reservation=reservation(taken.job.id.hex, taken.job.epoch + 1),
            scopes=scopes_of(
                model,
                catalog=catalog,
                tenant_id=taken.tenant_id,
                batch_id=taken.batch_id,
                batch_slots=taken.batch_slots,
            ),
            urgent=taken.interactive,
        )

    async def leave(self, placed: Sequence[Placed]) -> None:
        """Give up places whose jobs were not routed. Where that fails they expire by themselves."""
        for each in placed:
            try:
                await self._runtime.limiter.leave(names(each.wish.scopes), [each.wish.reservation])
            except UnavailableError as error:
                log.warning("places are left to expire", count=len(placed), error=str(error))
                return


def _may_try(counters: Counters, *, urgent: bool) -> bool:
    """An urgent job may go where the queue is full, but not where nothing starts."""
    is_stopped = counters.paused_s > 0 or counters.broken_s > 0
    return counters.room > 0 or (urgent and not is_stopped and counters.wait_s <= room.FAR_S)
