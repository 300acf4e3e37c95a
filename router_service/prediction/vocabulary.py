"""Which words a text has, beside their mean: the subject of a question is told by single rare words, which a mean drowns.

The usual measure of information retrieval: a piece counts by the root of how often it stands in the text, times how rare it is
among the texts trained with (inverse document frequency, Sparck Jones 1972); a text's row has length 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_service.prediction.embedding import Bag

    Singles = NDArray[np.float32]

LEAST_TEXTS = 2  # that have a piece: of one that only one text has nothing can be learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """`pieces` [count]: places in the table of word vectors; `rarity` [count]; `unknown`: the rarity of every other piece."""

    pieces: NDArray[np.intp]
    rarity: Singles
    unknown: float

    @classmethod
    def fit(cls, bags: Sequence[Bag], *, most: int) -> Self:
        """The `most` pieces that most texts have."""
        seen = np.concatenate([np.empty(0, np.intp), *(pieces for pieces, _ in bags)])
        texts = np.bincount(seen, minlength=1)
        kept = np.argsort(-texts, kind="stable")[:most]
        kept = np.sort(kept[texts[kept] >= LEAST_TEXTS])
        rarity = np.log((len(bags) + 1) / (texts[kept] + 1)).astype(np.float32)
        return cls(pieces=kept, rarity=rarity, unknown=round(float(np.log(len(bags) + 1)), 6))

    def rows(self, bags: Sequence[Bag]) -> Singles:
        """[texts, count]: pieces that are not in the vocabulary only make those smaller that are."""
        out = np.zeros((len(bags), len(self.pieces)), np.float32)
        if not len(self.pieces):
            return out
        for row, (pieces, roots) in enumerate(bags):
            places = np.minimum(np.searchsorted(self.pieces, pieces), len(self.pieces) - 1)
            known = self.pieces[places] == pieces
            values = roots * np.where(known, self.rarity[places], self.unknown)
            out[row, places[known]] = values[known] / max(float(np.sqrt(values @ values)), 1e-6)
        return out
