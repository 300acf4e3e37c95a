"""A quote, the batch it was for, and how far off it was: through the whole stack, over simulated models with limits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.stacks import CHAT, RunningStack
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(240)

LINES = 600
WITHIN_S = 14.0
ABOUT = 0.5  # this shows that it works; how well is measured by `waybill bench quotes`


def model(name: str, *, cost: float, quality: float, latency_ms: int, params: dict[str, Any]) -> dict[str, Any]:
    simulated = {"latency_ms": latency_ms, "jitter": 0.3, "output_tokens": 40}
    return entry(
        name,
        cost=cost,
        params=params,
        router={"quality": {"default": quality}, "latency_ms_p50": latency_ms, "simulated": simulated},
    )


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    """The cheap one is limited by requests a minute, the middling one by calls at a time; the dear one takes all."""
    router = {"policies": {"default": {"quality_target": 0.85}}}
    with RunningStack(
        model("cheap", cost=1e-7, quality=0.8, latency_ms=200, params={"rpm": 1200, "max_parallel_requests": 50}),
        model("middling", cost=4e-7, quality=0.85, latency_ms=500, params={"max_parallel_requests": 10}),
        model("dear", cost=2e-6, quality=0.9, latency_ms=400, params={"max_parallel_requests": 100}),
        router_settings={"router": router},
    ) as stack:
        yield stack


def test_a_batch_costs_about_what_was_quoted_and_its_decisions_replay(stack: RunningStack) -> None:
    content = "".join(json.dumps(line(number)) + "\n" for number in range(LINES)).encode()
    file_id = stack.http.post("/v1/files", data={"purpose": "batch"}, files={"file": content}).json()["id"]
    wanted = {"input_file_id": file_id, "finish_within_s": WITHIN_S}
    quote = stack.http.post("/v1/batches/quote", json=wanted, timeout=60).json()
    assert quote["status"] == "possible", quote
    batch = stack.http.post("/v1/batches", json=wanted | {"endpoint": CHAT}).json()
    ended = stack.wait_batch(batch["id"], patience_s=60)
    assert ended.request_counts is not None
    assert ended.request_counts.completed == LINES
    told = stack.http.get(f"/v1/batches/{batch['id']}/plan").json()
    print(json.dumps({"quote": quote, "plan": told}))
    actual = told["actual"]
    assert len(actual["models"]) == 3
    for off in (told["errors"]["cost"], actual["cost_usd"] / quote["cost_usd"]["expected"] - 1):
        assert abs(off) <= ABOUT
    assert quote["finish_s"]["expected"] <= WITHIN_S * 1.1
    assert told["errors"]["finish"] is not None
    replayed = stack.http.post("/v1/decisions/replay", json={"batch_id": batch["id"]}).json()
    assert replayed["same"] == replayed["decisions"] >= LINES


def line(number: int) -> dict[str, Any]:
    prompt = f"Describe harbour {number}. " + "It has ships and cranes. " * (number % 20)
    body = {"model": "auto", "max_tokens": 40, "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body}
