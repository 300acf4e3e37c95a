"""Batches of questions that models really answered: predictions from one part of them, outcomes from the other.

A folder has train/ and public_test/, each with questions.jsonl.gz and outcomes.csv.gz. Quality and length of an answer are
predicted by category and length of the prompt alone, from the first part, so that the predictions are weak and honest. No latency
was recorded: a call takes 0.4 s and 1/80 s for each token of its answer. The models' tpm would together take the batch twice.
"""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.assignment.capacity import Capacity
from router_service.assignment.goal import Goal
from router_service.assignment.jobs import Jobs
from router_service.catalog.models import Limits
from router_service.evaluation.assignment import result_of, summary
from router_service.evaluation.batch_worlds import World
from router_service.routing.prices import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from router_service.assignment.jobs import Floats, Ints

DEADLINE_S = 600.0
SHARE = 0.98
ROOM = 2.0  # batches that all models take together
FIRST_S, TOKENS_PER_S = 0.4, 80.0
LENGTHS = (70, 140)  # tokens of a prompt, between short, middle and long
PRIOR = 20.0  # questions that a model's overall mean counts as in each of its cells


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """Answers to questions, by question and model: `right` 0 or 1, tokens. `cell`: category and length, as a number."""

    ids: tuple[str, ...]
    cell: Ints
    tokens_in: Floats
    right: Floats
    tokens_out: Floats


def run(folder: Path, prices: Path, *, jobs: int, seeds: Sequence[int]) -> dict[str, Any]:
    """As a scenario of `evaluation.assignment.run`: batches drawn from the test part.

    Raises OSError or KeyError where the folder or the prices are not as described.
    """
    by_model = json.loads(prices.read_text())[folder.name]
    models = tuple(sorted(by_model))
    categories: dict[str, int] = {}
    train = read(folder / "train", models, categories)
    test = read(folder / "public_test", models, categories)
    results = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        rows = random.permutation(len(test.ids))[:jobs].astype(np.int64)
        batch = world_of(train, test, rows, models=models, prices=by_model)
        results.append(result_of(batch, Goal(quality_share=SHARE, deadline_s=DEADLINE_S)))
    says = f"recorded answers of {len(models)} models ({folder.name}); tpm binds on each"
    return {"says": says} | summary(results, deadline_s=DEADLINE_S)


def read(folder: Path, models: Sequence[str], categories: dict[str, int]) -> Recorded:
    """Questions that all of these models answered. `categories` gets the numbers of those that it does not know yet."""
    with gzip.open(folder / "questions.jsonl.gz", "rt", encoding="utf-8") as lines:
        questions = {str(each["question_id"]): each for each in map(json.loads, lines)}
    ids, rows = [], []
    with gzip.open(folder / "outcomes.csv.gz", "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            told = [row[f"{model}|{kind}"] for kind in ("correct", "output_tokens") for model in models]
            if all(told) and row["question_id"] in questions:
                ids.append(row["question_id"])
                rows.append([float(each) for each in told])
    tokens = [float(questions[each]["prompt_tokens_cl100k"]) for each in ids]
    numbers = [categories.setdefault(_category(questions[each]), len(categories)) for each in ids]
    values = np.array(rows)
    return Recorded(
        ids=tuple(ids),
        cell=np.array(numbers) * (len(LENGTHS) + 1) + np.searchsorted(LENGTHS, tokens),
        tokens_in=np.array(tokens),
        right=values[:, : len(models)],
        tokens_out=values[:, len(models) :],
    )


def world_of(
    train: Recorded, test: Recorded, rows: Ints, *, models: tuple[str, ...], prices: Mapping[str, Mapping[str, float]]
) -> World:
    """A batch of these rows of the test part."""
    usd_in, usd_out = (np.array([prices[model][kind] for model in models]) * 1e-6 for kind in ("in", "out"))
    tokens_in, real_out = test.tokens_in[rows], test.tokens_out[rows]
    cells = int(max(train.cell.max(), test.cell.max())) + 1
    quality, expected_out = (_by_cell(train, each, cells)[test.cell[rows]] for each in (train.right, train.tokens_out))
    jobs = Jobs(
        models=models,
        keys=np.array([key_of(test.ids[row]) for row in rows], dtype=np.uint64),
        tokens_in=tokens_in,
        quality=quality,
        cost_usd=tokens_in[:, None] * usd_in + expected_out * usd_out,
        tokens_out=expected_out,
        latency_s=FIRST_S + expected_out / TOKENS_PER_S,
        eligible=np.ones(quality.shape, dtype=np.bool_),
    )
    tpm = ROOM / len(models) * (tokens_in[:, None] + expected_out).sum(axis=0) * 60 / DEADLINE_S
    limits = {model: Limits(slots=len(rows), tpm=float(each)) for model, each in zip(models, tpm, strict=True)}
    return World(
        jobs=jobs,
        capacity=Capacity.of(limits, horizon_s=DEADLINE_S),
        deadline_s=DEADLINE_S,
        right=test.right[rows],
        cost_usd=tokens_in[:, None] * usd_in + real_out * usd_out,
        tokens_out=real_out,
        latency_s=FIRST_S + real_out / TOKENS_PER_S,
    )


def _by_cell(train: Recorded, values: Floats, cells: int) -> Floats:
    """Means for each cell, drawn to the model's own mean where a cell has few questions."""
    sums = np.tile(PRIOR * values.mean(axis=0), (cells, 1))
    counts = np.full(cells, PRIOR)
    np.add.at(sums, train.cell, values)
    np.add.at(counts, train.cell, 1.0)
    return np.asarray(sums / counts[:, None], dtype=np.float64)


def _category(question: Mapping[str, Any]) -> str:
    return str(question.get("category") or question.get("task"))
