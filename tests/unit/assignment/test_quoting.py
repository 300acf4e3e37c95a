from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from router_service.assignment.goal import Goal
from router_service.assignment.plan import Infeasible
from router_service.assignment.quoting import Actual, Quote, Spread, compare, quote, stratified
from tests.support.assignments import batch, room_for

JOBS = batch(3000, missing=0.2)
CAPACITY = room_for(JOBS, 0.3)
GOAL = Goal(quality_share=0.95, deadline_s=600.0)


def the_quote(most: int = 20_000) -> Quote:
    found = quote(JOBS, capacity=CAPACITY, goal=GOAL, most=most)
    assert isinstance(found, Quote)
    return found


def test_a_quote_says_that_it_rests_on_a_sample_and_is_near_the_whole() -> None:
    whole, sample = the_quote(), the_quote(most=1000)
    assert not whole.is_sampled
    assert sample.is_sampled
    assert (sample.jobs, sample.looked_at) == (3000, 1000)
    assert sample.plan.jobs == 3000
    assert sample.cost_usd.expected == pytest.approx(whole.cost_usd.expected, rel=0.06)
    assert sample.finish_s.expected == pytest.approx(whole.finish_s.expected, rel=0.05)
    assert sample.cost_usd.high - sample.cost_usd.low > whole.cost_usd.high - whole.cost_usd.low


def test_answers_that_stray_more_widen_the_intervals() -> None:
    narrow = quote(JOBS, capacity=CAPACITY, goal=GOAL, spread=Spread(job=0.1, all=0.01))
    wide = quote(JOBS, capacity=CAPACITY, goal=GOAL, spread=Spread(job=1.0, all=0.2))
    assert isinstance(narrow, Quote)
    assert isinstance(wide, Quote)
    assert wide.cost_usd.high > narrow.cost_usd.high
    assert wide.cost_usd.low < narrow.cost_usd.low
    assert wide.finish_s.high > narrow.finish_s.high


def test_a_quote_is_the_same_each_time() -> None:
    assert the_quote() == the_quote()


def test_a_sample_has_a_part_of_every_set_of_eligible_models() -> None:
    rows = stratified(JOBS, 600)
    assert len(np.unique(rows)) == 600
    whole = np.packbits(JOBS.eligible, axis=1)[:, 0]
    for mask, count in zip(*np.unique(whole, return_counts=True), strict=True):
        assert abs(int((whole[rows] == mask).sum()) - count / 5) <= 1


def test_the_verdict_is_actual_against_quoted() -> None:
    quoted = the_quote()
    actual = Actual(cost_usd=quoted.cost_usd.expected * 1.1, finish_s=quoted.finish_s.expected, quality=0.5)
    verdict = compare(quoted, actual)
    assert verdict.cost_error == pytest.approx(0.1)
    assert verdict.finish_error == 0
    assert verdict.quality_error == pytest.approx(0.5 - quoted.plan.quality)
    assert verdict.in_finish
    assert compare(quoted, replace(actual, cost_usd=1e9)).in_cost is False


def test_what_cannot_be_done_has_no_quote() -> None:
    assert isinstance(quote(JOBS, capacity=CAPACITY, goal=Goal(quality=1.0)), Infeasible)
