"""How good a router is: cost against quality over all its settings, and how well it knows what it knows. Pure.

AIQ, the hull and the zero router: RouterBench (arXiv 2403.12031). PGR, APGR and CPT: RouteLLM (arXiv 2406.18665, section 3).
Costs are means per question in one currency; qualities are means between 0 and 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Point = tuple[float, float]


def hull(points: Iterable[Point]) -> list[Point]:
    """The non-decreasing concave hull of (cost, quality) points, from the cheapest on: all that mixing settings can reach."""
    rising: list[Point] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not rising or quality > rising[-1][1]:
            rising.append((cost, quality))
    kept: list[Point] = []
    for point in rising:
        while len(kept) >= 2 and _slope(kept[-2], kept[-1]) <= _slope(kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def _slope(left: Point, right: Point) -> float:
    return (right[1] - left[1]) / (right[0] - left[0])


def cost_of(curve: Sequence[Point], quality: float) -> float:
    """The least cost at which a hull reaches a quality, mixing its neighbours; infinite where it never does."""
    if quality > curve[-1][1] + 1e-12:
        return float("inf")
    costs, qualities = zip(*curve, strict=True)
    return float(np.interp(quality, qualities, costs))


def saved(curve: Sequence[Point], *, share: float, strongest: Point) -> float:
    """The part of the strongest model's cost that a hull saves at `share` of its quality; minus infinity: never reached."""
    return 1 - cost_of(curve, share * strongest[1]) / strongest[0]


def aiq(curve: Sequence[Point], *, cheapest: float, dearest: float) -> float:
    """Average quality of a hull over all costs between the cheapest and the dearest single model.

    Left of its first point a hull is not defined; its first quality counts there, as the one to the right of its last does.
    """
    costs, qualities = (np.array(axis) for axis in zip(*curve, strict=True))
    if dearest <= cheapest:
        return float(np.interp(cheapest, costs, qualities))
    inner = costs[(costs > cheapest) & (costs < dearest)]
    x = np.concatenate([[cheapest], inner, [dearest]])
    return float(np.trapezoid(np.interp(x, costs, qualities), x) / (dearest - cheapest))


def oracle(outcomes: Floats, costs: Floats) -> Point:
    """(cost, quality) of knowing every outcome: the cheapest right model, else the cheapest. Arrays [questions, models]."""
    choice = np.where(outcomes >= outcomes.max(axis=1, keepdims=True), costs, np.inf).argmin(axis=1)
    rows = np.arange(len(choice))
    return float(costs[rows, choice].mean()), float(outcomes[rows, choice].mean())


def calibration_error(p: Floats, outcomes: Floats, *, bins: int = 10) -> float:
    """ECE: |mean of p - share right| in bins of equal width, weighted by how many fall into them."""
    p, outcomes = p.ravel(), outcomes.ravel()
    place = np.minimum((p * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights=p - outcomes, minlength=bins)
    return float(np.abs(gaps).sum() / len(p))


def auroc(p: Floats, outcomes: Floats) -> float:
    """How often a right answer had the higher p than a wrong one, ties half; NaN where there are only right or only wrong."""
    p, right = p.ravel(), outcomes.ravel() >= 0.5
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks = (last - (counts - 1) / 2)[place]
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def recovered(scores: Floats, weak: Floats, strong: Floats) -> tuple[Floats, Floats]:
    """(share of calls to the strong model, PGR): by calling it first where `scores`, the expected gain, is highest.

    PGR = (quality - weak's) / (strong's - weak's). Equal scores are called in the order of the questions.
    """
    order = np.argsort(-scores, kind="stable")
    gain = np.concatenate([[0.0], (strong - weak)[order].cumsum()])
    return np.arange(len(gain)) / (len(gain) - 1), gain / (strong.sum() - weak.sum())


def apgr(shares: Floats, pgr: Floats) -> float:
    """The mean of PGR over all shares of calls: 0.5 is random, more is better."""
    return float(np.trapezoid(pgr, shares))


def call_share(shares: Floats, pgr: Floats, wanted: float) -> float:
    """CPT(x): the least share of calls to the strong model at which PGR is x or more; infinite: never."""
    reached = np.flatnonzero(pgr >= wanted - 1e-12)
    return float(shares[reached[0]]) if len(reached) else float("inf")
