from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from router_service.evaluation import assignment, recorded_batches
from router_service.evaluation.bars import svg
from router_service.evaluation.batch_runs import Run, assigned, filling, spilling, tuned, weighed_scores
from router_service.evaluation.batch_worlds import KINDS, SCENARIOS, world

if TYPE_CHECKING:
    from pathlib import Path

BY_NAME = {each.name: each for each in SCENARIOS}


def test_where_tokens_bind_a_plan_is_near_the_bound_and_below_every_per_job_rule() -> None:
    report = assignment.run(jobs=800, seeds=[1], scenarios=["tokens"])["scenarios"]["tokens"]
    assert report["cost_over_bound"][0] < 1.06
    assert all(each["saved"][0] > 0.05 for each in report["against"].values() if each["saved"] is not None)
    assert report["against"]["patient"]["reached"] == 1.0
    assert "tpm of medium" in report["binding"]


def test_predictions_are_calibrated() -> None:
    batch = world(BY_NAME["slack"], jobs=20_000, seed=3)
    for low in (0.1, 0.3, 0.5, 0.7, 0.9):
        near = np.abs(batch.jobs.quality - low) < 0.05
        assert float(batch.right[near].mean()) == pytest.approx(float(batch.jobs.quality[near].mean()), abs=0.015)


def test_languages_and_places_leave_every_job_a_model() -> None:
    for name in ("languages", "residency"):
        batch = world(BY_NAME[name], jobs=2000, seed=0)
        assert batch.jobs.eligible.any(axis=1).all()
        assert not batch.jobs.eligible.all()
    in_eu = np.array([kind.is_eu for kind in KINDS])
    confined = ~world(BY_NAME["residency"], jobs=2000, seed=0).jobs.eligible[:, ~in_eu].any(axis=1)
    assert 0.35 < confined.mean() < 0.45


def test_a_rule_with_room_everywhere_gives_each_job_its_best() -> None:
    batch = world(BY_NAME["slack"], jobs=300, seed=0)
    scores = weighed_scores(batch, 1e-3)
    whole = assigned(batch, scores.argmin(axis=1).astype(np.int64))
    filled = filling(batch, scores)
    assert filled.cost_usd == pytest.approx(whole.cost_usd)
    assert spilling(batch, scores).finish_s <= whole.finish_s


def test_tuning_finds_the_cheapest_that_is_good_enough() -> None:
    def run(parameter: float) -> Run:
        return Run(cost_usd=parameter, quality=parameter / 10, right=0.0, finish_s=0.0)

    found = tuned(run, target=0.5, low=1e-3, high=10.0)
    assert found.cost_usd == pytest.approx(5.0, rel=0.01)
    assert found.quality >= 0.5
    assert tuned(run, target=2.0, low=1e-3, high=10.0).quality == 1.0


def test_recorded_answers_are_a_batch_of_their_own(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    random = np.random.default_rng(0)
    for part, count in (("train", 400), ("public_test", 300)):
        _write(folder / part, count, random)
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"tiny": {"a": {"in": 0.1, "out": 0.1}, "b": {"in": 2.0, "out": 8.0}}}))
    report = recorded_batches.run(folder, prices, jobs=300, seeds=[0])
    assert 0.5 < report["right"][0] < 1.0
    assert report["cost_over_bound"][0] < 1.2


def _write(folder: Path, count: int, random: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    with gzip.open(folder / "questions.jsonl.gz", "wt", encoding="utf-8") as lines:
        for number in range(count):
            kind = "easy" if number % 2 else "hard"
            lines.write(json.dumps({"question_id": number, "category": kind, "prompt_tokens_cl100k": 100}) + "\n")
    with gzip.open(folder / "outcomes.csv.gz", "wt", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["question_id", "a|correct", "b|correct", "a|output_tokens", "b|output_tokens"])
        for number in range(count):
            right = random.random(2) < ([0.9, 0.95] if number % 2 else [0.3, 0.9])
            table.writerow([number, *right.astype(int), *random.integers(20, 200, 2)])


def test_bars_are_drawn_in_proportion_and_escaped() -> None:
    drawn = svg("a <title>", {"one": {"plan": 1.0, "rule": 2.0}})
    assert "a &lt;title&gt;" in drawn
    assert 'width="470.0"' in drawn
    assert 'width="235.0"' in drawn
