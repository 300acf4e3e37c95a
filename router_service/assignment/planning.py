"""From the program's optimum to a Plan: prices for the single jobs, then what the jobs choose at them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.capacity import Unit
from router_service.assignment.choice import choices
from router_service.assignment.jobs import sample_of
from router_service.assignment.loads import sums_of
from router_service.assignment.plan import Binding, Plan
from router_service.assignment.prices import Meters, Rule, Stake, bound, prices_for
from router_service.assignment.program import members
from router_service.routing.prices import Toll

if TYPE_CHECKING:
    from router_service.assignment.capacity import Capacity, Limit
    from router_service.assignment.jobs import Flags, Floats, Ints, Jobs
    from router_service.assignment.loads import Sums
    from router_service.assignment.program import Solution

SOFTNESS = 0.003  # of a job's mean cost
HIGHEST = 1e5  # times a job's mean cost: where quality or room are not to be had for that, they are not to be had
SHUT = 10 * HIGHEST  # the toll of a model without room: more than any quality is worth
NEARLY = 0.9  # of a limit that is used: it may bind when the single jobs choose
ROUNDS = 5
OVERRUN = 2e-3
MORE = 1.2  # of a missing quality is asked for in the next round: what is reached moves in steps
STUCK = 0.7  # of what was missing before: where more than this is still missing, the limits do not give more
BINDS = 1e-3  # of the cost: what a tenth more of a limit must save for it to be named
FREE_USD = 1e-9  # a job's cost where all are free
FIELDS = {
    Unit.REQUESTS: "request",
    Unit.TOKENS: "token",
    Unit.TOKENS_IN: "token_in",
    Unit.TOKENS_OUT: "token_out",
    Unit.SLOT_S: "slot_s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the program settled: the quality to reach, by when all is begun, and the time that the bound on cost may take.

    `bound_s` None: any time. Each job stands for `scale` of them.
    """

    target: float | None
    begun_s: float
    bound_s: float | None
    scale: float


def plan_of(jobs: Jobs, *, capacity: Capacity, found: Solution, frame: Frame) -> Plan:
    """The plan that the optimum leads to; its quality is never under the target where more of it can be had.

    A model without room by then has a toll that sends to it only jobs that no other may do: without one it would be free.
    """
    limits = tuple(each for each in capacity.limits if each.room(frame.begun_s) > 0)
    shut = sorted({model for each in capacity.limits if each not in limits for model in each.models})
    is_open = jobs.eligible & ~np.isin(np.array(jobs.models), shut)
    jobs = replace(jobs, eligible=np.where(is_open.any(axis=1, keepdims=True), is_open, jobs.eligible))
    mean_usd = max(found.cost_usd / (len(jobs) * frame.scale), FREE_USD)
    pricing = _Pricing(jobs=jobs, limits=limits, frame=frame, mean_usd=mean_usd)
    tolls = dict(zip([each.name for each in capacity.limits], found.tolls, strict=True))
    start = np.array([max(0.0, float(tolls[each.name])) * pricing.room(each) for each in limits])
    price = pricing.settle(np.concatenate([[max(0.0, found.quality_usd)], start]), _busy(found, jobs, limits, pricing))
    plan = _drawn(pricing, price, found, sums_of(jobs, pricing.choices(price), capacity, scale=frame.scale))
    reached = frame if frame.target is None else replace(frame, target=min(frame.target, plan.quality))
    closed = {model: Toll(request=SHUT * mean_usd) for model in shut}
    return replace(
        plan,
        bound_usd=max(0.0, replace(pricing, frame=reached).bound_usd(price)),
        tolls=dict(sorted({**plan.tolls, **closed}.items())),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pricing:
    """The batch in a fixed time. A price vector has the quality's first, then one for each limit."""

    jobs: Jobs
    limits: tuple[Limit, ...]
    frame: Frame
    mean_usd: float

    @property
    def softness_usd(self) -> float:
        return SOFTNESS * self.mean_usd

    def stake(self, jobs: Jobs) -> Stake:
        highest = HIGHEST * self.mean_usd
        return Stake(base=jobs.cost_usd, eligible=jobs.eligible, softness=self.softness_usd, highest=highest)

    def room(self, limit: Limit, time_s: float | None = None) -> float:
        """Units by job that the limit gives."""
        return limit.room(self.frame.begun_s if time_s is None else time_s) / (len(self.jobs) * self.frame.scale)

    def settle(self, price: Floats, busy: Flags) -> Floats:
        """Prices at which the jobs' choices keep target and limits. `busy`: limits that may bind; what is overrun joins them."""
        jobs = sample_of(self.jobs)
        lift, before = 0.0, np.inf
        for _round in range(ROUNDS):
            price = np.where(busy, price, 0.0)
            rules = self.rules(jobs, busy, lift=lift)
            price[busy] = prices_for(self.stake(jobs), rules, start=price[busy])
            over = self._overruns(price)
            missing = max(0.0, over[0]) if busy[0] else 0.0
            is_complete = not (over[1:][~busy[1:]] > OVERRUN).any()
            if is_complete and (missing == 0.0 or missing > STUCK * before):
                break
            before = missing if is_complete else np.inf
            busy = busy | (over > OVERRUN)
            lift += MORE * missing
        return price

    def rules(self, jobs: Jobs, wanted: Flags, *, lift: float = 0.0, time_s: float | None = None) -> list[Rule]:
        """Those of the quality and the limits that are wanted; a limit's use is in shares of its room in the planned time."""
        found, meters = [], Meters.of(jobs, [each for each, use in zip(self.limits, wanted[1:], strict=True) if use])
        if wanted[0]:
            found.append(Rule(used=-jobs.quality, most=-((self.frame.target or 0.0) + lift)))
        for limit, is_wanted in zip(self.limits, wanted[1:], strict=True):
            if is_wanted:
                most = 1.0 if time_s is None else self.room(limit, time_s) / self.room(limit)
                found.append(meters.rule(limit, room=self.room(limit), most=most))
        return found

    def choices(self, price: Floats) -> Ints:
        return choices(_priced(self, price), self.jobs)

    def _overruns(self, price: Floats) -> Floats:
        """By how much the choices at this price miss the target, and overrun each limit (a share of its room)."""
        at, rows = self.choices(price), np.arange(len(self.jobs))
        meters = Meters.of(self.jobs, self.limits)
        over = [(self.frame.target or 0.0) - float(self.jobs.quality[rows, at].mean())]
        over += [meters.mean_used(limit, at) / self.room(limit) - 1 for limit in self.limits]
        return np.array(over)

    def bound_usd(self, price: Floats) -> float:
        """Of the whole batch: no assignment that keeps target and the bound's time costs less."""
        wanted, time_s = price > 0, self.frame.bound_s
        if time_s is None:
            wanted &= np.arange(len(price)) == 0
        few, stake = sample_of(self.jobs), self.stake(self.jobs)
        own = prices_for(self.stake(few), self.rules(few, wanted, time_s=time_s), start=price[wanted])
        rules = self.rules(self.jobs, wanted, time_s=time_s)
        return max(bound(stake, rules, each) for each in (own, price[wanted])) * len(self.jobs) * self.frame.scale


def _busy(found: Solution, jobs: Jobs, limits: tuple[Limit, ...], pricing: _Pricing) -> Flags:
    """Whether each price may be needed: the target's, and those of limits that the program uses nearly up."""
    busy = [pricing.frame.target is not None]
    for limit in limits:
        load = float((found.loads[limit.unit] * members(limit, jobs.models)).sum())
        busy.append(load > NEARLY * limit.room(pricing.frame.begun_s))
    return np.array(busy)


def _priced(pricing: _Pricing, price: Floats) -> Plan:
    """A plan of these prices whose sums are not known yet."""
    tolls: dict[str, dict[str, float]] = {}
    for limit, each in zip(pricing.limits, price[1:], strict=True):
        if each > 0:
            for model in limit.models:
                fields = tolls.setdefault(model, {})
                name = FIELDS[limit.unit]
                fields[name] = fields.get(name, 0.0) + float(each) / pricing.room(limit)
    return Plan(
        jobs=round(len(pricing.jobs) * pricing.frame.scale),
        models=pricing.jobs.models,
        cost_usd=0.0,
        quality=0.0,
        finish_s=0.0,
        shares={},
        bound_usd=0.0,
        program_usd=0.0,
        binding=(),
        quality_usd=float(price[0]),
        tolls={model: Toll(**fields) for model, fields in sorted(tolls.items())},
        softness_usd=pricing.softness_usd,
    )


def _drawn(pricing: _Pricing, price: Floats, found: Solution, sums: Sums) -> Plan:
    return replace(
        _priced(pricing, price),
        cost_usd=sums.cost_usd,
        quality=sums.quality,
        finish_s=sums.finish_s,
        shares=dict(zip(pricing.jobs.models, sums.shares, strict=True)),
        program_usd=found.cost_usd,
        binding=_binding(pricing, price, sums.cost_usd),
    )


def _binding(pricing: _Pricing, price: Floats, cost_usd: float) -> tuple[Binding, ...]:
    """What saves most first. A price is USD by job for a room, hence a tenth of it for a tenth of the room."""
    total = len(pricing.jobs) * pricing.frame.scale
    found = [Binding(name="quality", step="a mean quality lower by 0.01", usd=0.01 * float(price[0]) * total)]
    for limit, each in zip(pricing.limits, price[1:], strict=True):
        found.append(Binding(name=limit.name, step="a tenth more", usd=0.1 * float(each) * total))
    named = [each for each in found if each.usd > BINDS * cost_usd]
    return tuple(sorted(named, key=lambda each: (-each.usd, each.name)))
