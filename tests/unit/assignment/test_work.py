from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.assignment.work import works_of
from tests.support.assignments import batch, equal_jobs


@given(seed=st.integers(0, 2**31), missing=st.floats(0, 0.8), most=st.integers(8, 100))
@settings(max_examples=30, deadline=None)
def test_classes_are_a_partition_whose_jobs_may_all_go_where_the_class_may(
    seed: int, missing: float, most: int
) -> None:
    jobs = batch(300, seed=seed, missing=missing)
    work = works_of(jobs, most=most)
    assert np.array_equal(np.bincount(work.label), work.count)
    assert not (work.eligible[work.label] & ~jobs.eligible).any()
    assert work.eligible.any(axis=1).all()
    assert (work.quality * work.count[:, None]).sum() <= np.where(jobs.eligible, jobs.quality, 0).sum() + 1e-6


def test_rare_sets_of_eligible_models_do_not_multiply_the_classes() -> None:
    jobs = batch(2000, models=12)
    random = np.random.default_rng(0)
    eligible = random.random(jobs.eligible.shape) < 0.5
    eligible[:, 0] = True
    work = works_of(replace(jobs, eligible=eligible), most=60)
    assert len(np.unique(np.packbits(eligible, axis=1), axis=0)) > 600
    assert len(work.count) <= 20 * 12 + 12
    assert not (work.eligible[work.label] & ~eligible).any()


def test_equal_jobs_are_one_class() -> None:
    assert len(works_of(equal_jobs(500)).count) == 1


def test_means_are_those_of_the_jobs() -> None:
    jobs = batch(300)
    work = works_of(jobs, most=20)
    inside = work.label == 3
    assert work.cost_usd[3] == pytest.approx(jobs.cost_usd[inside].mean(axis=0))
    assert work.tokens_in[3] == pytest.approx(jobs.tokens_in[inside].mean())


def test_the_same_jobs_are_the_same_classes() -> None:
    assert np.array_equal(works_of(batch(300)).label, works_of(batch(300)).label)
