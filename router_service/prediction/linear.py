"""Least squares with a penalty, in closed form, and what each row would have been predicted without itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEWTON_STEPS = 8
LEAST_P = 1e-3


def ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    """Weights [x's columns, y's columns] that minimise |xw - y|^2 + penalty |w|^2."""
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += penalty
    return np.linalg.solve(gram, x.T @ y).astype(np.float64, copy=False)


def ridge_left_out(
    x: Floats, y: Floats, penalty: float, *, twins: NDArray[np.intp] | None = None
) -> tuple[Floats, Floats]:
    """(weights, predictions): each row's prediction by the weights of all other rows, its twin left out too.

    With H = x (x'x + penalty I)^-1 x', rows I left out together err by (1 - H_II)^-1 (y - Hy)_I (PRESS, Allen 1974). `twins`: the
    place of each row's twin, its own where it has none; the twin of a twin is the row.
    """
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights = inverse @ (x.T @ y)
    spread = x @ inverse
    own = np.maximum(1 - np.einsum("ij,ij->i", spread, x), 1e-6)[:, None]
    errors = y - x @ weights
    if twins is None:
        return weights, y - errors / own
    shared = np.where(twins == np.arange(len(x)), 0.0, np.einsum("ij,ij->i", spread, x[twins]))[:, None]
    apart = np.maximum(own * own[twins] - shared**2, 1e-9)
    return weights, y - (own[twins] * errors + shared * errors[twins]) / apart


def logistic(x: Floats, y: Floats, offset: Floats, penalty: float, *, level_penalty: float | None = None) -> Floats:
    """Weights [x's columns, y's columns] that make sigmoid(offset + xw) most likely; y in [0, 1].

    Each column's weights are drawn to 0 by penalty / 2 |w|^2; with a `level_penalty` to weights that all columns share, which are
    found first: many columns tell what is common to them far better than each tells what is its own. Shared weights are drawn
    to 0 by level_penalty / 2 |w|^2 for each column, since columns err together.
    """
    columns = range(y.shape[1])
    shared = np.zeros(x.shape[1])
    if level_penalty is not None:
        shared = _newton(x, y, offset, level_penalty * len(columns))
        offset = offset + (x @ shared)[:, None]
    offsets = np.broadcast_to(offset, y.shape)
    own = [_newton(x, y[:, [column]], offsets[:, [column]], penalty) for column in columns]
    return np.stack(own, axis=1) + shared[:, None] if own else np.zeros((x.shape[1], 0))


def _newton(x: Floats, y: Floats, offset: Floats, penalty: float) -> Floats:
    """One weight for each column of x, the same for all columns of y, by Newton's method from 0.

    NEWTON_STEPS of it: the penalty keeps it well within where that converges.
    """
    weights = np.zeros(x.shape[1])
    for _ in range(NEWTON_STEPS):
        p = sigmoid(offset + (x @ weights)[:, None])
        curvature = (x * (p * (1 - p)).sum(axis=1)[:, None]).T @ x
        curvature[np.diag_indices_from(curvature)] += penalty
        weights += np.linalg.solve(curvature, x.T @ (y - p).sum(axis=1) - penalty * weights)
    return weights


def sigmoid(logits: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-logits)), without overflow; of the type it is given."""
    half: NDArray[Any] = 0.5 * (1 + np.tanh(0.5 * logits))
    return half


def logit(p: Floats) -> Floats:
    """The inverse of `sigmoid`, for p kept off 0 and 1."""
    bounded = np.clip(p, LEAST_P, 1 - LEAST_P)
    logits: Floats = np.log(bounded / (1 - bounded))
    return logits


def fill(y: Floats, weights: Floats | None = None) -> Floats:
    """Missing outcomes (NaN) as the column's mean plus how the row is above the mean of what it has, kept in [0, 1]."""
    means = column_means(y)
    known = ~np.isnan(y)
    excess = np.where(known, y - means, 0.0)
    own = known.sum(axis=1) + (1.0 if weights is None else weights)
    rows = excess.sum(axis=1) / own
    return np.where(known, y, np.clip(means + rows[:, None], 0.0, 1.0))


def column_means(y: Floats) -> Floats:
    """Means over what is there; 0.5 for a column without any."""
    known = ~np.isnan(y)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, y, 0.0).sum(axis=0) / np.maximum(count, 1), 0.5)


def softmax(scores: NDArray[np.floating[Any]]) -> Floats:
    """Each row as shares that sum to 1."""
    powers: Floats = np.exp(scores - scores.max(axis=1, keepdims=True)).astype(np.float64)
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def one_hot(names: Sequence[str | None], classes: Sequence[str]) -> Floats:
    """[names, classes]; a row of zeros where the name is none of them."""
    place = {name: column for column, name in enumerate(classes)}
    out = np.zeros((len(names), len(classes)))
    for row, name in enumerate(names):
        if name in place:
            out[row, place[name]] = 1.0
    return out
