"""A model that nobody measured: its declared quality, moved by how hard the question is.

    p = sigmoid(logit(quality) - SLOPE * difficulty)

as in a one-parameter item response model (Rasch 1960): the quality is the model's share of right answers on usual questions,
the difficulty is in standard deviations of them. SLOPE is what fits best for benchmark models whose own outcomes were hidden,
see docs/decisions/0015-learned-quality.md.
"""

from __future__ import annotations

import math

SLOPE = 1.5
LEAST, MOST = 0.002, 0.998  # nothing is certain


def declared(quality: float, difficulty: float) -> float:
    """p(right answer) of a model that the predictor does not know, from its declared quality in [0, 1]."""
    share = min(MOST, max(LEAST, quality))
    return 1 / (1 + math.exp(SLOPE * difficulty - math.log(share / (1 - share))))
