"""What a right answer must be worth for the mean quality to meet a target, measured on recent jobs.

With a worth of w dollars each job takes the model with the least cost - w x quality. As w rises from 0, a job climbs the upper
convex hull of its models' (cost, quality) points, one step at each hull edge's price of quality: more cost over more quality. So
the steps of all jobs, sorted by that price, give mean quality and mean cost as exact functions of w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from router_service.routing.strategies import USUAL_TOKENS_IN, USUAL_TOKENS_OUT, share_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router_service.catalog.models import Catalog
    from router_service.catalog.policies import RoutingPolicy
    from router_service.jobs.spec import RoutableJob

DRAW = "quality"
MOST_POINTS = 64
JUST_ABOVE = 1 + 1e-6  # so that the step is taken, whatever the rounding
PRIOR_HARDNESS = tuple(step / 4 for step in range(-8, 9))  # in logits around the mean job
DEFAULT_TARGET = 0.95


class Offer(NamedTuple):
    """What one model would cost for a job, in US dollars, and how likely it is to be right."""

    cost_usd: float
    quality: float


class Point(NamedTuple):
    """With a right answer worth so much: the mean quality as a share of the strongest model's, and the mean cost of a job."""

    worth_usd: float
    quality_share: float
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points in the order of worth; each holds from its worth on. `jobs`: how many it was measured on."""

    points: tuple[Point, ...]
    jobs: int

    def worth_usd(self, target: float, *, draw: float = 0.0) -> float:
        """A worth that reaches the target, a share of the strongest model's quality; the largest where none does.

        Between two points of the curve no single worth meets a target: jobs that are alike all go one way or the other. `draw`, a
        number in (0, 1] that is even over jobs, takes the lower point for as many of them as keep the mean at the target.
        """
        at = next((place for place, each in enumerate(self.points) if each.quality_share >= target), None)
        if at is None or at == 0:
            return self.points[-1 if at is None else 0].worth_usd
        below, above = self.points[at - 1], self.points[at]
        share = (target - below.quality_share) / (above.quality_share - below.quality_share)
        return above.worth_usd if draw <= share else below.worth_usd


def curve_of(cases: Iterable[Mapping[str, Offer]]) -> Curve | None:
    """The curve over jobs, each with the offers of the models that may do it, by id. None without any that may be right."""
    jobs = [case for case in cases if case]
    reference = _strongest(jobs)
    if reference <= 0:
        return None
    hulls = [_hull(job.values()) for job in jobs]
    quality, cost = sum(hull[0].quality for hull in hulls), sum(hull[0].cost_usd for hull in hulls)
    points = [Point(0.0, quality / reference, cost / len(jobs))]
    for price, gain, more in sorted(step for hull in hulls for step in _steps(hull)):
        quality, cost = quality + gain, cost + more
        worth_usd = price * JUST_ABOVE
        if points[-1].worth_usd >= price:  # steps at one price are taken together
            worth_usd = points.pop().worth_usd
        points.append(Point(worth_usd, quality / reference, cost / len(jobs)))
    return Curve(points=tuple(_thinned(points)), jobs=len(jobs))


def worth_usd(
    policy: RoutingPolicy, job: RoutableJob, curves: Mapping[str, Curve], *, prior: Curve | None
) -> float | None:
    """What a right answer is worth for a job: as calibrated for its policy, else by `prior`; None where nothing tells.

    None also where the policy states it, or has no use for it.
    """
    if not policy.has_target:
        return None
    curve = curves.get(policy.hash, prior)
    target = job.spec.preferences.quality_target or policy.quality_target or DEFAULT_TARGET
    return None if curve is None else curve.worth_usd(target, draw=share_of(job.id, DRAW))


def prior_cases(catalog: Catalog) -> list[dict[str, Offer]]:
    """Before any job was seen: what the catalog declares, on jobs from easy to hard around the mean."""
    known = [
        (model.id, cost, quality)
        for model in catalog.models
        if (quality := model.expected_quality()) is not None
        and (cost := model.cost_usd(tokens_in=USUAL_TOKENS_IN, tokens_out=USUAL_TOKENS_OUT)) is not None
    ]
    return [
        {name: Offer(cost, _harder(quality, hardness)) for name, cost, quality in known} for hardness in PRIOR_HARDNESS
    ]


def _strongest(jobs: Sequence[Mapping[str, Offer]]) -> float:
    """The sum of quality where each job goes to the strongest of its models: strongest in the mean over all jobs."""
    by_model: dict[str, list[float]] = {}
    for job in jobs:
        for name, offer in job.items():
            by_model.setdefault(name, []).append(offer.quality)
    strength = {name: (sum(known) / len(known), name) for name, known in by_model.items()}
    return sum(job[max(job, key=strength.__getitem__)].quality for job in jobs)


def _hull(offers: Iterable[Offer]) -> list[Offer]:
    """Where quality is bought at a rising price: from the cheapest offer to the best one, the edges ever steeper in price."""
    hull: list[Offer] = []
    for offer in sorted(offers, key=lambda each: (each.cost_usd, -each.quality)):
        if hull and offer.quality <= hull[-1].quality:
            continue
        while len(hull) > 1 and _price(hull[-2], hull[-1]) >= _price(hull[-2], offer):
            hull.pop()
        hull.append(offer)
    return hull


def _steps(hull: Sequence[Offer]) -> Iterable[tuple[float, float, float]]:
    """Each edge: the price of quality on it, what it gains, what it costs."""
    for before, after in pairwise(hull):
        yield _price(before, after), after.quality - before.quality, after.cost_usd - before.cost_usd


def _price(before: Offer, after: Offer) -> float:
    return (after.cost_usd - before.cost_usd) / (after.quality - before.quality)


def _thinned(points: Sequence[Point]) -> Iterable[Point]:
    """Of many points some, evenly over quality, so that each target is met closely; the last always."""
    first, last = points[0].quality_share, points[-1].quality_share
    step, due = (last - first) / MOST_POINTS, -math.inf
    for point in points[:-1]:
        if point.quality_share >= due:
            yield point
            due = point.quality_share + step
    yield points[-1]


def _harder(quality: float, hardness: float) -> float:
    """The declared quality on a job that is so many logits harder than the mean one."""
    bounded = min(0.999, max(0.001, quality))
    return 1 / (1 + math.exp(-(math.log(bounded / (1 - bounded)) - hardness)))
