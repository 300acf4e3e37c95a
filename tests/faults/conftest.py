"""The stack that faults are injected into, and its provider. It heals by itself, so that all tests here share one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from router_service.evaluation.allowance import Offer
from router_service.evaluation.oracle import prompt
from tests.faults.checker import peak_of
from tests.faults.oracle import running_oracle
from tests.stacks import FAULT_SETTINGS, RunningStack, lines, temporary_root
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.oracle import OracleProcess

STEADY = Offer(slots=16, latency_s=0.075, jitter=0.34, seed=7)
_numbers = itertools.count(1)


def simulated(name: str, *, slots: int = 50, **behaviour: Any) -> dict[str, Any]:
    return entry(
        name,
        model=f"simulated/{name}",
        params={"max_parallel_requests": slots},
        router={"simulated": {"output_tokens": 4, **behaviour}},
    )


def fault_entries(provider: OracleProcess, *, hopeless_fails: float = 1.0) -> list[dict[str, Any]]:
    """`steady` is the oracle's and needs at least 8 s for 2,000 jobs; `flaky` fails every second call and has a fallback."""
    steady = {"api_base": f"{provider.url}/v1", "max_parallel_requests": STEADY.slots}
    return [
        entry("steady", model="openai/steady", params=steady),
        simulated("flaky", slots=8, latency_ms=30, failure_rate=0.5, seed=7),
        simulated("slow", slots=100, latency_ms=1500),
        simulated("fast"),
        simulated("doomed", failure_rate=1.0),
        simulated("hopeless", failure_rate=hopeless_fails),
    ]


# Without a breaker, which would lead round the models that always fail before long.
ROUTER_SETTINGS: dict[str, Any] = {
    "num_retries": 2,
    "fallbacks": [{"flaky": ["steady"]}, {"doomed": ["fast"]}],
    "allowed_fails": 1_000_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A batch file whose prompts carry tags of its own, by which the oracle knows them."""

    tags: str
    content: bytes


def work_for(models: Sequence[str]) -> Work:
    tags = f"batch-{next(_numbers)}-"
    content = lines(models, prompt=lambda number: prompt(f"{tags}{number}", tokens_in=20, tokens_out=8))
    return Work(tags=tags, content=content)


def assert_steady_was_spared(provider: OracleProcess, work: Work) -> None:
    """As the provider itself saw it: never more calls at a time than it has slots."""
    calls = provider.calls(tags=work.tags)
    peak = peak_of(call for call in calls if call.refused is None)
    print(f"the provider saw {len(calls)} calls, at most {peak} at a time")
    assert [call for call in calls if call.refused is not None] == []
    assert peak <= STEADY.slots


@pytest.fixture(scope="package")
def provider() -> Iterator[OracleProcess]:
    with temporary_root() as root, running_oracle({"steady": STEADY}, root=root) as running:
        yield running


@pytest.fixture(scope="package")
def stack(provider: OracleProcess) -> Iterator[RunningStack]:
    with RunningStack(
        *fault_entries(provider),
        router_settings=ROUTER_SETTINGS,
        settings=FAULT_SETTINGS,
        words=("--no-flower", "--workers", "2"),
    ) as running:
        yield running
