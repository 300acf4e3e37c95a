"""What a trained predictor says of texts, and its file: an .npz of plain arrays and one JSON text, never a pickle.

Everything is linear in three views of a text: its similarity to landmarks (`kernel.View`), its domain's probabilities and, for
these alone, its words. So a batch costs three matrix products however many models there are.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from router_service.errors import SettingsError
from router_service.prediction import features
from router_service.prediction.elsewhere import Elsewhere
from router_service.prediction.embedding import Embedding, shipped
from router_service.prediction.kernel import View
from router_service.prediction.linear import one_hot, sigmoid, softmax
from router_service.prediction.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Singles = NDArray[np.float32]

FORMAT = 2
P_DIGITS = 4  # so that a stored prediction and a repeated one are the same number on every machine
P_LEAST = 0.002  # nothing is certain
TOKENS_LEAST = 0.2  # of a model's mean answer
NEAREST = 8  # landmarks that a text's familiarity is measured by
BLOCK = 512  # texts that are in memory as matrices at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is expected of each text. `models` and `domains` name the columns.

    `p_correct` and `tokens_out` [texts, models]: probability of a right answer and expected length. `domain` [texts, domains]:
    probabilities. `difficulty` [texts]: 0 is a usual question of those trained with, 1 a standard deviation harder.
    `familiarity` [texts]: 1 is like the training questions, 0 like none of them.
    """

    models: tuple[str, ...]
    domains: tuple[str, ...]
    p_correct: Singles
    tokens_out: Singles
    domain: Singles
    difficulty: Singles
    familiarity: Singles


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What is read off the two views: `base`, plus domain probabilities @ `by_domain`, plus similarity @ `by_landmark`.

    Columns: each model's p(correct), or its logit for models in `Predictor.by_logit`; each model's tokens; the difficulty.
    `domain_base`, `domain_by_landmark` and `domain_by_piece` (of `vocabulary.Vocabulary`) are the scores that a softmax makes
    domain probabilities of.
    """

    domain_base: Singles
    domain_by_landmark: Singles
    domain_by_piece: Singles
    base: Singles
    by_domain: Singles
    by_landmark: Singles


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """Frozen. `far` and `near`: mean similarity to the nearest landmarks at which a text counts as foreign or as familiar.

    `about` says where it is from: sources, licences, date, numbers measured; it is part of the hash.
    """

    models: tuple[str, ...]
    domains: tuple[str, ...]
    view: View
    vocabulary: Vocabulary
    heads: Heads
    far: float
    near: float
    about: Mapping[str, Any]
    by_logit: tuple[str, ...] = ()
    elsewhere: Elsewhere | None = None
    embedding: Embedding = field(default_factory=shipped, repr=False, compare=False)

    @property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 of all numbers and names. Decisions store it."""
        digest = hashlib.sha256(_canonical(self._names()))
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name}{array.shape}".encode() + np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()[:16]

    @property
    def usual_p(self) -> Singles:
        """[models]: each model's share of right answers over the questions it was trained with."""
        return self._p(self.heads.base)

    def _p(self, values: Singles) -> Singles:
        """Of values in the columns of the heads, the p(correct) of all models."""
        means = values[..., : len(self.models)]
        return np.where(np.isin(self.models, self.by_logit), sigmoid(means), means) if self.by_logit else means

    @property
    def usual_tokens(self) -> Singles:
        """[models]: each model's mean length of an answer."""
        return self.heads.base[len(self.models) : 2 * len(self.models)]

    def column(self, model_id: str) -> int | None:
        """The model's column in a Prediction; None where it was not trained with."""
        return self.models.index(model_id) if model_id in self.models else None

    def predict(self, texts: Sequence[str], domains: Sequence[str | None] | None = None) -> Prediction:
        """What is expected of each text; a given domain that the predictor knows takes the place of the guessed one."""
        starts = range(0, max(len(texts), 1), BLOCK)
        parts = [self._block(texts[at : at + BLOCK], domains and domains[at : at + BLOCK]) for at in starts]
        arrays = [np.concatenate(each) for each in zip(*parts, strict=True)]
        p_correct, tokens_out, domain, difficulty, familiarity = arrays
        return Prediction(
            models=self.models,
            domains=self.domains,
            p_correct=p_correct,
            tokens_out=tokens_out,
            domain=domain,
            difficulty=difficulty,
            familiarity=familiarity,
        )

    def _block(self, texts: Sequence[str], given: Sequence[str | None] | None) -> tuple[Singles, ...]:
        words, form, bags = features.read(texts, self.embedding)
        scaled = self.view.scale(words, form, stem_weight=features.STEM_WEIGHT)
        similarity = self.view.similarity(scaled)
        scores = similarity @ self.heads.domain_by_landmark + self.vocabulary.rows(bags) @ self.heads.domain_by_piece
        domain = softmax(self.heads.domain_base + scores).astype(np.float32)
        if given is not None:
            told = one_hot(given, self.domains)
            domain = np.where(told.any(axis=1, keepdims=True), told, domain).astype(np.float32)
        familiarity = np.clip((nearness(similarity) - self.far) / max(self.near - self.far, 1e-6), 0, 1)
        moved = domain @ self.heads.by_domain + similarity @ self.heads.by_landmark
        if self.elsewhere is not None:
            moved += self.elsewhere.values(self.view.stems(scaled))
        values = self.heads.base + familiarity[:, None] * moved
        count = len(self.models)
        tokens_least = TOKENS_LEAST * self.usual_tokens
        parts: tuple[NDArray[Any], ...] = (
            np.round(np.clip(self._p(values), P_LEAST, 1 - P_LEAST), P_DIGITS),
            np.maximum(values[:, count : 2 * count], tokens_least).round(1),
            domain.round(P_DIGITS),
            values[:, -1].round(P_DIGITS),
            familiarity.round(P_DIGITS),
        )
        return tuple(np.asarray(part, np.float32) for part in parts)

    def save(self, path: Path) -> None:
        """Write the file; the same predictor gives the same bytes."""
        names = {**self._names(), "hash": self.hash}
        arrays: dict[str, NDArray[Any]] = {**self._arrays(), "names": np.frombuffer(_canonical(names), np.uint8)}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in sorted(arrays.items()):
                member = io.BytesIO()
                stored = array.astype("<f2") if name in HALF else array
                np.lib.format.write_array(member, np.ascontiguousarray(stored), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)

    @classmethod
    def load(cls, path: Path, *, embedding: Embedding | None = None) -> Self:
        """Read a file that `save` wrote. SettingsError: not such a file, another format, or changed content."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            names = json.loads(arrays.pop("names").tobytes())
            if names["format"] != FORMAT:
                raise SettingsError(f"{path}: format {names['format']!r}; this version reads {FORMAT}; train it again")
            predictor = cls._of(names, arrays, embedding or shipped())
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            raise SettingsError(f"{path}: not a predictor written by `waybill train`: {error}") from error
        if predictor.hash != names["hash"]:
            raise SettingsError(f"{path}: its content is not what its hash says; it was changed or cut off")
        return predictor

    @classmethod
    def _of(cls, names: dict[str, Any], arrays: dict[str, NDArray[Any]], embedding: Embedding) -> Self:
        singles = {name: array.astype(np.float32) for name, array in arrays.items()}
        return cls(
            models=tuple(names["models"]),
            domains=tuple(names["domains"]),
            view=View(**{name: singles[name] for name in VIEW}),
            vocabulary=Vocabulary(
                pieces=arrays["pieces"].astype(np.intp), rarity=singles["rarity"], unknown=names["unknown"]
            ),
            heads=Heads(**{name: singles[name] for name in HEADS}),
            far=names["far"],
            near=names["near"],
            about=names["about"],
            by_logit=tuple(names.get("by_logit", ())),
            elsewhere=Elsewhere(**{name: singles[name] for name in ELSEWHERE}) if ELSEWHERE[0] in singles else None,
            embedding=embedding,
        )

    def _names(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "models": list(self.models),
            "domains": list(self.domains),
            "far": self.far,
            "near": self.near,
            "unknown": self.vocabulary.unknown,
            "about": dict(self.about),
            **({"by_logit": list(self.by_logit)} if self.by_logit else {}),
        }

    def _arrays(self) -> dict[str, Singles]:
        view = {name: getattr(self.view, name) for name in VIEW}
        elsewhere = {name: getattr(self.elsewhere, name) for name in ELSEWHERE} if self.elsewhere else {}
        words = {"pieces": self.vocabulary.pieces.astype(np.float32), "rarity": self.vocabulary.rarity}
        return view | words | {name: getattr(self.heads, name) for name in HEADS} | elsewhere


VIEW = ("centre", "form_mean", "form_scale", "landmarks")
HEADS = ("domain_base", "domain_by_landmark", "domain_by_piece", "base", "by_domain", "by_landmark")
ELSEWHERE = ("stems", "by_stem")
HALF = frozenset({"landmarks", "stems"})  # trained with what half precision keeps of them


GENERAL = Path(__file__).with_name("general.npz")


@cache
def general() -> Predictor:
    """The predictor of the package: domains and difficulty of questions, no models. Read once in a process."""
    return Predictor.load(GENERAL)


def nearness(similarity: Singles) -> Singles:
    """[texts]: mean similarity to the NEAREST landmarks."""
    count = min(NEAREST, similarity.shape[1])
    nearest = np.partition(similarity, -count, axis=1)[:, -count:]
    means: Singles = nearest.mean(axis=1)
    return means


def _canonical(names: Mapping[str, Any]) -> bytes:
    return json.dumps(names, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
