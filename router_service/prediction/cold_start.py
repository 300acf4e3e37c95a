"""A model that nobody measured: its declared quality, moved by how hard the question is.

    p = sigmoid(logit(quality) - SLOPE * difficulty)

as in a one-parameter item response model (Rasch 1960): the quality is the model's share of right answers on usual questions,
the difficulty is in standard deviations of them. SLOPE is what fits best for benchmark models whose own outcomes were hidden,
see docs/decisions/0015-learned-quality.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from router_service.prediction.predictor import Prediction

SLOPE = 1.5
P_LEAST, P_DIGITS = 0.002, 4
UNKNOWN_QUALITY = 0.5


def declared(prediction: Prediction, quality: float | None) -> NDArray[np.float32]:
    """p(correct) [texts] of a model that the predictor does not know, from its declared quality in [0, 1]."""
    share = min(max(UNKNOWN_QUALITY if quality is None else quality, P_LEAST), 1 - P_LEAST)
    logit = np.log(share / (1 - share)) - SLOPE * prediction.difficulty.astype(np.float64)
    p: NDArray[np.float32] = np.clip(1 / (1 + np.exp(-logit)), P_LEAST, 1 - P_LEAST).round(P_DIGITS).astype(np.float32)
    return p


def p_correct(prediction: Prediction, model_id: str, *, quality: float | None = None) -> NDArray[np.float32]:
    """[texts]: what was learned of the model, or else what its declared quality says."""
    if model_id in prediction.models:
        return prediction.p_correct[:, prediction.models.index(model_id)]
    return declared(prediction, quality)
