"""From the jobs of a batch, what is on offer and what others use of it to columns, limits and a goal, and to a plan. Pure.

What is expected of a model on a job is reckoned as for a single decision, from one snapshot of the counters. Loaded only where
a batch is planned: it brings the solver.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.assignment.capacity import DAY_S, Capacity, Use
from router_service.assignment.goal import Goal, Progress
from router_service.assignment.jobs import Jobs, enough
from router_service.assignment.plan import Infeasible
from router_service.assignment.quoting import quote
from router_service.assignment.replanning import solve_again
from router_service.capacity.scopes import PER_DAY
from router_service.catalog.models import Caps
from router_service.catalog.policies import Strategy
from router_service.routing.calibration import DEFAULT_TARGET
from router_service.routing.decision import lasting_rejection, prospect
from router_service.routing.insight import NOTHING
from router_service.routing.methods import BUILT_IN
from router_service.routing.prices import key_of
from router_service.routing.question import Question
from router_service.routing.ranks import ranks_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from uuid import UUID

    from router_service.assignment.jobs import Floats
    from router_service.assignment.plan import Plan
    from router_service.catalog.models import Catalog, Limits, Model
    from router_service.catalog.policies import RoutingPolicy
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.counters import Counters
    from router_service.routing.insight import Insight
    from router_service.routing.methods import Methods
    from router_service.routing.question import Prospect
    from router_service.store.plans import Others

UNKNOWN_LATENCY_S = 3.0  # of a model that nobody has called and whose operator says nothing
SLACK = 1.01  # over the least that is possible
MOST_TIMES = 3  # until what was given up is enough
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: tells the copies of a job's key apart
NOTHING_DONE = Progress(done=0, quality_sum=0.0, cost_usd=0.0, elapsed_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be dealt out, and under what.

    `jobs` stand for `total`, evenly. `own`: how many jobs of the batch are under way by model, `others`: those of others;
    `shared`: how much of the limits of groups and of the tenant is in use, by scope. `slots`: how many calls it may make at a
    time. `left_s` until it must be done; where its owner did not say so (`is_hurried`), the end of its window. `budget_usd` for
    what is left.
    """

    jobs: Sequence[RoutableJob]
    known: Mapping[UUID, Insight]
    total: int
    catalog: Catalog
    counters: Mapping[str, Counters]
    tenant_id: str
    left_s: float
    is_hurried: bool = False
    budget_usd: float | None = None
    slots: int | None = None
    own: Mapping[str, int] = field(default_factory=dict)
    others: Sequence[Others] = ()
    shared: Mapping[str, Counters] = field(default_factory=dict)
    methods: Methods = BUILT_IN


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """A plan. `quoted`: what a first one promises; `note`: what of the goal it does not keep, and what could be kept."""

    plan: Plan
    quoted: dict[str, Any] | None = None
    note: str | None = None


def dealt(work: Work, before: Plan | None) -> Dealt | Infeasible:
    """A first plan, or one for what is left: `before` itself where it still leads to the goal.

    Jobs that no model may do are left out, and those that none does in time, which the note tells; all of them: Infeasible.
    """
    jobs, total = _able(work)
    if not total:
        return Infeasible(broken=("eligible models",), stranded=work.total) if before is None else Dealt(plan=before)
    work, jobs, total, note = _in_time(work, jobs, total)
    goal, capacity = goal_of(work, jobs, total), capacity_of(work)
    if before is not None:
        scale = total / len(jobs)
        plan = solve_again(before, jobs, capacity=capacity, goal=goal, progress=NOTHING_DONE, scale=scale)
        return plan if isinstance(plan, Infeasible) else Dealt(plan=plan, note=note)
    seen = _spread(jobs, min(total, max(len(jobs), enough(len(jobs.models)))))
    found = quote(seen, capacity=capacity, goal=goal, total=total)
    if isinstance(found, Infeasible):
        return found
    return Dealt(plan=found.plan, quoted=found.as_json() | {"looked_at": len(work.jobs)}, note=note)


def dealt_instead(work: Work, why: Infeasible, before: Plan | None) -> Dealt | Infeasible:
    """What comes nearest to a goal that cannot be kept: done as soon as can be, or if that is no help for the least cost.

    Where there are more jobs than limits per day let through, as many as they let through each day.
    """
    found: Dealt | Infeasible = why
    for _time in range(MOST_TIMES):
        if not isinstance(found, Infeasible):
            break
        if found.least_finish_s is not None:
            work = replace(work, left_s=found.least_finish_s * SLACK)
        elif found.least_cost_usd is not None:
            work = replace(work, budget_usd=found.least_cost_usd * SLACK)
        elif found.limits and work.left_s <= DAY_S:
            work = replace(work, left_s=2 * DAY_S)
        else:
            break
        found = dealt(work, before)
    return found if isinstance(found, Infeasible) else replace(found, note=str(why))


def _able(work: Work) -> tuple[Jobs, int]:
    """The jobs that some model may do, and how many they stand for."""
    jobs = columns_of(work)
    rows = np.flatnonzero(jobs.eligible.any(axis=1)).astype(np.int64)
    return jobs.take(rows), round(work.total * len(rows) / max(1, len(jobs)))


def _in_time(work: Work, jobs: Jobs, total: int) -> tuple[Work, Jobs, int, str | None]:
    """Without the jobs that every model does too late, unless all are, and without what they cost at the least.

    Also how many the rest stand for, and what is to be said of those.
    """
    fastest_s = np.where(jobs.eligible, jobs.latency_s, np.inf).min(axis=1)
    is_late = fastest_s > max(0.0, work.left_s)
    if not is_late.any() or is_late.all():
        return work, jobs, total, None
    late = round(total * float(is_late.mean()))
    cheapest_usd = np.where(jobs.eligible, jobs.cost_usd, np.inf).min(axis=1)[is_late]
    note = (
        f"{max(1, late)} jobs take longer than the {max(0.0, work.left_s):.4g} s that are left, the longest"
        f" {float(fastest_s[is_late].max()):.4g} s: they are done too late, and the plan is for the others"
    )
    if work.budget_usd is not None:
        spent_usd = float(cheapest_usd.sum()) * total / len(jobs)
        work = replace(work, budget_usd=max(0.0, work.budget_usd - spent_usd))
    return work, jobs.take(np.flatnonzero(~is_late).astype(np.int64)), total - late, note


def _spread(jobs: Jobs, total: int) -> Jobs:
    """So many jobs, each of these about as often as any other, under keys of their own."""
    if total <= len(jobs):
        return jobs
    number = np.arange(total, dtype=np.uint64)
    copies = jobs.take((number % np.uint64(len(jobs))).astype(np.int64))
    return replace(copies, keys=copies.keys ^ (number // np.uint64(len(jobs)) * np.uint64(GOLDEN)))


def columns_of(work: Work) -> Jobs:
    """What each model promises for each job. Only those that the router would look at first: by rank, wishes and rules."""
    models = tuple(sorted(model.id for model in work.catalog.models))
    place = {model: at for at, model in enumerate(models)}
    columns = np.zeros((4, len(work.jobs), len(models)))
    eligible, priced = np.zeros((2, len(work.jobs), len(models)), dtype=np.bool_)
    fitting, latencies = _Fitting(work.catalog, work.methods), latencies_of(work.catalog, work.counters)
    for row, job in enumerate(work.jobs):
        policy = work.catalog.policy_of(job)
        asked = Question.of(job, policy=policy, insight=work.known.get(job.id, NOTHING))
        for each in _first(asked, fitting.of(asked), work):
            at = place[each.model.id]
            base_s, token_s = latencies[each.model.id]
            latency_s = base_s + token_s * each.tokens_out
            columns[:, row, at] = each.quality or 0.0, each.cost_usd or 0.0, each.tokens_out, latency_s
            eligible[row, at], priced[row, at] = True, each.cost_usd is not None
    has_price = priced.any(axis=1, keepdims=True)  # one without a price goes behind those with one
    return Jobs(
        models=models,
        keys=np.array([key_of(job.id.bytes) for job in work.jobs], dtype=np.uint64),
        tokens_in=np.array([job.spec.tokens_in for job in work.jobs], dtype=np.float64),
        quality=columns[0],
        cost_usd=columns[1],
        tokens_out=columns[2],
        latency_s=columns[3],
        eligible=eligible & (priced | ~has_price),
    )


def latencies_of(catalog: Catalog, counters: Mapping[str, Counters]) -> dict[str, tuple[float, float]]:
    """By model the seconds of a call and of each token of its answer, as `columns_of` reckons with."""
    return {model.id: _latency(model, counters.get(model.id)) for model in catalog.models}


def _latency(model: Model, counters: Counters | None) -> tuple[float, float]:
    known_s = UNKNOWN_LATENCY_S if model.latency_s is None else model.latency_s
    if counters is None:
        return known_s, 0.0
    speed = counters.speed
    if speed.base_s is not None and speed.token_s is not None:
        return speed.base_s, speed.token_s
    return (known_s if counters.latency_s is None else counters.latency_s), 0.0


def _first(asked: Question, models: Sequence[tuple[Model, int]], work: Work) -> list[Prospect]:
    """Those that go before all others whatever the scores: `route` does the same."""
    prospects = [prospect(asked, model, rank, work.counters.get(model.id), work.catalog) for model, rank in models]
    least = min(((each.is_failing, each.place) for each in prospects), default=None)
    return [each for each in prospects if (each.is_failing, each.place) == least]


class _Fitting:
    """The models that may do a job, of the first rank that has any; worked out once for each kind of job."""

    def __init__(self, catalog: Catalog, methods: Methods) -> None:
        self._catalog, self._methods = catalog, methods
        self._windows = sorted({each.max_input_tokens for each in catalog.models if each.max_input_tokens is not None})
        self._known: dict[Hashable, list[tuple[Model, int]]] = {}

    def of(self, asked: Question) -> list[tuple[Model, int]]:
        depends_on_more = asked.spec.preferences.max_cost_usd is not None or asked.policy.constraints
        if depends_on_more:  # on the very sizes, or on whatever a constraint of another package looks at
            return self._find(asked)
        kind = self._kind(asked)
        if kind not in self._known:
            self._known[kind] = self._find(asked)
        return self._known[kind]

    def _find(self, asked: Question) -> list[tuple[Model, int]]:
        for rank, models in enumerate(ranks_of(asked, self._catalog)):
            if found := [(model, rank) for model in models if lasting_rejection(asked, model, self._methods) is None]:
                return found
        return []

    def _kind(self, asked: Question) -> Hashable:
        """All that ranks and constraints look at."""
        spec, signals = asked.spec, asked.insight.signals
        has_floor = spec.quality is not None or asked.policy.min_quality is not None
        return (
            asked.policy.hash,
            replace(spec, tokens_in=bisect_left(self._windows, spec.tokens_in)),
            asked.language,
            asked.domain,
            asked.task,
            tuple(signals.flags) if signals and asked.policy.rules else (),
            tuple(asked.level(model) for model in self._catalog.models) if has_floor else (),
        )


def goal_of(work: Work, jobs: Jobs, total: int) -> Goal:
    """What the policy of most jobs wants of the batch, within its budget and its time.

    A second is worth to the batch what it is to a job, times the half of all jobs that wait in the mean; to one whose owner
    named a time it is worth nothing before that.
    """
    policies = {(policy := work.catalog.policy_of(job)).hash: policy for job in work.jobs}
    counts = Counter(work.catalog.policy_of(job).hash for job in work.jobs)
    policy = policies[counts.most_common(1)[0][0]]
    return Goal(
        quality_share=_quality_share(work, policy, jobs),
        budget_usd=work.budget_usd,
        deadline_s=max(0.0, work.left_s),
        usd_per_s=0.0 if work.is_hurried else policy.wait_usd_per_s * total / 2,
    )


def _quality_share(work: Work, policy: RoutingPolicy, jobs: Jobs) -> float | None:
    """The mean quality wanted, as a share of the best there is; None where the policy has no such aim.

    A target is a share of what the strongest model in the mean would give; a price of quality leads to the mean quality of what
    each job would choose at it.
    """
    if policy.strategy != Strategy.QUALITY_TARGET:
        return None
    quality = np.where(jobs.eligible, jobs.quality, -1.0)
    best = float(quality.max(axis=1).mean())
    if best <= 0:
        return None
    if policy.quality_usd is not None:
        worth = np.where(jobs.eligible, policy.quality_usd * quality - jobs.cost_usd, -np.inf)
        return min(1.0, _mean_at(quality, worth) / best)
    wanted = [job.spec.preferences.quality_target or policy.quality_target or DEFAULT_TARGET for job in work.jobs]
    counts = jobs.eligible.sum(axis=0)
    strength = np.where(jobs.eligible, quality, 0.0).sum(axis=0) / np.maximum(counts, 1)
    strongest = _mean_at(quality, np.where(jobs.eligible, strength, -np.inf))
    return min(1.0, float(np.mean(wanted)) * strongest / best)


def _mean_at(quality: Floats, score: Floats) -> float:
    """The mean quality where each job takes the model of its highest score."""
    return float(quality[np.arange(len(quality)), score.argmax(axis=1)].mean())


def capacity_of(work: Work) -> Capacity:
    """The limits in force of models, groups, the tenant and the batch, less what others use of them now."""
    catalog, everything = work.catalog, [model.id for model in work.catalog.models]
    models = {model.id: _in_force(model.limits, work.counters.get(model.id)) for model in catalog.models}
    uses = {
        name: _use(counters, models[name].slots, [name], work)
        for name, counters in work.counters.items()
        if name in models
    }
    shared: list[tuple[str, Caps, Sequence[str]]] = []
    for group, caps in sorted(catalog.groups.items()):
        members = [each.id for each in catalog.models if each.limit_group == group]
        shared.append((f"group {group}", caps, members))
        if (counters := work.shared.get(f"group:{group}")) is not None:
            uses[f"group {group}"] = _use(counters, caps.slots, members, work)
    caps = catalog.tenant(work.tenant_id).caps
    shared.append(("the tenant", caps, everything))
    if (counters := work.shared.get(f"tenant:{work.tenant_id}")) is not None:
        own = replace(work, others=[each for each in work.others if each.tenant_id == work.tenant_id])
        uses["the tenant"] = _use(counters, caps.slots, everything, own)
    if work.slots is not None:
        shared.append(("the batch", Caps(slots=work.slots), everything))
    return Capacity.of(models, shared=shared, uses=uses, horizon_s=max(0.0, work.left_s))


def _in_force(limits: Limits, counters: Counters | None) -> Limits:
    """With the rates as they are given now: lower after a throttle, or where the provider's headers said so."""
    rates = {rate.name: rate.limit for rate in counters.rates} if counters else {}
    lower: dict[str, Any] = {
        name: rate for name, rate in rates.items() if (known := getattr(limits, name)) is not None and rate < known
    }
    return replace(limits, **lower)


def _use(counters: Counters, slots: int | None, models: Sequence[str], work: Work) -> Use:
    """What others have of what these models share: of its rates and slots the part that their jobs are of all under way there.

    Never more than their fair part: a batch without a job there yet gets its own as soon as it asks for it. Where nobody else has
    a job there now, what the last minute used is over.
    """
    others = [each for each in work.others if each.model_id in models]
    many = sum(each.jobs for each in others)
    part = many / (many + sum(work.own.get(model, 0) for model in models)) if many else 0.0
    most = 1 - _fair_share(others, work)
    used = {rate.name: 1 - rate.left for rate in counters.rates}
    in_use = part * counters.in_flight
    return Use(
        share=min(most, part * max((share for name, share in used.items() if name not in PER_DAY), default=0.0)),
        slots=round(in_use if slots is None else min(in_use, math.floor(most * slots))),
        day_share=max((share for name, share in used.items() if name in PER_DAY), default=0.0),
        opens_in_s=max(counters.paused_s, counters.broken_s),
    )


def _fair_share(others: Sequence[Others], work: Work) -> float:
    """The batch's part of what all want: of tenants by their weights, and within its own as much as each other batch there."""
    parties: dict[str, int] = {}
    for each in others:
        parties[each.tenant_id] = max(each.parties, parties.get(each.tenant_id, 0))
    beside = parties.pop(work.tenant_id, 0)
    weight = work.catalog.tenant(work.tenant_id).weight
    return weight / (weight + sum(work.catalog.tenant(name).weight for name in parties)) / (1 + beside)
