"""How close to a provider's limits the whole stack runs: makespan against the least that is possible, as the provider saw it.

For each shape a fresh oracle and a fresh stack. Short jobs for another model wake every process first and are not counted.
Then the shape's batches are created; time zero is when the first creation was answered, since its jobs are durable then. The
makespan ends when the last call ended, by the oracle's log.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.evaluation.bounds import Work, lower_bound
from router_service.evaluation.interactive import Sender, first_arrivals, summary
from router_service.evaluation.measures import fairness, utilisation
from router_service.evaluation.shapes import (
    ALONE,
    BIG,
    BURST_S,
    SHAPES,
    SMALL,
    WARM,
    WARM_OFFER,
    Job,
    catalog,
    warm_jobs,
)
from router_service.evaluation.stack import batch_file, private_oracle, private_stack
from router_service.store import bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.evaluation.allowance import Call
    from router_service.evaluation.bounds import Bound
    from router_service.evaluation.interactive import Sent
    from router_service.evaluation.shapes import Shape
    from router_service.evaluation.stack import OracleLog, PrivateStack

WARM_UP_JOBS = 200
INTERACTIVE_EVERY_S = 0.5
INTERACTIVE = "interactive"
PATIENCE_S, PATIENCE_FACTOR = 120.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the client saw of one shape: clock readings (monotonic), single jobs sent, CPU seconds and peak memory by process."""

    created_s: Mapping[str, float]
    completed_s: float
    sent: Sequence[Sent]
    cpu_s: Mapping[str, float]
    memory_mb: Mapping[str, float]

    @property
    def began_s(self) -> float:
        return min(self.created_s.values())


def run(
    *, shapes: Sequence[str], seconds: float, workers: int = 1, routers: int = 1, interactive: bool = False
) -> dict[str, Any]:
    """Measure these shapes one after the other. A report for each, by name."""
    return {
        "seconds": seconds,
        "workers": workers,
        "routers": routers,
        "shapes": {
            name: measure(SHAPES[name](seconds), workers=workers, routers=routers, interactive=interactive)
            for name in shapes
        },
    }


def measure(shape: Shape, *, workers: int, routers: int, interactive: bool) -> dict[str, Any]:
    """One shape on a stack of its own. Raises StackError where a job fails, or it takes far too long."""
    works = [Work(tag=job.tag, tokens=job.tokens) for job in shape.jobs]
    patience_s = PATIENCE_S + PATIENCE_FACTOR * lower_bound(works, shape.offers, burst_s=BURST_S).seconds
    with private_oracle({**shape.offers, WARM: WARM_OFFER}) as oracle:
        offered = catalog(shape.offers, api_base=f"{oracle.url}/v1")
        with private_stack(offered, workers=workers, routers=routers) as stack:
            warm_up(stack)
            seen = _drive(stack, shape, interactive=interactive, patience_s=patience_s)
            return report(shape, seen, oracle.log())


def warm_up(stack: PrivateStack) -> None:
    """Have every process do once what it will do, with jobs for a model that is not measured."""
    with stack.client() as client:
        lines = batch_file((job.tag, job.body(WARM)) for job in warm_jobs(WARM_UP_JOBS))
        client.finished(client.create_batch(client.upload(lines)))
        job = client.submit(WARM, Job(tag=f"{WARM}/single", tokens_in=8, tokens_out=4).body(WARM))
        client.http.get(f"/v1/jobs/{job}", params={"wait": 10})


def _drive(stack: PrivateStack, shape: Shape, *, interactive: bool, patience_s: float) -> Run:
    with ExitStack() as exits:
        clients = {
            tenant: exits.enter_context(stack.client(key=_key(stack, tenant))) for tenant in sorted(shape.batches)
        }
        files = {
            tenant: clients[tenant].upload(batch_file((job.tag, job.body(shape.asks)) for job in jobs))
            for tenant, jobs in shape.batches.items()
        }
        before = stack.spent()
        batches, created_s = {}, {}
        for tenant, file_id in files.items():
            batches[tenant] = clients[tenant].create_batch(file_id)
            created_s[tenant] = time.monotonic()
        sender = Sender(stack, model=shape.asks, label=INTERACTIVE, every_s=INTERACTIVE_EVERY_S)
        with sender if interactive else nullcontext():
            for tenant, batch in batches.items():
                clients[tenant].finished(batch, patience_s=patience_s)
            completed_s = time.monotonic()
        after = stack.spent()
        sender.wait_served()
    spent = {name: after[name] - before[name] for name in after}
    return Run(
        created_s=created_s,
        completed_s=completed_s,
        sent=sender.sent,
        cpu_s=spent,
        memory_mb=stack.peak_memory_mb(),
    )


def _key(stack: PrivateStack, tenant: str) -> str:
    """The stack's own key for the default tenant, a new one for another: what `waybill keys create --tenant` does."""
    if tenant == ALONE:
        return stack.key
    return bootstrap.create_key(stack.state.database_url, tenant=tenant, name="bench")


def report(shape: Shape, seen: Run, log: OracleLog) -> dict[str, Any]:
    """All numbers of one shape; times in seconds where the name does not say otherwise."""
    arrived = first_arrivals([call for call in log.calls if call.model in shape.offers])
    batch = [arrived[job.tag] for job in shape.jobs if job.tag in arrived]
    last_end_s = max((call.ended_s or log.now_s for call in batch), default=log.now_s)
    bound = lower_bound(_works(shape, batch, seen.sent, arrived), shape.offers, burst_s=BURST_S)
    makespan_s = last_end_s - seen.began_s
    jobs = len(shape.jobs) + len(seen.sent)
    return {
        "jobs": len(shape.jobs),
        "makespan_s": round(makespan_s, 3),
        "bound_s": round(bound.seconds, 3),
        "bound_by": bound.by,
        "ratio": round(makespan_s / bound.seconds, 4),
        **_explained(bound),
        "first_call_after_s": round(min((call.arrived_s for call in batch), default=log.now_s) - seen.began_s, 3),
        "completed_after_s": round(seen.completed_s - seen.began_s, 3),
        **_as_the_provider_saw(shape, log),
        "jobs_without_call": len(shape.jobs) - len(batch),
        "calls_repeated": _served(shape, log) - len(arrived),
        "interactive": summary(seen.sent, arrived, now_s=log.now_s) if seen.sent else None,
        "jain": _fairness(shape, seen, arrived),
        "cpu_ms_per_job": round(sum(seen.cpu_s.values()) * 1000 / jobs, 3),
        "cpu_ms_per_job_by_process": {name: round(spent * 1000 / jobs, 3) for name, spent in seen.cpu_s.items()},
        "memory_mb_by_process": dict(seen.memory_mb),
        "utilisation": {
            name: utilisation(
                [call for call in log.calls if call.model == name], offer, since_s=seen.began_s, until_s=last_end_s
            )
            for name, offer in shape.offers.items()
        },
    }


def _works(shape: Shape, batch: Sequence[Call], sent: Sequence[Sent], arrived: Mapping[str, Call]) -> list[Work]:
    """The batch's jobs, and of the single ones those that came before the last of the batch: they took their part."""
    works = [Work(tag=job.tag, tokens=job.tokens) for job in shape.jobs]
    last_s = max((call.arrived_s for call in batch), default=0.0)
    calls = [arrived[each.tag] for each in sent if each.tag in arrived]
    return works + [Work(tag=call.tag, tokens=call.tokens) for call in calls if call.arrived_s <= last_s]


def _explained(bound: Bound) -> dict[str, Any]:
    return {
        "bound_because": bound.argument,
        "bounds_s": {name: round(seconds, 3) for name, seconds in bound.parts.items()},
        "unpaced_bound_s": None if bound.unpaced_s is None else round(bound.unpaced_s, 3),
    }


def _as_the_provider_saw(shape: Shape, log: OracleLog) -> dict[str, Any]:
    models = {name: log.models[name] for name in shape.offers}
    return {
        "provider_429s": sum(sum(model["refused"].values()) for model in models.values()),
        "refused_by": {name: model["refused"] for name, model in models.items()},
        "in_flight": {name: {"most": model["most_in_flight"], "cap": model["slots"]} for name, model in models.items()},
        "fullest_windows": {
            name: {limit: round(window["fullest"] / window["most"], 4) for limit, window in model["windows"].items()}
            for name, model in models.items()
        },
        "oracle_cpu_ms_per_call": round(log.cpu_s * 1000 / max(len(log.calls), 1), 3),
    }


def _served(shape: Shape, log: OracleLog) -> int:
    return sum(call.model in shape.offers and call.refused is None for call in log.calls)


def _fairness(shape: Shape, seen: Run, arrived: Mapping[str, Call]) -> dict[str, Any] | None:
    """How two tenants of one weight were served while both had work waiting."""
    if shape.batches.keys() != {BIG, SMALL}:
        return None
    calls = {tenant: [arrived[job.tag] for job in jobs if job.tag in arrived] for tenant, jobs in shape.batches.items()}
    return fairness(calls, since_s=max(seen.created_s.values()))
