"""`waybill eval routellm`: two models, a share of calls to the strong one. Metrics of RouteLLM (arXiv 2406.18665, section 3).

Files are CSV with a `prompt`, optionally a `domain`, and two columns `<model>_correct`.
"""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.errors import InvalidRequestError
from router_service.evaluation import frontier
from router_service.prediction import training
from router_service.prediction.examples import Examples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from router_service.prediction import Predictor

CORRECT = "_correct"
WANTED = (0.5, 0.8)


def read(files: Sequence[Path], contaminated: Path | None = None) -> Examples:
    """All prompts of the files but those listed as contaminated. InvalidRequestError: a file has other columns."""
    dropped = _prompts(contaminated) if contaminated is not None else frozenset()
    rows = [row for path in files for row in _rows(path) if row["prompt"] not in dropped]
    models = tuple(sorted(name.removesuffix(CORRECT) for name in rows[0] if name.endswith(CORRECT))) if rows else ()
    if len(models) != 2 or any(f"{model}{CORRECT}" not in row for row in rows for model in models):
        raise InvalidRequestError(
            f"{files[0]}: expected the columns prompt and <model>{CORRECT} of the same two models"
        )
    outcomes = np.array([[_outcome(row[f"{model}{CORRECT}"]) for model in models] for row in rows])
    return Examples(
        source=" + ".join(path.name for path in files),
        texts=tuple(row["prompt"] for row in rows),
        domains=tuple(row.get("domain") or None for row in rows),
        models=models,
        outcomes=outcomes,
        tokens_out=np.full(outcomes.shape, np.nan),
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open(encoding="utf-8", newline="") as file
    ):
        reader = csv.DictReader(file)
        if "prompt" not in (reader.fieldnames or ()):
            raise InvalidRequestError(f"{path}: expected a column prompt")
        yield from reader


def _outcome(text: str) -> float:
    words = {"true": 1.0, "false": 0.0}
    return words[text.lower()] if text.lower() in words else float(text)


def _prompts(path: Path) -> frozenset[str]:
    """The prompts of a JSON Lines file: strings, lists of strings, or objects with one string that counts."""
    found: set[str] = set()
    for line in path.read_text("utf-8").splitlines():
        document = json.loads(line) if line.strip() else []
        values = (
            document.values() if isinstance(document, dict) else document if isinstance(document, list) else [document]
        )
        found.update(value for value in values if isinstance(value, str))
    return frozenset(found)


def measure(examples: Examples, *, labels: int, seed: int = 0, also: Sequence[Examples] = ()) -> dict[str, Any]:
    """Train on `labels` prompts drawn by `seed`, and on `also`; route all others, by text only and with the subject given.

    Domains of `also` do not count: by whatever names, they are not the subjects that are told apart here.
    """
    if not 0 < labels < len(examples.texts):
        raise InvalidRequestError(
            f"--labels {labels}: there are {len(examples.texts)} prompts; some must be left to test on"
        )
    order = np.random.default_rng(seed).permutation(len(examples.texts))
    learned, rest = examples.rows(np.sort(order[:labels])), examples.rows(np.sort(order[labels:]))
    others = [replace(each, domains=(None,) * len(each.texts)) for each in also]
    predictor = training.train([learned, *others])
    strong = int(np.argmax(learned.outcomes.mean(axis=0)))
    report = {
        "strong": examples.models[strong],
        "weak": examples.models[1 - strong],
        "labels": labels,
        "tested": len(rest.texts),
        "text": two_models(gain(predictor, rest, strong=strong), rest.outcomes, strong=strong),
    }
    if any(rest.domains):
        told = gain(predictor, rest, strong=strong, domains=rest.domains)
        report["subject_given"] = two_models(told, rest.outcomes, strong=strong)
    return report


def gain(
    predictor: Predictor, examples: Examples, *, strong: int, domains: Sequence[str | None] | None = None
) -> NDArray[np.float64]:
    """[prompts]: by how much p(correct) of the strong model is expected to be higher than that of the weak one."""
    said = predictor.predict(examples.texts, domains)
    columns = [predictor.models.index(examples.models[each]) for each in (strong, 1 - strong)]
    p = said.p_correct[:, columns].astype(np.float64)
    difference: NDArray[np.float64] = p[:, 0] - p[:, 1]
    return difference


def two_models(scores: NDArray[np.float64], outcomes: NDArray[np.float64], *, strong: int) -> dict[str, float]:
    """APGR, CPT50 and CPT80 of calling the strong model where `scores` are highest; and of knowing the outcomes."""
    weak = outcomes[:, 1 - strong]
    told = {}
    for name, order in (("", scores), ("oracle_", outcomes[:, strong] - weak)):
        shares, pgr = frontier.recovered(order, weak, outcomes[:, strong])
        told[f"{name}apgr"] = frontier.apgr(shares, pgr)
        for wanted in WANTED:
            told[f"{name}cpt{wanted * 100:.0f}"] = frontier.call_share(shares, pgr, wanted)
    return told
