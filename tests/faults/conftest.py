"""The stack that faults are injected into. It heals by itself, so that all tests here share one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.stacks import FAULT_SETTINGS, RunningStack
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Iterator

STEADY_SLOTS = 16


def simulated(name: str, *, slots: int = 50, **behaviour: Any) -> dict[str, Any]:
    return entry(
        name,
        model=f"simulated/{name}",
        params={"max_parallel_requests": slots},
        router={"simulated": {"output_tokens": 4, **behaviour}},
    )


def fault_entries(*, hopeless_fails: float = 1.0) -> list[dict[str, Any]]:
    """`steady` needs at least 8 s for 2,000 jobs; `flaky` fails every second call and has a fallback."""
    return [
        simulated("steady", slots=STEADY_SLOTS, latency_ms=75, jitter=0.34, seed=7),
        simulated("flaky", slots=8, latency_ms=30, failure_rate=0.5, seed=7),
        simulated("slow", slots=100, latency_ms=1500),
        simulated("fast"),
        simulated("doomed", failure_rate=1.0),
        simulated("hopeless", failure_rate=hopeless_fails),
    ]


ROUTER_SETTINGS: dict[str, Any] = {"num_retries": 2, "fallbacks": [{"flaky": ["steady"]}, {"doomed": ["fast"]}]}


@pytest.fixture(scope="package")
def stack() -> Iterator[RunningStack]:
    with RunningStack(
        *fault_entries(),
        router_settings=ROUTER_SETTINGS,
        settings=FAULT_SETTINGS,
        words=("--no-flower", "--workers", "2"),
    ) as running:
        yield running
