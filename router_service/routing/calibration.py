"""What a right answer must be worth for the mean quality to meet a target, measured on recent jobs.

With a worth of w dollars each job takes the model with the least cost - w x quality, but for the margin of the usual model (see
`strategies.quality_target`). So the jobs are let choose at a row of worths, from where only cost counts to where hardly anything
but quality does, and what comes of it is the curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from router_service.routing.insight import Worth
from router_service.routing.strategies import USUAL_TOKENS_IN, USUAL_TOKENS_OUT, margin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router_service.catalog.models import Catalog

Floats: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
Ints: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"
DRAW = "quality"
POINTS = 120
LEAST_PART, LEAST_STEP, LEAST_GAIN = 1e-5, 0.1, 1e-3  # of the dearest offer, of the cheapest one, of a right answer
PRIOR_HARDNESS = tuple(step / 4 for step in range(-8, 9))  # in logits around the mean job
DEFAULT_TARGET = 0.95
FEWEST_JOBS = 50  # on fewer nothing is concluded


class Offer(NamedTuple):
    """What one model would cost for a job, in US dollars, and how likely it is to be right."""

    cost_usd: float
    quality: float


class Point(NamedTuple):
    """With a right answer worth so much: the mean quality as a share of the strongest model's, and the mean cost of a job."""

    worth: Worth
    quality_share: float
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points in the order of worth; each holds from its worth on. `jobs`: how many it was measured on."""

    points: tuple[Point, ...]
    jobs: int

    def worth(self, target: float, *, draw: float = 0.0) -> Worth:
        """A worth that reaches the target, a share of the strongest model's quality; the largest where none does.

        Between two points of the curve no single worth meets a target: jobs that are alike all go one way or the other. `draw`, a
        number in (0, 1] that is even over jobs, takes the lower point for as many of them as keep the mean at the target.
        """
        at = next((place for place, each in enumerate(self.points) if each.quality_share >= target), None)
        if at is None or at == 0:
            return self.points[-1 if at is None else 0].worth
        below, above = self.points[at - 1], self.points[at]
        share = (target - below.quality_share) / (above.quality_share - below.quality_share)
        return above.worth if draw <= share else below.worth


def offers_beside(chosen: str | None, candidates: Iterable[Mapping[str, Any]]) -> dict[str, Offer]:
    """By id, what a job could choose from, of a decision's candidates as stored: those of the chosen one's rank and place.

    Whatever a later rank or place offers is for when all of an earlier one are out.
    """
    eligible = [each for each in candidates if each["eligible"]]
    level = next(((each["rank"], each.get("place", 0)) for each in eligible if each["model"] == chosen), None)
    return {
        each["model"]: Offer(each["cost_usd"], each["quality"])
        for each in eligible
        if (each["rank"], each.get("place", 0)) == level
        and each.get("cost_usd") is not None
        and each.get("quality") is not None
    }


def curve_of(cases: Iterable[Mapping[str, Offer]]) -> Curve | None:
    """The curve over jobs, each with the offers of the models that may do it, by id. None without any that may be right."""
    jobs = [case for case in cases if case]
    models = sorted({name for job in jobs for name in job})
    offers = np.full((2, len(jobs), len(models)), np.nan)
    place = {name: at for at, name in enumerate(models)}
    for row, job in enumerate(jobs):
        for name, offer in job.items():
            offers[:, row, place[name]] = offer.cost_usd, offer.quality
    cost, quality = offers
    reference = _strongest(quality) if jobs else 0.0
    if reference <= 0:
        return None
    points: list[Point] = []
    rows = np.arange(len(jobs))
    for worth_usd in _worths(cost, quality):
        worth = _with_usual(float(worth_usd), cost, quality, models)
        choice = _choices(cost, quality, worth, models)
        share = float(quality[rows, choice].mean()) / reference
        if not points or share > points[-1].quality_share:
            points.append(Point(worth, share, float(cost[rows, choice].mean())))
    return Curve(points=tuple(points), jobs=len(jobs))


def prior_cases(catalog: Catalog) -> list[dict[str, Offer]]:
    """Before any job was seen: what the catalog declares of the models of its first order, on jobs from easy to hard."""
    known = [
        (model.id, cost, quality)
        for models in catalog.by_order[:1]
        for model in models
        if (quality := model.expected_quality()) is not None
        and (cost := model.cost_usd(tokens_in=USUAL_TOKENS_IN, tokens_out=USUAL_TOKENS_OUT)) is not None
    ]
    return [
        {name: Offer(cost, _harder(quality, hardness)) for name, cost, quality in known} for hardness in PRIOR_HARDNESS
    ]


def _strongest(quality: Floats) -> float:
    """The mean quality where each job goes to the strongest of its models: strongest in the mean over all jobs."""
    strength = np.nanmean(quality, axis=0)
    best = np.where(np.isnan(quality), -1.0, strength).argmax(axis=1)
    return float(quality[np.arange(len(quality)), best].mean())


def _worths(cost: Floats, quality: Floats) -> Floats:
    """0, then evenly by ratio over all prices at which quality may be had: more cost over more quality."""
    dearest, cheapest = float(np.nanmax(cost)), float(np.nanmin(cost))
    spread = float(np.nanmax(quality) - np.nanmin(quality))
    if dearest <= 0 or spread <= 0:
        return np.array([0.0, 1.0])
    least = max(cheapest, dearest * LEAST_PART) * LEAST_STEP
    return np.concatenate([[0.0], np.geomspace(least, dearest / LEAST_GAIN, POINTS)])


def _with_usual(worth_usd: float, cost: Floats, quality: Floats, models: Sequence[str]) -> Worth:
    """The usual job is the mean of these."""
    usual_cost, usual_quality = np.nanmean(cost, axis=0), np.nanmean(quality, axis=0)
    at = int((usual_cost - worth_usd * usual_quality).argmin())
    return Worth(worth_usd, models[at], margin_of(worth_usd, float(usual_cost[at])))


def _choices(cost: Floats, quality: Floats, worth: Worth, models: Sequence[str]) -> Ints:
    """For each job the place of its model, as `strategies.quality_target` chooses."""
    score = np.where(np.isnan(cost), np.inf, cost - worth.usd * np.nan_to_num(quality))
    score[:, [name == worth.usual for name in models]] -= worth.margin_usd
    tied = score <= score.min(axis=1, keepdims=True)
    chosen: Ints = np.where(tied, cost, np.inf).argmin(axis=1)
    return chosen


def _harder(quality: float, hardness: float) -> float:
    """The declared quality on a job that is so many logits harder than the mean one."""
    bounded = min(0.999, max(0.001, quality))
    return 1 / (1 + math.exp(-(math.log(bounded / (1 - bounded)) - hardness)))
