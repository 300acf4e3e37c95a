"""A small world of words: subjects have their own, hard questions have long ones, and each model is good at one subject."""

from __future__ import annotations

import numpy as np
import pytest

from router_service.prediction.embedding import WORD_START, Embedding
from router_service.prediction.examples import Examples

SUBJECTS = {
    "law": ("court", "judge", "contract"),
    "physics": ("force", "mass", "energy"),
    "music": ("chord", "song", "tempo"),
}
HARD, EASY = "perplexing", "simple"
MODELS = ("lawyer", "physicist", "giant")
SKILLS = {"lawyer": {"law": 0.9}, "physicist": {"physics": 0.9}, "giant": {"law": 0.85, "physics": 0.85, "music": 0.85}}


@pytest.fixture(scope="session")
def embedding() -> Embedding:
    words = [word for group in SUBJECTS.values() for word in group] + [HARD, EASY, "what", "is", "the"]
    vectors = np.random.default_rng(7).normal(size=(len(words) + 1, 16)).astype(np.float32)
    return Embedding(
        pieces={WORD_START + word: at for at, word in enumerate(words)} | {"s": len(words)}, vectors=vectors
    )


def world(count: int, *, seed: int) -> Examples:
    random = np.random.default_rng(seed)
    names = list(SUBJECTS)
    subjects = [names[at] for at in random.integers(len(names), size=count)]
    hard = random.random(count) < 0.5
    texts = [
        f"What is the {HARD if difficult else EASY} {' '.join(random.choice(SUBJECTS[subject], 3))}?"
        for subject, difficult in zip(subjects, hard, strict=True)
    ]
    p = np.array([[SKILLS[model].get(subject, 0.3) for model in MODELS] for subject in subjects]) - 0.25 * hard[:, None]
    tokens = np.where(hard, 200.0, 50.0)[:, None] * np.array([1.0, 1.0, 2.0])
    return Examples(
        source="world",
        texts=tuple(texts),
        domains=tuple(subjects),
        models=MODELS,
        outcomes=(random.random(p.shape) < p).astype(float),
        tokens_out=tokens,
    )


@pytest.fixture(scope="session")
def examples() -> Examples:
    return world(600, seed=1)
