"""What a trained predictor makes of a request, as signals: domain, difficulty, and how right each model would be.

Predictions are signals like others: made once, by a predictor that is named by its hash, and kept with the job.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypedDict, cast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.prediction.predictor import Prediction, Predictor
    from router_service.signals.request import Request
    from router_service.signals.signals import JSON, Signals

NAME = "predictor"
LEAST_SURE = 0.6  # a domain below that is not known
LEAST_FAMILIAR = 0.25  # of what is foreign to the predictor nothing is known
SPREAD = 1.702  # the logistic function nearest to the normal one, by which a standard deviation becomes a share


class Predicted(TypedDict):
    """What is kept of a prediction in `Signals.extra`, by `<NAME>.<key>`.

    `hardness`: standard deviations above a usual request; `familiarity`: 0 foreign to 1 like what was trained with; `quality` and
    `tokens_out` by the names that models were trained under.
    """

    hardness: float
    familiarity: float
    quality: dict[str, float]
    tokens_out: dict[str, int]


class Prophet:
    """An extractor over a predictor."""

    name = NAME

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.version = predictor.hash

    def extract(self, requests: Sequence[Request], /) -> Sequence[Mapping[str, JSON]]:
        if not requests:
            return []
        given = [request.hints.get("waybill.domain") for request in requests]
        said = self._predictor.predict([request.last_user for request in requests], given)
        return [_signals(said, row) for row in range(len(requests))]


def predicted(signals: Signals | None) -> Predicted | None:
    """What was predicted of a request; None where no predictor has read it."""
    if signals is None or f"{NAME}.hardness" not in signals.extra:
        return None
    return cast("Predicted", {key: signals.extra[f"{NAME}.{key}"] for key in Predicted.__annotations__})


def _signals(said: Prediction, row: int) -> Mapping[str, JSON]:
    familiarity, hardness = float(said.familiarity[row]), float(said.difficulty[row])
    known: dict[str, JSON] = {
        "hardness": round(hardness, 4),
        "familiarity": round(familiarity, 4),
        "quality": {model: round(float(said.p_correct[row, at]), 4) for at, model in enumerate(said.models)},
        "tokens_out": {model: round(float(said.tokens_out[row, at])) for at, model in enumerate(said.models)},
    }
    if familiarity < LEAST_FAMILIAR:
        return known
    known["difficulty"] = round(1 / (1 + math.exp(-SPREAD * hardness)), 4)
    best = int(said.domain[row].argmax())
    if said.domain[row, best] >= LEAST_SURE:
        known |= {"domain": said.domains[best], "domain_confidence": round(float(said.domain[row, best]), 4)}
    return known
