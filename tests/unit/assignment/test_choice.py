from __future__ import annotations

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.assignment.choice import choices, choose
from router_service.assignment.goal import Goal
from router_service.assignment.jobs import Jobs, lots_of
from router_service.assignment.plan import Plan
from router_service.assignment.solving import solve
from router_service.routing.prices import Toll, key_of
from tests.support.assignments import batch, room_for

PRICES = st.floats(0, 1e-2, allow_nan=False)
TOLLS = st.builds(Toll, request=PRICES, token=PRICES, token_in=PRICES, token_out=PRICES, slot_s=PRICES)


def a_plan(jobs: Jobs) -> Plan:
    found = solve(jobs, capacity=room_for(jobs, 0.2), goal=Goal(quality_share=0.9, deadline_s=600.0))
    assert isinstance(found, Plan)
    return found


JOBS = batch(300, missing=0.3)
PLAN = a_plan(JOBS)


@given(row=st.integers(0, 299))
def test_a_job_alone_chooses_what_it_chooses_in_the_batch(row: int) -> None:
    assert choose(PLAN, JOBS.job(row))[0] == JOBS.models[choices(PLAN, JOBS)[row]]


@given(row=st.integers(0, 299))
def test_all_eligible_models_follow_each_once_and_no_other(row: int) -> None:
    order = choose(PLAN, JOBS.job(row))
    assert len(set(order)) == len(order)
    assert set(order) == {model for at, model in enumerate(JOBS.models) if JOBS.eligible[row, at]}


def test_a_choice_is_made_again_from_the_stored_plan() -> None:
    stored = Plan.from_json(json.loads(json.dumps(PLAN.as_json())))
    assert [choose(stored, JOBS.job(row)) for row in range(50)] == [choose(PLAN, JOBS.job(row)) for row in range(50)]


@given(
    tolls=st.dictionaries(st.sampled_from(["cheap", "middle", "dear", "gone"]), TOLLS),
    quality_usd=st.floats(0, 100),
    bound=st.floats(0, 100),
)
@settings(max_examples=50)
def test_a_plan_is_the_same_after_json(tolls: dict[str, Toll], quality_usd: float, bound: float) -> None:
    plan = Plan(
        jobs=3,
        models=("cheap", "middle", "dear"),
        cost_usd=1 / 3,
        quality=0.1 + 0.2,
        finish_s=1e-9,
        shares={"cheap": 1.0},
        bound_usd=bound,
        program_usd=0.0,
        binding=PLAN.binding,
        quality_usd=quality_usd,
        tolls=tolls,
        softness_usd=1e-7,
    )
    again = Plan.from_json(json.loads(json.dumps(plan.as_json())))
    assert again == plan
    assert again.hash == plan.hash


def test_another_price_is_another_hash() -> None:
    changed = PLAN.as_json() | {"quality_usd": PLAN.quality_usd * (1 + 1e-15)}
    assert Plan.from_json(changed).hash != PLAN.hash


def test_a_toll_keeps_a_job_away() -> None:
    job = JOBS.job(0)
    first = choose(PLAN, job)[0]
    dear = Plan.from_json(PLAN.as_json() | {"tolls": {first: {"request": 1e6}}})
    assert choose(dear, job)[-1] == first


def test_lots_are_even_and_of_a_job_and_model() -> None:
    keys = np.array([key_of(f"job-{number}") for number in range(20_000)], dtype=np.uint64)
    lots = lots_of(keys, ("one", "other"))
    assert (np.histogram(lots[:, 0], bins=10, range=(0, 1))[0] > 1800).all()
    assert abs(np.corrcoef(lots[:, 0], lots[:, 1])[0, 1]) < 0.03
    assert (lots > 0).all()
    assert (lots < 1).all()
    assert np.array_equal(lots[5:6], lots_of(keys[5:6], ("one", "other")))
