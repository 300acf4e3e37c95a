"""How long an interactive job waits beside a backlog of 100,000 batch jobs: the shape `backlog` of `waybill bench limits`.

Two models of the provider, `slow` and `shared`, stand behind the name `pool`. The backlog asks for `pool`, so that it
keeps both full for the whole run. Single jobs go, at a steady pace and at the same time,

- to `other`, which nobody else uses: its capacity is free;
- to `shared`: a slot becomes free there every 25 ms on average, and the single job is to be the next to have it.

The same jobs on the idle stack come first; what is reported as added is over their median. The backlog is not waited for.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from router_service.embedded import process
from router_service.errors import StackError
from router_service.evaluation.allowance import Offer
from router_service.evaluation.interactive import Sender, first_arrivals, in_ms, summary, waits_s
from router_service.evaluation.limits import warm_up
from router_service.evaluation.measures import percentile
from router_service.evaluation.shapes import WARM, WARM_OFFER, Job, catalog
from router_service.evaluation.stack import batch_file, private_oracle, private_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.evaluation.stack import OracleLog, PrivateOracle, PrivateStack

LINES_PER_FILE = 50_000
POOL, SLOW, SHARED, OTHER = "pool", "slow", "shared", "other"
OFFERS = {
    SLOW: Offer(slots=4, latency_s=1.0, jitter=0.2),
    SHARED: Offer(slots=40, latency_s=1.0, jitter=0.2),
    OTHER: Offer(slots=40, latency_s=0.2, jitter=0.2),
}
EVERY_S = 0.2
IDLE_S = 10.0
LOADED_S = 30.0
FULL_S = 60.0


def run(*, jobs: int = 100_000, workers: int = 1, routers: int = 1, seconds: float = LOADED_S) -> dict[str, Any]:
    """Measure once. Waits in milliseconds: from when a job was due to be sent until its call arrived at the provider."""
    with private_oracle(OFFERS | {WARM: WARM_OFFER}) as oracle:
        offered = pooled(catalog(OFFERS, api_base=f"{oracle.url}/v1"))
        with private_stack(offered, workers=workers, routers=routers) as stack:
            warm_up(stack)
            idle = _send(stack, "idle", seconds=min(IDLE_S, seconds))
            upload_s = _pile_up(stack, oracle, jobs)
            before, began_s = stack.spent(), time.monotonic()
            loaded = _send(stack, "loaded", seconds=seconds)
            spent, took_s = _less(stack.spent(), before), time.monotonic() - began_s
            log = oracle.log()
    return {
        "jobs": jobs,
        "workers": workers,
        "routers": routers,
        "accept_s": round(upload_s, 2),
        **{target: _added(idle[target], loaded[target], log) for target in (OTHER, SHARED)},
        "provider_429s": sum(sum(model["refused"].values()) for model in log.models.values()),
        "in_flight": {
            name: {"most": log.models[name]["most_in_flight"], "cap": offer.slots} for name, offer in OFFERS.items()
        },
        "cores_busy": {name: round(cpu / took_s, 3) for name, cpu in spent.items()},
    }


def pooled(document: dict[str, Any]) -> dict[str, Any]:
    """`slow` and `shared` as two deployments of one name, each still to be had by its own."""
    for entry in document["model_list"]:
        name = entry["model_name"]
        entry["model_info"]["id"] = name
        if name in {SLOW, SHARED}:
            entry["model_name"] = POOL
    return document


def _send(stack: PrivateStack, phase: str, *, seconds: float) -> dict[str, Sender]:
    """Single jobs to both targets for so long. Afterwards all of them have ended, or had their time to."""
    with ExitStack() as exits:
        senders = {
            target: exits.enter_context(
                Sender(stack, model=target, label=f"{phase}/{target}", every_s=EVERY_S, most_s=seconds)
            )
            for target in (OTHER, SHARED)
        }
        for sender in senders.values():
            sender.join()
    for sender in senders.values():
        sender.wait_served()
    return senders


def _pile_up(stack: PrivateStack, oracle: PrivateOracle, jobs: int) -> float:
    """Hand in the backlog, and wait until it fills the pool. The seconds that the API took for it."""
    began_s = time.monotonic()
    with stack.client() as client:
        for start in range(0, jobs, LINES_PER_FILE):
            numbers = range(start, min(start + LINES_PER_FILE, jobs))
            batch = (Job(tag=f"batch/{number}", tokens_in=100, tokens_out=20) for number in numbers)
            client.create_batch(client.upload(batch_file((job.tag, job.body(POOL)) for job in batch)))
    took_s = time.monotonic() - began_s

    def full() -> bool:
        return bool(oracle.log().models[SHARED]["in_flight"] >= OFFERS[SHARED].slots // 2)

    if not process.wait_until(full, patience_s=FULL_S):
        raise StackError(f"{jobs} jobs wait, and after {FULL_S:.0f} s the model is not even half full")
    return took_s


def _added(idle: Sender, loaded: Sender, log: OracleLog) -> dict[str, Any]:
    arrived = first_arrivals(log.calls)
    before = waits_s(idle.sent, arrived, now_s=log.now_s)
    beside = waits_s(loaded.sent, arrived, now_s=log.now_s)
    usual = percentile(before, 50) or 0.0
    return {
        "idle": summary(idle.sent, arrived, now_s=log.now_s),
        "loaded": summary(loaded.sent, arrived, now_s=log.now_s),
        **{f"added_ms_p{percent}": in_ms(_over(beside, percent, usual)) for percent in (50, 99)},
    }


def _over(waits: Sequence[float], percent: float, usual: float) -> float | None:
    value = percentile(waits, percent)
    return None if value is None else value - usual


def _less(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in after}
