"""What other models did on nearly the same question.

Benchmarks borrow questions of each other, often with other options. A narrow kernel on the question without its options finds
them; of how those models did there, a few factors tell whether it is hard, and for what kind of model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from router_service.prediction.linear import column_means, fill

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

WIDTH = 8.0  # similarity = exp(-WIDTH * squared distance): narrow, next to kernel.WIDTH
FACTORS = 4
PENALTY = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """`stems` [questions, size]: scaled vectors. `by_stem` [questions, columns of Heads]: what is read off similarity to them."""

    stems: Singles
    by_stem: Singles

    def values(self, stems: Singles) -> Singles:
        """[texts, columns of Heads], from the texts' scaled vectors [texts, size]."""
        return similarity(stems, self.stems) @ self.by_stem


def similarity(left: Singles, right: Singles) -> Singles:
    """[rows of left, rows of right], in (0, 1]."""
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1)
    similar: Singles = np.exp(-WIDTH * np.maximum(squares - 2 * (left @ right.T), 0))
    return similar


def teach(stems: Singles, outcomes: Floats) -> Floats:
    """[questions, FACTORS or fewer]: similarity @ this is how a text stands in the directions in which the outcomes vary most."""
    moved = fill(outcomes) - column_means(outcomes)
    factors = np.linalg.svd(moved, full_matrices=False)[0][:, :FACTORS] * np.sqrt(len(moved))
    kernel = similarity(stems, stems).astype(np.float64)
    kernel[np.diag_indices_from(kernel)] += PENALTY
    weights: Floats = np.linalg.solve(kernel, factors)
    return weights
