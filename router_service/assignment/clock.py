"""Models with limits on a clock of their own: when does which call begin, and when is the last one over.

Slots, and for each rate GCRA with a burst, as Waybill's limiter paces (docs/decisions/0013). Loads divided by rates are too
little: where two rates of a model bind, each waits for the other. A call is charged with what it uses when it begins.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.capacity import Limit, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router_service.assignment.jobs import Ints, Jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a job really takes at a model."""

    tokens_in: float
    tokens_out: float
    latency_s: float

    def units(self, unit: Unit) -> float:
        if unit is Unit.REQUESTS:
            return 1.0
        if unit is Unit.TOKENS:
            return self.tokens_in + self.tokens_out
        return self.tokens_in if unit is Unit.TOKENS_IN else self.tokens_out


@dataclass(slots=True, kw_only=True)
class Gate:
    """One limit: `wait_until` says when the next call may begin, `take` begins it."""

    limit: Limit
    free_s: float = 0.0  # GCRA's theoretical arrival time
    slots: list[float] = field(default_factory=list)  # a heap: when each slot is free

    @classmethod
    def of(cls, limit: Limit) -> Gate:
        slots = [limit.opens_in_s] * max(1, int(limit.rate_per_s)) if limit.unit is Unit.SLOT_S else []
        return cls(limit=limit, free_s=limit.opens_in_s, slots=slots)

    def wait_until(self) -> float:
        if self.limit.unit is Unit.SLOT_S:
            return self.slots[0]
        if self.limit.rate_per_s <= 0:
            return self.limit.opens_in_s
        return max(self.limit.opens_in_s, self.free_s - self.limit.burst / self.limit.rate_per_s)

    def take(self, start_s: float, call: Call) -> None:
        if self.limit.unit is Unit.SLOT_S:
            heapq.heapreplace(self.slots, start_s + call.latency_s)
        elif self.limit.rate_per_s > 0:
            self.free_s = max(self.free_s, start_s) + call.units(self.limit.unit) / self.limit.rate_per_s


class Providers:
    """All models and their gates, in use: `start_s` of a call that would come now, `begin` for one that does."""

    def __init__(self, models: Sequence[str], limits: Sequence[Limit]) -> None:
        gates = [Gate.of(limit) for limit in limits]
        self.gates = [[gate for gate in gates if model in gate.limit.models] for model in models]
        self.last_s = 0.0

    def start_s(self, at: int, now_s: float) -> float:
        """When a call to this model could begin."""
        return max([now_s, *(gate.wait_until() for gate in self.gates[at])])

    def begin(self, at: int, now_s: float, call: Call) -> float:
        """When it begins; `last_s` is when all that have begun are over."""
        start_s = self.start_s(at, now_s)
        for gate in self.gates[at]:
            gate.take(start_s, call)
        self.last_s = max(self.last_s, start_s + call.latency_s)
        return start_s


def begin_all(providers: Providers, queues: Sequence[Sequence[int]], call: Callable[[int, int], Call]) -> None:
    """Begin all calls, those of each model (column) in the order of its queue; which model comes next, its limits say.

    `call` says what a job (of the queue) takes at a model. A start can only get later, so that the soonest known is looked at.
    """
    left = [iter(queue) for queue in queues]
    soonest = [(0.0, model) for model, queue in enumerate(queues) if queue]
    heapq.heapify(soonest)
    waiting = [next(each, None) for each in left]
    while soonest:
        _known_s, model = heapq.heappop(soonest)
        start_s = providers.start_s(model, 0.0)
        if soonest and start_s > soonest[0][0]:
            heapq.heappush(soonest, (start_s, model))
            continue
        job = waiting[model]
        if job is None:
            continue
        providers.begin(model, 0.0, call(job, model))
        waiting[model] = next(left[model], None)
        heapq.heappush(soonest, (start_s, model))


def finish_s(jobs: Jobs, at: Ints, limits: Sequence[Limit], *, times: int = 1) -> float:
    """When the last of the jobs is done, each at its model and as expected; `times` over, for a sample."""
    providers = Providers(jobs.models, limits)
    tokens_in, chosen = jobs.tokens_in.tolist(), np.arange(len(jobs))
    out, wait = jobs.tokens_out[chosen, at].tolist(), jobs.latency_s[chosen, at].tolist()
    queues = [np.tile(np.flatnonzero(at == model), times).tolist() for model in range(len(jobs.models))]
    begin_all(
        providers, queues, lambda job, _model: Call(tokens_in=tokens_in[job], tokens_out=out[job], latency_s=wait[job])
    )
    return providers.last_s
