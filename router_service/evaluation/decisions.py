"""What a routing decision costs: CPU by strategy over a catalog of many models, in batches as the router takes them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from router_service.catalog.load import build_catalog
from router_service.catalog.policies import RoutingPolicy, Strategy
from router_service.evaluation.signals import BATCH, cpu_us
from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.prediction.examples import Examples
from router_service.prediction.training import train
from router_service.routing.counters import Counters
from router_service.routing.decision import route
from router_service.routing.estimates import estimates_of
from router_service.routing.insight import Estimate, Insight, Worth
from router_service.routing.replay import inputs_of
from router_service.signals.extract import extract
from router_service.signals.predicted import Prophet
from router_service.signals.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_service.catalog.models import Catalog
    from router_service.prediction import Predictor

TRAINED_ON = 1500
PLACES = ("eu", "us")
TEXTS = (
    "Summarize the following report in three sentences: ",
    "Fasse den folgenden Bericht in drei Sätzen zusammen: ",
    "Quel est le sens de cette phrase ? ",
    "Write a function that sorts a list of dates. ",
)
PADDING = "The harbour opened again after long works, and the first ships came in before noon. " * 12


def run(*, models: int, jobs: int, rounds: int = 5) -> dict[str, Any]:
    """A flat report in microseconds of CPU a job: the least of `rounds`."""
    catalog, requests = _catalog(models), _requests(jobs)
    counters = {model.id: _counters(number) for number, model in enumerate(catalog.models)}
    signals = extract(requests)
    estimates = {model.id: Estimate(quality=0.5 + number / 100) for number, model in enumerate(catalog.models)}
    known = [Insight(signals=each, estimates=estimates, worth=Worth(0.01)) for each in signals]
    work = [
        (RoutableJob(id=UUID(int=number), epoch=0, spec=JobSpec(model=AUTO, tokens_in=500, tokens_out=200)), insight)
        for number, insight in enumerate(known)
    ]
    report: dict[str, Any] = {"models": models, "jobs": jobs, "batch": BATCH}
    for strategy in Strategy:
        policy = RoutingPolicy(strategy=strategy)

        def decide(job: RoutableJob, insight: Insight, policy: RoutingPolicy = policy) -> object:
            return route(job, catalog=catalog, counters=counters, policy=policy, insight=insight)

        report[f"decide_us.{strategy}"] = _least_us(work, decide, rounds)
    prophet = Prophet(lambda: _predictor([model.id for model in catalog.models]))
    told = extract(requests, (prophet,))

    def expect(job: RoutableJob, _insight: Insight) -> object:
        return estimates_of(told[job.id.int], catalog.models, task=None, domain=None, tenant_id="", shifts={})

    report["predict_us"] = cpu_us(requests, extractors=(prophet,), rounds=rounds)[prophet.name]
    report["expect_us"] = _least_us(work, expect, rounds)
    decide_us = report[f"decide_us.{Strategy.QUALITY_TARGET}"]
    report["decide_us.learned"] = round(decide_us + report["predict_us"] + report["expect_us"], 1)
    report |= _recorded(work, catalog, counters, rounds)
    return report | {f"signals_us.{name}": spent for name, spent in cpu_us(requests, rounds=rounds).items()}


def _recorded(
    work: Sequence[tuple[RoutableJob, Insight]], catalog: Catalog, counters: Mapping[str, Counters], rounds: int
) -> dict[str, Any]:
    """What it costs to write a decision down."""
    decisions = {
        job.id: route(job, catalog=catalog, counters=counters, policy=RoutingPolicy(), insight=each)
        for job, each in work
    }

    def record(job: RoutableJob, insight: Insight) -> object:
        candidates = [each.as_json() for each in decisions[job.id].candidates]
        return json.dumps([candidates, inputs_of(job, insight)])

    return {"record_us": _least_us(work, record, rounds), "recorded_bytes": len(str(record(*work[0])))}


def _predictor(models: Sequence[str]) -> Predictor:
    """One that knows these models, as large as one trained on real questions."""
    drawn = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    shape = (TRAINED_ON, len(models))
    examples = Examples(
        source="drawn",
        texts=tuple(" ".join(drawn.choice(words, 40)) for _text in range(TRAINED_ON)),
        domains=tuple(f"domain {number % 12}" for number in range(TRAINED_ON)),
        models=tuple(models),
        outcomes=(drawn.random(shape) < 0.7).astype(np.float64),
        tokens_out=drawn.integers(50, 400, shape).astype(np.float64),
    )
    return train([examples])


def _least_us(
    work: Sequence[tuple[RoutableJob, Insight]], step: Callable[[RoutableJob, Insight], object], rounds: int
) -> float:
    """The first round is not counted."""
    best_s = float("inf")
    for number in range(rounds + 1):
        started_s = time.process_time()
        for job, insight in work:
            step(job, insight)
        if number:
            best_s = min(best_s, time.process_time() - started_s)
    return round(best_s / len(work) * 1e6, 1)


def _requests(count: int) -> list[Request]:
    """A thousand characters each, in some languages."""
    bodies = ({"messages": [{"role": "user", "content": f"{text}{PADDING}"}]} for text in TEXTS)
    made = [Request.of(body, tokens_in=300) for body in bodies]
    return [made[number % len(made)] for number in range(count)]


def _counters(number: int) -> Counters:
    return Counters(
        in_flight=number, wait_s=number / 10, paused_s=0.0, room=5, latency_s=1.0 + number, tokens_out=120.0
    )


def _catalog(models: int) -> Catalog:
    entries = [
        {
            "model_name": f"model-{number}",
            "litellm_params": {"model": "simulated/bench", "rpm": 600},
            "model_info": {
                "input_cost_per_token": 1e-7 * (number + 1),
                "output_cost_per_token": 4e-7 * (number + 1),
                "max_input_tokens": 128_000,
                "router": {
                    "quality": {"default": 0.5 + number / 100},
                    "data_residency": {"inference": PLACES[number % 2], "storage": PLACES[number % 2]},
                },
            },
        }
        for number in range(models)
    ]
    return build_catalog({"model_list": entries}, source="bench")
