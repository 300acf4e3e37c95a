"""Which settings meet a quality target, found on training questions, and what they deliver on others.

A target is a share of the strongest single model's quality. The product does the same with live jobs (`routing.calibration`),
and its `Curve` is used here: between two settings of the curve, the lower is taken for as many questions as the target allows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from router_service.evaluation.routing import choose, lambdas
from router_service.routing.calibration import DRAW, Curve, Point
from router_service.routing.insight import Worth
from router_service.routing.strategies import share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_service.evaluation.routing import Actual, Expected

    Floats = NDArray[np.float64]

TARGETS = (0.90, 0.95, 0.98, 1.0)
OUTCOMES_SHARE = 0.25  # of the curve; the rest is predicted quality: docs/benchmarks.md, "Routing quality"


def calibrate(expected: Expected, actual: Actual) -> Curve:
    """Quality over the strongest model's, by what a right answer is worth: 1 / lambda, in USD.

    `expected` must be of questions that were not trained with. Predicted quality of what is chosen hardly varies from sample to
    sample, outcomes do not err on the side of what was chosen: the curve is of both, and never falls.
    """
    settings = lambdas(expected)[::-1]
    believed = (1 - OUTCOMES_SHARE) * _shares(expected, actual, expected.p, settings)
    shares = never_falling(believed + OUTCOMES_SHARE * _shares(expected, actual, actual.outcomes, settings))
    rows = np.arange(len(actual.outcomes))
    costs = [expected.cost_usd[rows, choose(expected, setting)].mean() for setting in settings]
    points = [
        Point(Worth(float(1 / setting) if setting else float("inf")), float(share), float(cost))
        for setting, share, cost in zip(settings, shares, costs, strict=True)
    ]
    return Curve(points=tuple(points), jobs=len(rows))


def _shares(expected: Expected, actual: Actual, quality: Floats, settings: Floats) -> Floats:
    """[settings]: mean quality of what each chooses, over that of the model with the best outcomes; `quality` as outcomes are."""
    rows, strongest = np.arange(len(quality)), int(np.argmax(actual.outcomes.mean(axis=0)))
    means = [quality[rows, choose(expected, setting)].mean() for setting in settings]
    shares: Floats = np.array(means) / quality[:, strongest].mean()
    return shares


def never_falling(values: Floats) -> Floats:
    """The nearest sequence, by least squares, that never falls (pool adjacent violators; Ayer et al., 1955)."""
    blocks: list[tuple[float, int]] = []
    for value in values:
        mean, count = float(value), 1
        while blocks and blocks[-1][0] >= mean:
            before, more = blocks.pop()
            mean, count = (before * more + mean * count) / (more + count), more + count
        blocks.append((mean, count))
    return np.repeat([mean for mean, _ in blocks], [count for _, count in blocks])


def delivered(curve: Curve, ids: Sequence[str], expected: Expected, actual: Actual) -> list[dict[str, Any]]:
    """For each target what came of it on other questions.

    `delivered`: quality over the strongest model's, `error` its standard error (of the paired difference). `saved`: part of the
    strongest model's cost. `lambdas`: of the one or two settings that questions went by.
    """
    draws = [share_of(uuid5(NAMESPACE_OID, each), DRAW) for each in ids]
    told = []
    for target in TARGETS:
        worths = np.array([curve.worth(target, draw=draw).usd for draw in draws])
        settings = {worth: _setting(worth) for worth in np.unique(worths).tolist()}
        choice = np.zeros(len(ids), np.intp)
        for worth, setting in settings.items():
            choice = np.where(worths == worth, choose(expected, setting), choice)
        told.append({"target": target, "lambdas": list(settings.values()), **_came(choice, actual)})
    return told


def _setting(worth_usd: float) -> float:
    return 1 / worth_usd if worth_usd else float("inf")


def _came(choice: NDArray[np.intp], actual: Actual) -> dict[str, float]:
    (cost, quality), strongest = max(
        ((single, place) for place, single in enumerate(actual.singles)), key=lambda each: (each[0][1], -each[0][0])
    )
    rows = np.arange(len(choice))
    lost = actual.outcomes[rows, choice] - actual.outcomes[:, strongest]
    return {
        "delivered": float(1 + lost.mean() / quality),
        "error": float(lost.std() / np.sqrt(len(rows)) / quality),
        "saved": float(1 - actual.cost_usd[rows, choice].mean() / cost),
    }
