from __future__ import annotations

import pytest

from router_service.evaluation.signals import BATCH, TOTAL, cpu_us
from router_service.signals.extract import DEFAULT
from router_service.signals.request import Request

REQUEST = Request.of({"messages": [{"role": "user", "content": "Where is my parcel?"}]}, tokens_in=5)


def test_costs_are_microseconds_a_request_of_each_extractor_and_of_all() -> None:
    ticks = iter(range(10_000))
    requests = [REQUEST] * (BATCH + 1)
    costs = cpu_us(requests, extractors=DEFAULT[:2], rounds=2, clock_s=lambda: next(ticks) * 1e-3)
    expected = round(1e3 / len(requests), 2)  # each look at the clock is a millisecond
    assert costs == {"form": expected, "language": expected, TOTAL: expected}


def test_nothing_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="at least one request and one round"):
        cpu_us([])
    with pytest.raises(ValueError, match="at least one request and one round"):
        cpu_us([REQUEST], rounds=0)
