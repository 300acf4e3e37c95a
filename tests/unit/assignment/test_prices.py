from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.assignment.prices import Rule, Stake, bound, prices_for
from tests.support.assignments import batch


@given(seed=st.integers(0, 2**31), prices=st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)))
@settings(max_examples=60, deadline=None)
def test_no_assignment_that_keeps_the_rules_is_below_the_bound_whatever_the_prices(
    seed: int, prices: tuple[float, float]
) -> None:
    jobs = batch(200, seed=seed, missing=0.3)
    random = np.random.default_rng(seed)
    rows = np.arange(len(jobs))
    at = np.array([random.choice(np.flatnonzero(each)) for each in jobs.eligible])
    tokens = jobs.tokens_in[:, None] + jobs.tokens_out
    rules = [
        Rule(used=-jobs.quality, most=-float(jobs.quality[rows, at].mean())),
        Rule(used=tokens / tokens.mean(), most=float((tokens / tokens.mean())[rows, at].mean())),
    ]
    stake = Stake(base=jobs.cost_usd, eligible=jobs.eligible, softness=1e-6, highest=1e3)
    assert bound(stake, rules, np.array(prices)) <= float(jobs.cost_usd[rows, at].mean()) + 1e-12
    found = prices_for(stake, rules, start=np.zeros(2))
    assert bound(stake, rules, found) <= float(jobs.cost_usd[rows, at].mean()) + 1e-12


def test_prices_are_found_from_nothing() -> None:
    jobs = batch(2000)
    softness = 0.003 * float(jobs.cost_usd.mean())
    stake = Stake(base=jobs.cost_usd, eligible=jobs.eligible, softness=softness, highest=1e3)
    rules = [Rule(used=-jobs.quality, most=-0.7)]
    price = prices_for(stake, rules, start=np.zeros(1))
    at = (jobs.cost_usd - price[0] * jobs.quality).argmin(axis=1)
    assert abs(float(jobs.quality[np.arange(2000), at].mean()) - 0.7) < 0.002
