"""Batches to assign: drawn from a seed, small enough for many examples, large enough that a job more or less is no matter."""

from __future__ import annotations

import numpy as np

from router_service.assignment.capacity import Capacity
from router_service.assignment.jobs import Jobs
from router_service.catalog.models import Limits

MODELS = ("cheap", "middle", "dear")
USD_PER_TOKEN = np.array([1e-7, 5e-7, 4e-6])


def batch(count: int = 600, *, seed: int = 0, models: int = 3, missing: float = 0.0) -> Jobs:
    """Jobs of which the dearer model is mostly the better one. `missing`: share of pairs that are not eligible."""
    random = np.random.default_rng(seed)
    names = MODELS if models == len(MODELS) else tuple(f"model-{number:02}" for number in range(models))
    price = USD_PER_TOKEN if models == len(MODELS) else np.geomspace(1e-7, 4e-6, models)
    skill = np.linspace(0.0, 2.5, models) - 1.2 * random.normal(size=(count, 1)) + random.normal(size=(count, models))
    tokens_in = np.exp(6 + 0.8 * random.normal(size=count))
    tokens_out = np.exp(5 + 0.6 * random.normal(size=(count, 1))) * np.ones(models)
    eligible = random.random((count, models)) >= missing
    eligible[:, -1] = True
    return Jobs(
        models=names,
        keys=random.integers(0, 2**63, count).astype(np.uint64),
        tokens_in=tokens_in,
        quality=1 / (1 + np.exp(-skill)),
        cost_usd=price * (tokens_in[:, None] + 4 * tokens_out),
        tokens_out=tokens_out,
        latency_s=0.5 + tokens_out / 100,
        eligible=eligible,
    )


def equal_jobs(count: int) -> Jobs:
    """Jobs that are all alike but for their keys: nothing but their lots tells them apart."""
    one = batch(1)
    same = one.take(np.zeros(count, dtype=np.int64))
    keys = np.random.default_rng(7).integers(0, 2**63, count).astype(np.uint64)
    quality = np.tile([0.5, 0.7, 0.9], (count, 1))
    return Jobs(
        models=same.models,
        keys=keys,
        tokens_in=same.tokens_in,
        quality=quality,
        cost_usd=same.cost_usd,
        tokens_out=same.tokens_out,
        latency_s=same.latency_s,
        eligible=same.eligible,
    )


def room_for(jobs: Jobs, share: float, *, time_s: float = 600.0, slots: int = 10_000) -> Capacity:
    """Every model's tpm takes this share of the whole batch in the time; the last, dearest model has no such limit."""
    tokens = (jobs.tokens_in[:, None] + jobs.tokens_out).sum(axis=0) * share * 60 / time_s
    limits = {
        model: Limits(slots=slots, tpm=None if model == jobs.models[-1] else float(tokens[at]))
        for at, model in enumerate(jobs.models)
    }
    return Capacity.of(limits, horizon_s=time_s)
