"""`/v1/jobs/{id}/feedback`: what users, checks and judges say of an answer. Counts are kept, never content."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from router_service.api.jobs import not_found
from router_service.api.state import Caller, Here
from router_service.catalog.models import Catalog
from router_service.errors import ConflictError
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.preferences import Preferences
from router_service.routing.estimates import UNKNOWN_QUALITY, level_of, prior_of
from router_service.signals.predicted import hardness_of, predicted
from router_service.signals.signals import Signals
from router_service.store import jobs, learned
from router_service.store.learned import Judged, Verdict

routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
NOBODYS = "no"
EVERYBODYS = "shared"
DECIMALS = 6  # of a score; the least that is not 0 has to be a number for the database too


class FeedbackRequest(BaseModel):
    """One verdict. Given again by the same source, it takes the place of the first."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    score: Annotated[
        float, Field(ge=0, le=1, strict=True, description="0: the answer is of no use, 1: it is right.", examples=[1])
    ]
    source: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$", description="Who says so: user, judge, a check's name.")
    ] = "user"


@routes.post("/{job_id}/feedback")
async def give(job_id: str, request: FeedbackRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """Say how good a job's answer was: routing learns from it as the tenant's `learn` in the catalog allows."""
    identity, catalog = ids.parse(Kind.JOB, job_id), here.offered()
    learn = catalog.tenant(principal.tenant_id).learn
    async with here.database.transaction() as session:
        row = await jobs.get(session, identity, tenant_id=principal.tenant_id)
        if row is None:
            raise not_found(job_id)
        judged = await learned.judged(session, identity, tenant_id=principal.tenant_id)
        if judged is None:
            raise ConflictError(f"the job has no answer to judge: it is {row.state}", param="id")
        if learn != NOBODYS:
            wishes = Preferences.from_json(row.preferences)
            verdict = _verdict(identity, request, judged, wishes=wishes, catalog=catalog, shared=learn == EVERYBODYS)
            room = await learned.has_room(session, verdict, tenant_id=principal.tenant_id, model_id=judged.model_id)
            if not room.source:
                raise ConflictError(
                    f"source: {learned.MOST_SOURCES} sources have judged this answer; one of them may change its verdict",
                    param="source",
                )
            if not room.domain:
                verdict = verdict._replace(domain="")
            await learned.give_verdict(session, verdict, tenant_id=principal.tenant_id, shared=learn == EVERYBODYS)
    return {
        "object": "job.feedback",
        "job_id": job_id,
        "model": judged.model_id,
        "score": request.score,
        "source": request.source,
        "learned_by": {NOBODYS: "nobody", EVERYBODYS: "everybody"}.get(learn, "your own routing"),
    }


def _verdict(
    job_id: UUID, request: FeedbackRequest, judged: Judged, *, wishes: Preferences, catalog: Catalog, shared: bool
) -> Verdict:
    """With what was to be expected of the answer; of a model that is not on offer any more nothing is known.

    A domain that only the caller has a name for tells nothing to others: where it is `shared` it counts as not known.
    """
    signals = judged.signals
    domain = wishes.domain or (signals.domain if signals else None)
    task = wishes.task or (signals.task if signals else None)
    model = catalog.by_id.get(judged.model_id)
    told = predicted(signals)
    prior = prior_of(model, told, hardness_of(signals), task=task, domain=domain) if model else None
    level = level_of(model, told, task=task, domain=domain) if model else None
    return Verdict(
        job_id=job_id,
        source=request.source,
        score=round(request.score, DECIMALS),
        domain="" if domain is None or (shared and not _is_known(domain, signals, catalog)) else domain,
        expected=UNKNOWN_QUALITY if prior is None else prior,
        level=UNKNOWN_QUALITY if level is None else level,
    )


def _is_known(domain: str, signals: Signals | None, catalog: Catalog) -> bool:
    """Whether it was predicted, or the catalog names it."""
    if signals is not None and signals.domain == domain and "domain" not in signals.hinted:
        return True
    return any(domain in model.domains or domain in model.quality for model in catalog.models)
