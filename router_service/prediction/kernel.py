"""Similarity to landmarks: a smooth, bounded view of the features in which everything further is linear.

Nystroem's approximation of a Gaussian kernel: with landmarks L, K(x, L) K(L, L)^-1/2 are features whose inner products are
about the kernel's (Williams and Seeger, 2001). Far from all landmarks they are near zero, so that linear predictions there
fall back to their means by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

WIDTH = 0.5  # similarity = exp(-WIDTH * squared distance)
LEAST_EIGENVALUE = 1e-6
WORDS_SPREAD_LIMIT = 4.0  # standard deviations of a number of the form


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`centre`, `form_mean` and `form_scale` make raw features comparable; landmarks [count, features] are of that kind."""

    centre: Singles
    form_mean: Singles
    form_scale: Singles
    landmarks: Singles

    @classmethod
    def fit(cls, words: Singles, form: Singles, *, count: int, stem_weight: float, seed: int) -> Self:
        """Landmarks are `count` of the rows, drawn by `seed`."""
        centre = words.mean(axis=0)
        scale = form.std(axis=0) + 1e-6
        view = cls(centre=centre, form_mean=form.mean(axis=0), form_scale=scale, landmarks=words[:0])
        rows = np.random.default_rng(seed).permutation(len(words))[:count]
        scaled = view.scale(words[np.sort(rows)], form[np.sort(rows)], stem_weight=stem_weight)
        return cls(centre=centre, form_mean=view.form_mean, form_scale=scale, landmarks=scaled)

    def scale(self, words: Singles, form: Singles, *, stem_weight: float) -> Singles:
        """[rows, features]: both word vectors centred and of length 1 and `stem_weight`; the form as bounded z-scores."""
        half = words.shape[1] // 2
        centred = words - self.centre
        parts = [_unit(centred[:, :half]), stem_weight * _unit(centred[:, half:])]
        z = np.clip((form - self.form_mean) / self.form_scale, -WORDS_SPREAD_LIMIT, WORDS_SPREAD_LIMIT)
        return np.hstack([*parts, z / np.sqrt(form.shape[1])]).astype(np.float32)

    def stems(self, scaled: Singles) -> Singles:
        """Of scaled rows the part that is the question without its options."""
        half = len(self.centre) // 2
        return scaled[:, half : 2 * half]

    def similarity(self, scaled: Singles) -> Singles:
        """[rows, landmarks], in (0, 1]."""
        squares = (scaled * scaled).sum(axis=1)[:, None] + (self.landmarks * self.landmarks).sum(axis=1)
        distance = np.maximum(squares - 2 * (scaled @ self.landmarks.T), 0)
        similar: Singles = np.exp(-WIDTH * distance)
        return similar

    def whitening(self) -> Floats:
        """[landmarks, landmarks]: similarity @ whitening are Nystroem's features."""
        values, vectors = np.linalg.eigh(self.similarity(self.landmarks).astype(np.float64))
        whitening: Floats = vectors / np.sqrt(np.maximum(values, LEAST_EIGENVALUE))
        return whitening


def _unit(rows: Singles) -> Singles:
    unit: Singles = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit
