"""Ways to run a batch over simulated providers: per-job rules that look at one job after the other, and a plan."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.clock import Call, Providers, begin_all
from router_service.assignment.program import members, units_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router_service.assignment.jobs import Floats, Ints
    from router_service.evaluation.batch_worlds import World

AHEAD_S = 1.0  # a model has room while what waits for it begins within this (docs/decisions/0013)
LOOKED_AT = 500  # jobs that a router takes at once
HALVINGS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of a batch: `quality` as predicted, `right` as it was (both means), USD, and when the last answer came."""

    cost_usd: float
    quality: float
    right: float
    finish_s: float


def spilling(world: World, score: Floats) -> Run:
    """Each job, when its turn comes, to the model of the least score among those that have room then: a router without plan."""
    providers = Providers(world.jobs.models, world.capacity.limits)
    orders = [
        [int(at) for at in row if np.isfinite(score[job, at])] for job, row in enumerate(np.argsort(score, axis=1))
    ]
    waiting = dict.fromkeys(range(len(orders)))
    at = np.zeros(len(orders), dtype=np.int64)
    now_s = 0.0
    while waiting:
        room = [providers.start_s(model, now_s) <= now_s + AHEAD_S for model in range(len(world.jobs.models))]
        for job in tuple(islice(waiting, LOOKED_AT)):
            if not any(room):
                break
            model = next((each for each in orders[job] if room[each]), None)
            if model is not None:
                providers.begin(model, now_s, _call(world, job, model))
                room = [has and providers.start_s(each, now_s) <= now_s + AHEAD_S for each, has in enumerate(room)]
                at[job] = model
                del waiting[job]
        now_s = _next_s(providers, now_s, [orders[job] for job in islice(waiting, LOOKED_AT)])
    return _run(world, at, providers.last_s)


def filling(world: World, score: Floats) -> Run:
    """Each job in its turn to the model of the least score that can still begin it in time.

    A router that knows the deadline and what it has promised, but no job that is still to come.
    """
    units = units_of(world.jobs, len(world.jobs.models))
    tail_s = float(world.jobs.latency_s.mean(where=world.jobs.eligible))
    meters = [
        (units[each.unit] * members(each, world.jobs.models), 0.99 * each.room(world.deadline_s - tail_s))
        for each in world.capacity.limits
    ]
    used = np.stack([meter for meter, _room in meters], axis=2)  # job, model, limit
    room = np.array([room for _meter, room in meters])
    at = np.zeros(len(score), dtype=np.int64)
    for job, order in enumerate(np.argsort(score, axis=1)):
        able = [int(each) for each in order if np.isfinite(score[job, each])]
        at[job] = next((each for each in able if (used[job, each] <= room).all()), able[0])
        room -= used[job, at[job]]
    return assigned(world, at)


def assigned(world: World, at: Ints) -> Run:
    """Each job in the queue of its model, from the beginning."""
    providers = Providers(world.jobs.models, world.capacity.limits)
    queues = [np.flatnonzero(at == model).tolist() for model in range(len(world.jobs.models))]
    begin_all(providers, queues, lambda job, model: _call(world, job, model))
    return _run(world, at, providers.last_s)


def tuned(run: Callable[[float], Run], *, target: float, low: float, high: float) -> Run:
    """The cheapest run of a quality of at least `target`, over a parameter of which more is better quality.

    Found by halving on a logarithmic scale. Where the target is out of reach, the run of the highest parameter.
    """
    found = [run(high)]
    if found[0].quality < target:
        return found[0]
    for _halving in range(HALVINGS):
        middle = float(np.sqrt(low * high))
        found.append(run(middle))
        low, high = (low, middle) if found[-1].quality >= target else (middle, high)
    return min((each for each in found if each.quality >= target), key=lambda each: each.cost_usd)


def cheapest_scores(world: World, floor: float) -> Floats:
    """Least cost among the models of at least this quality, and no other; a job without one waits for its best."""
    jobs = world.jobs
    best = np.where(jobs.eligible, jobs.quality, -1.0).max(axis=1, keepdims=True)
    return np.where(jobs.eligible & (jobs.quality >= np.minimum(floor, best)), jobs.cost_usd, np.inf)


def weighed_scores(world: World, quality_usd: float) -> Floats:
    """Cost less what the quality is worth."""
    jobs = world.jobs
    return np.where(jobs.eligible, jobs.cost_usd - quality_usd * jobs.quality, np.inf)


def firm_scores(world: World, quality_usd: float) -> Floats:
    """The same, without models that are worse for the job than its first: rather than to these it waits."""
    score = weighed_scores(world, quality_usd)
    first = np.take_along_axis(world.jobs.quality, score.argmin(axis=1)[:, None], axis=1)
    return np.where(world.jobs.quality >= first, score, np.inf)


def _next_s(providers: Providers, now_s: float, orders: Sequence[Sequence[int]]) -> float:
    """When a model for one of these has room again."""
    able = {model for order in orders for model in order}
    soonest = min((providers.start_s(model, now_s) for model in able), default=now_s + AHEAD_S)
    return max(soonest - AHEAD_S, now_s + 1e-3)


def _call(world: World, job: int, model: int) -> Call:
    return Call(
        tokens_in=float(world.jobs.tokens_in[job]),
        tokens_out=float(world.tokens_out[job, model]),
        latency_s=float(world.latency_s[job, model]),
    )


def _run(world: World, at: Ints, finish_s: float) -> Run:
    rows = np.arange(len(at))
    return Run(
        cost_usd=float(world.cost_usd[rows, at].sum()),
        quality=float(world.jobs.quality[rows, at].mean()),
        right=float(world.right[rows, at].mean()),
        finish_s=finish_s,
    )
