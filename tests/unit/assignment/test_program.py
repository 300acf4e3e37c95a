from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.assignment.program import Aim, Asked, Program, members
from router_service.assignment.work import works_of
from tests.support.assignments import batch, room_for

SEEDS = st.integers(0, 2**31)


def program(seed: int = 0, share: float = 0.3) -> Program:
    jobs = batch(400, seed=seed, missing=0.2)
    return Program(work=works_of(jobs, most=60), limits=room_for(jobs, share, slots=30).limits, models=jobs.models)


@given(seed=SEEDS, share=st.floats(0.1, 1.0), quality=st.floats(0.3, 0.75), deadline_s=st.floats(200, 900))
@settings(max_examples=40, deadline=None)
def test_a_solution_deals_out_every_class_and_keeps_every_row(
    seed: int, share: float, quality: float, deadline_s: float
) -> None:
    each = program(seed, share)
    found = each.best(Aim.COST, Asked(quality=quality, deadline_s=deadline_s))
    if found is None:
        best = each.best(Aim.QUALITY, Asked(deadline_s=deadline_s))
        assert best is None or best.quality < quality + 1e-6
        return
    assert found.jobs_at.sum(axis=1) == pytest.approx(each.work.count)
    assert (found.jobs_at[~each.work.eligible] == 0).all()
    assert found.quality >= quality - 1e-6
    for limit in each.limits:
        load = float((found.loads[limit.unit] * members(limit, each.models)).sum())
        assert load <= limit.room(deadline_s) * (1 + 1e-6) + 1e-6


@given(seed=SEEDS, quality=st.floats(0.3, 0.7), less=st.floats(0.5, 1.0))
@settings(max_examples=30, deadline=None)
def test_tightening_a_row_never_lowers_the_optimum(seed: int, quality: float, less: float) -> None:
    each = program(seed)
    loose = each.best(Aim.COST, Asked(quality=quality * less, deadline_s=900.0))
    tight = each.best(Aim.COST, Asked(quality=quality, deadline_s=900.0 * less))
    assert loose is not None
    assert tight is None or tight.cost_usd >= loose.cost_usd * (1 - 1e-9)


def test_a_dual_price_is_what_a_little_more_saves() -> None:
    each = program()
    found = each.best(Aim.COST, Asked(quality=0.7, deadline_s=600.0))
    easier = each.best(Aim.COST, Asked(quality=0.7 - 1e-5, deadline_s=600.0))
    assert found is not None
    assert easier is not None
    total = each.work.count.sum()
    assert (found.cost_usd - easier.cost_usd) / (1e-5 * total) == pytest.approx(found.quality_usd, rel=1e-3)
    at = int(np.argmax(found.tolls))
    limits = tuple(
        limit
        if number != at
        else type(limit)(
            name=limit.name, unit=limit.unit, models=limit.models, rate_per_s=limit.rate_per_s, burst=limit.burst + 100
        )
        for number, limit in enumerate(each.limits)
    )
    more = Program(work=each.work, limits=limits, models=each.models).best(
        Aim.COST, Asked(quality=0.7, deadline_s=600.0)
    )
    assert more is not None
    assert (found.cost_usd - more.cost_usd) / 100 == pytest.approx(float(found.tolls[at]), rel=1e-2)


def test_the_solver_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert program().best(Aim.COST, Asked()) is not None
    assert capfd.readouterr() == ("", "")


def test_fifty_thousand_jobs_are_some_hundreds_of_classes() -> None:
    jobs = batch(50_000, models=20)
    work = works_of(jobs)
    assert len(work.count) <= 300
    assert work.count.sum() == 50_000
    assert work.eligible.sum() <= 300 * 20
