"""The stack beside a backlog of 100,000 batch jobs or of any other size: the shape `backlog` of `waybill bench limits`.

Two models of the provider, `slow` and `shared`, stand behind the name `pool`. The backlog asks for `pool`, so that it keeps
both full for the whole run, and is not waited for: every phase has its time, then the stack is taken down.

1. idle: single jobs at a steady pace, to `free`, which nobody else uses, and to `shared`.
2. The backlog is handed in, in files of 50,000 lines.
3. loaded: the same single jobs. The capacity of `free` is free; at `shared` a slot becomes free every 25 ms on average, and the
   single job is to be the next to have it. A wait is from when the job was due to be sent until its call arrived at the
   provider. The added wait is over the median of the idle stack, so that its p99 is no less than what the backlog added.
4. polls: of jobs that wait in line, and of the batches.
5. tenants: a small tenant of the same weight hands in a batch for `pool`. Counted is what both got until it was served.

The CPU of the phase `loaded` is told for each job that was served in it, and the memory before the backlog, when all of it was
accepted, after `loaded`, and at the end. Runs of two sizes are to agree in both: nothing may grow with the line.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.embedded import process
from router_service.errors import StackError
from router_service.evaluation.allowance import Offer
from router_service.evaluation.interactive import Sender, Sent, first_arrivals, in_ms, waits_s
from router_service.evaluation.limits import warm_up
from router_service.evaluation.measures import fairness, percentile
from router_service.evaluation.polls import poll
from router_service.evaluation.shapes import BIG, SMALL, WARM, WARM_OFFER, Job, catalog
from router_service.evaluation.stack import batch_file, private_oracle, private_stack
from router_service.store import bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.evaluation.stack import OracleLog, PrivateOracle, PrivateStack, StackClient
    from router_service.evaluation.usage import Memory

BACKLOG = 100_000
LINES_PER_FILE = 50_000
POOL, SLOW, SHARED, FREE = "pool", "slow", "shared", "free"
OFFERS = {
    SLOW: Offer(slots=4, latency_s=1.0, jitter=0.2),
    SHARED: Offer(slots=40, latency_s=1.0, jitter=0.2),
    FREE: Offer(slots=40, latency_s=0.2, jitter=0.2),
}
SERVED_PER_S = sum(OFFERS[model].slots / OFFERS[model].latency_s for model in (SLOW, SHARED))
EVERY_S = 0.2
IDLE_S, LOADED_S, POLLS_S, TENANTS_S = 10.0, 30.0, 20.0, 15.0
ROUNDS, STEADY_S = 5, 60.0
PATIENCE_S, PATIENCE_FACTOR = 60.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Single jobs to `free` and `shared` for a while, and the CPU seconds that each process spent meanwhile."""

    sent: Mapping[str, Sequence[Sent]]
    began_s: float
    ended_s: float
    cpu_s: Mapping[str, float]

    def cores(self, name: str) -> float:
        return self.cpu_s[name] / (self.ended_s - self.began_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the client saw. Clock readings are monotonic; `memory` is by moment and process, in order of time."""

    idle: Phase
    loaded: Phase
    accept_s: float
    polls: Sequence[dict[str, Any]]
    small_since_s: float
    memory: Mapping[str, Mapping[str, Memory]]
    peak_mb: Mapping[str, float]


def run(*, jobs: int = BACKLOG, workers: int = 1, routers: int = 1, seconds: float = LOADED_S) -> dict[str, Any]:
    """Measure once; no phase is longer than `seconds`. Raises StackError where the backlog did not last."""
    with private_oracle(OFFERS | {WARM: WARM_OFFER}) as oracle:
        offered = pooled(catalog(OFFERS, api_base=f"{oracle.url}/v1"))
        with private_stack(offered, workers=workers, routers=routers) as stack:
            warm_up(stack)
            seen = _drive(stack, oracle, jobs=jobs, seconds=seconds)
            log = oracle.log()
    return {"jobs": jobs, "workers": workers, "routers": routers, **report(seen, log, jobs=jobs)}


def pooled(document: dict[str, Any]) -> dict[str, Any]:
    """`slow` and `shared` as two deployments of one name, each still to be had by its own."""
    for entry in document["model_list"]:
        name = entry["model_name"]
        entry["model_info"]["id"] = name
        if name in {SLOW, SHARED}:
            entry["model_name"] = POOL
    return document


def _drive(stack: PrivateStack, oracle: PrivateOracle, *, jobs: int, seconds: float) -> Seen:
    idle = _send(stack, "idle", seconds=min(IDLE_S, seconds))
    memory = {"before": stack.memory()}
    with stack.client() as client:
        began_s = time.monotonic()
        batches = [_hand_in(client, _lines(BIG, numbers)) for numbers in _files(jobs)]
        accept_s = time.monotonic() - began_s
        _wait_steady(oracle)
        memory["accepted"] = stack.memory()
        loaded = _send(stack, "loaded", seconds=min(LOADED_S, seconds))
        memory["loaded"] = stack.memory()
        polls = poll(client, batches, seconds=min(POLLS_S, seconds))
    small_since_s = _serve_small(stack, seconds=min(TENANTS_S, seconds))
    memory["end"] = stack.memory()
    return Seen(
        idle=idle,
        loaded=loaded,
        accept_s=accept_s,
        polls=polls,
        small_since_s=small_since_s,
        memory=memory,
        peak_mb=stack.peak_memory_mb(),
    )


def _send(stack: PrivateStack, phase: str, *, seconds: float) -> Phase:
    """Single jobs to both models for so long. Afterwards all of them have ended, or had their time to."""
    before, began_s = stack.spent(), time.monotonic()
    with ExitStack() as exits:
        senders = {
            model: exits.enter_context(
                Sender(stack, model=model, label=f"{phase}/{model}", every_s=EVERY_S, most_s=seconds)
            )
            for model in (FREE, SHARED)
        }
        for sender in senders.values():
            sender.join()
    for sender in senders.values():
        sender.wait_served()
    after = stack.spent()
    spent = {name: after[name] - before[name] for name in after}
    sent = {model: sender.sent for model, sender in senders.items()}
    return Phase(sent=sent, began_s=began_s, ended_s=time.monotonic(), cpu_s=spent)


def _files(jobs: int) -> list[range]:
    return [range(start, min(start + LINES_PER_FILE, jobs)) for start in range(0, jobs, LINES_PER_FILE)]


def _lines(tenant: str, numbers: range) -> bytes:
    batch = (Job(tag=f"{tenant}/{number}", tokens_in=100, tokens_out=20) for number in numbers)
    return batch_file((job.tag, job.body(POOL)) for job in batch)


def _hand_in(client: StackClient, lines: bytes) -> str:
    return str(client.create_batch(client.upload(lines))["id"])


def _wait_steady(oracle: PrivateOracle) -> None:
    """Wait until each slot has served some calls: the first ones begin together, and so the slots become free together."""

    def steady() -> bool:
        ended = [call for call in oracle.log().calls if call.model == SHARED and call.ended_s is not None]
        return sum(call.tag.startswith(f"{BIG}/") for call in ended) >= ROUNDS * OFFERS[SHARED].slots

    if not process.wait_until(steady, patience_s=STEADY_S):
        raise StackError(
            f"after {STEADY_S:.0f} s of waiting the backlog has not had each slot of {SHARED} {ROUNDS} times"
        )


def _serve_small(stack: PrivateStack, *, seconds: float) -> float:
    """A batch of a second tenant: half of what the pool serves in so long. When it was accepted, once it is finished."""
    key = bootstrap.create_key(stack.state.database_url, tenant=SMALL, name="bench")
    with stack.client(key=key) as client:
        file_id = client.upload(_lines(SMALL, range(round(seconds * SERVED_PER_S / 2))))
        batch = client.create_batch(file_id)
        since_s = time.monotonic()
        client.finished(batch, patience_s=PATIENCE_S + PATIENCE_FACTOR * seconds)
    return since_s


def report(seen: Seen, log: OracleLog, *, jobs: int) -> dict[str, Any]:
    """All numbers. Rows are lists of flat mappings."""
    calls = {tenant: [call for call in log.calls if call.tag.startswith(f"{tenant}/")] for tenant in (BIG, SMALL)}
    left = jobs - len(first_arrivals(calls[BIG]))
    if left <= 0:
        raise StackError(f"a backlog of {jobs} jobs was used up before the measurement ended: take a larger one")
    ended = [call.ended_s for call in log.calls if call.refused is None and call.ended_s is not None]
    served = sum(seen.loaded.began_s <= each <= seen.loaded.ended_s for each in ended)
    return {
        "backlog_left": left,
        "accept_s": round(seen.accept_s, 2),
        "provider_429s": sum(sum(model["refused"].values()) for model in log.models.values()),
        "in_flight": {
            name: {"most": log.models[name]["most_in_flight"], "cap": offer.slots} for name, offer in OFFERS.items()
        },
        "jain": fairness(calls, since_s=seen.small_since_s),
        "served_while_loaded": served,
        "cpu_ms_per_job": round(sum(seen.loaded.cpu_s.values()) * 1000 / max(served, 1), 3),
        "interactive": [_waits(model, seen, log) for model in (FREE, SHARED)],
        "polls": list(seen.polls),
        "processes": [_process(name, seen, served) for name in seen.peak_mb],
    }


def _waits(model: str, seen: Seen, log: OracleLog) -> dict[str, Any]:
    """Waits of single jobs in milliseconds, without the backlog and beside it."""
    arrived = first_arrivals(log.calls)
    sent = seen.loaded.sent[model]
    idle = waits_s(seen.idle.sent[model], arrived, now_s=log.now_s)
    loaded = waits_s(sent, arrived, now_s=log.now_s)
    usual = percentile(idle, 50) or 0.0
    return {
        "model": model,
        "sent": len(sent),
        "not_arrived": sum(each.tag not in arrived for each in sent),
        **{f"idle_wait_ms_p{percent}": in_ms(percentile(idle, percent)) for percent in (50, 99)},
        **{f"loaded_wait_ms_p{percent}": in_ms(percentile(loaded, percent)) for percent in (50, 99)},
        "loaded_wait_ms_most": in_ms(max(loaded, default=None)),
        **{
            f"added_wait_ms_p{percent}": in_ms(percentile([wait - usual for wait in loaded], percent))
            for percent in (50, 99)
        },
    }


def _process(name: str, seen: Seen, served: int) -> dict[str, Any]:
    """CPU and memory (PSS) of one process. Of the memory some is shared: Postgres' buffers."""
    return {
        "process": name,
        "cores_idle": round(seen.idle.cores(name), 4),
        "cores_loaded": round(seen.loaded.cores(name), 4),
        "cpu_ms_per_job": round(seen.loaded.cpu_s[name] * 1000 / max(served, 1), 3),
        **{f"memory_mb_{moment}": round(held[name].total_mb, 1) for moment, held in seen.memory.items()},
        "shared_memory_mb_before": round(seen.memory["before"][name].shared_mb, 1),
        "shared_memory_mb_end": round(seen.memory["end"][name].shared_mb, 1),
        "memory_mb_peak": seen.peak_mb[name],
    }
