from __future__ import annotations

import numpy as np
import pytest

from router_service.assignment.capacity import Limit, Unit
from router_service.assignment.clock import Call, Providers, begin_all, finish_s
from tests.support.assignments import batch


def ends(limits: list[Limit], queues: list[list[int]], call: Call) -> float:
    providers = Providers(["one", "other"], limits)
    begin_all(providers, queues, lambda _job, _model: call)
    return providers.last_s


CALL = Call(tokens_in=60.0, tokens_out=40.0, latency_s=2.0)


def test_slots_are_used_one_after_the_other() -> None:
    two = Limit(name="slots", unit=Unit.SLOT_S, models=("one",), rate_per_s=2.0)
    assert ends([two], [[0, 1, 2, 3, 4], []], CALL) == 6.0


def test_a_rate_lets_one_begin_each_second_after_its_burst() -> None:
    one_a_second = Limit(name="rpm", unit=Unit.REQUESTS, models=("one",), rate_per_s=1.0, burst=1.0)
    assert ends([one_a_second], [list(range(10)), []], CALL) == pytest.approx(8.0 + 2.0)


def test_a_limit_of_two_models_counts_them_together() -> None:
    tokens = Limit(name="tpm", unit=Unit.TOKENS, models=("one", "other"), rate_per_s=100.0)
    assert ends([tokens], [[0, 1, 2], [3, 4, 5]], CALL) == pytest.approx(5.0 + 2.0)


def test_nothing_begins_before_a_model_opens() -> None:
    late = Limit(name="slots", unit=Unit.SLOT_S, models=("one",), rate_per_s=5.0, opens_in_s=30.0)
    assert ends([late], [[0], []], CALL) == 32.0


def test_two_rates_that_bind_wait_for_each_other() -> None:
    jobs = batch(400)
    at = np.zeros(400, dtype=np.int64)
    tokens = float((jobs.tokens_in + jobs.tokens_out[:, 0]).sum())
    rates = [
        Limit(name="rpm", unit=Unit.REQUESTS, models=("cheap",), rate_per_s=4.0, burst=4.0),
        Limit(name="tpm", unit=Unit.TOKENS, models=("cheap",), rate_per_s=tokens / 100, burst=tokens / 100),
    ]
    alone = [finish_s(jobs, at, [each]) for each in rates]
    assert finish_s(jobs, at, rates) > max(alone)


def test_a_sample_twice_over_takes_twice_as_long() -> None:
    jobs = batch(300)
    at = np.zeros(300, dtype=np.int64)
    rate = [Limit(name="tpm", unit=Unit.TOKENS, models=("cheap",), rate_per_s=500.0)]
    assert finish_s(jobs, at, rate, times=2) == pytest.approx(2 * finish_s(jobs, at, rate), rel=0.02)
