"""What a trained predictor makes of a request, as signals: domain, difficulty, and how right each model would be.

Predictions are signals like others: made once, by a predictor that is named by its hash, and kept with the job.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, TypedDict, cast

from router_service.prediction import general

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_service.prediction import Prediction, Predictor
    from router_service.signals.request import Request
    from router_service.signals.signals import JSON, Signals

NAME = "predictor"
LEAST_SURE = 0.6  # a domain below that is not known
LEAST_FAMILIAR = 0.25  # of what is foreign to the predictor nothing is known
SPREAD = 1.702  # the logistic function nearest to the normal one, by which a standard deviation becomes a share


class Predicted(TypedDict):
    """What is kept of a prediction in `Signals.extra`, by `<NAME>.<key>`.

    `hardness`: standard deviations above a usual request; `familiarity`: 0 foreign to 1 like what was trained with; `p_correct`
    and `answer_tokens` by the names that models were trained under, the latter of those alone whose answers had known lengths;
    `p_usual`: p(correct) over the questions trained with.
    """

    hardness: float
    familiarity: float
    p_correct: dict[str, float]
    p_usual: dict[str, float]
    answer_tokens: dict[str, int]


class Prophet:
    """An extractor over a predictor: over the shipped one, which knows domains and difficulty, or one of the operator's own."""

    name = NAME

    def __init__(self, load: Callable[[], Predictor] = general) -> None:
        self._load = load

    @cached_property
    def _predictor(self) -> Predictor:
        """Loaded when the first request is read: many catalogs never need it."""
        return self._load()

    @cached_property
    def version(self) -> str:
        return self._predictor.hash

    def extract(self, requests: Sequence[Request], /) -> Sequence[Mapping[str, JSON]]:
        if not requests:
            return []
        given = [request.hints.get("waybill.domain") for request in requests]
        said = self._predictor.predict([request.last_user for request in requests], given)
        usual_p, usual_tokens = self._predictor.usual_p, self._predictor.usual_tokens
        usual = {model: round(float(usual_p[at]), 4) for at, model in enumerate(said.models)}
        measured = frozenset(model for at, model in enumerate(said.models) if usual_tokens[at] > 0)
        return [_signals(said, row, usual, measured) for row in range(len(requests))]


def predicted(signals: Signals | None) -> Predicted | None:
    """What was predicted of a request; None where no predictor has read it."""
    if signals is None or f"{NAME}.hardness" not in signals.extra:
        return None
    return cast("Predicted", {key: signals.extra.get(f"{NAME}.{key}", {}) for key in Predicted.__annotations__})


def hardness_of(signals: Signals | None) -> float | None:
    """How hard a request is, as in `Predicted`: as its caller says, else as predicted, else as another extractor says."""
    told = predicted(signals)
    if signals is None or (told is not None and "difficulty" not in signals.hinted):
        return told["hardness"] if told is not None else None
    if signals.difficulty is None:
        return None
    share = min(0.999, max(0.001, signals.difficulty))
    return math.log(share / (1 - share)) / SPREAD


def predictor_of(signals: Signals | None) -> str:
    """The hash of the predictor that has read a request; '' where none has."""
    return signals.versions.get(NAME, "") if signals is not None else ""


def _signals(said: Prediction, row: int, usual: Mapping[str, float], measured: frozenset[str]) -> Mapping[str, JSON]:
    """`measured`: models that were trained with answers of known length; of the others none is expected."""
    familiarity, hardness = float(said.familiarity[row]), float(said.difficulty[row])
    known: dict[str, JSON] = {
        "hardness": round(hardness, 4),
        "familiarity": round(familiarity, 4),
        "p_correct": {model: round(float(said.p_correct[row, at]), 4) for at, model in enumerate(said.models)},
        "p_usual": usual,
        "answer_tokens": {
            model: round(float(said.tokens_out[row, at])) for at, model in enumerate(said.models) if model in measured
        },
    }
    if familiarity < LEAST_FAMILIAR:
        return known
    known["difficulty"] = round(1 / (1 + math.exp(-SPREAD * hardness)), 4)
    best = int(said.domain[row].argmax())
    if said.domain[row, best] >= LEAST_SURE:
        known |= {"domain": said.domains[best], "domain_confidence": round(float(said.domain[row, best]), 4)}
    return known
