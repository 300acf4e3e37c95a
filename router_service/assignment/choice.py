"""The local rule: which models a job goes to, first the best, from the plan and the job alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.jobs import Jobs, lots_of
from router_service.routing.prices import FREE

if TYPE_CHECKING:
    from router_service.assignment.jobs import Floats, Ints, Job
    from router_service.assignment.plan import Plan


def choose(plan: Plan, job: Job) -> tuple[str, ...]:
    """All models that may do the job, best first: least cost + tolls - worth of its quality, and its lot where they are close."""
    jobs = Jobs.of([job])
    order = np.argsort(scores(plan, jobs)[0], kind="stable")
    return tuple(jobs.models[at] for at in order)


def choices(plan: Plan, jobs: Jobs) -> Ints:
    """For each job the column of the model that `choose` puts first."""
    return np.asarray(scores(plan, jobs).argmin(axis=1), dtype=np.int64)


def scores(plan: Plan, jobs: Jobs) -> Floats:
    """USD; the least is the best. Infinite where a model may not do the job."""
    tolls = [plan.tolls.get(model, FREE) for model in jobs.models]
    by_unit = np.array([[t.request, t.token, t.token_in, t.token_out, t.slot_s] for t in tolls]).T
    request, token, token_in, token_out, slot_s = by_unit
    lots = lots_of(jobs.keys, jobs.models)
    score = (
        jobs.cost_usd
        + request
        + jobs.tokens_in[:, None] * (token + token_in)
        + jobs.tokens_out * (token + token_out)
        + jobs.latency_s * slot_s
        - plan.quality_usd * jobs.quality
        + plan.softness_usd * np.log(-np.log(lots))
    )
    return np.where(jobs.eligible, score, np.inf)
