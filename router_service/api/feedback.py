"""`/v1/jobs/{id}/feedback`: what users, checks and judges say of an answer. Counts are kept, never content."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from router_service.api.jobs import not_found
from router_service.api.state import Caller, Here
from router_service.errors import ConflictError
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.states import JobState
from router_service.store import jobs, learned
from router_service.store.learned import Verdict

routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
NOBODYS = "no"
EVERYBODYS = "shared"


class FeedbackRequest(BaseModel):
    """One verdict. Given again by the same source, it takes the place of the first."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    score: Annotated[float, Field(ge=0, le=1, description="0: the answer is of no use, 1: it is right.", examples=[1])]
    source: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$", description="Who says so: user, judge, a check's name.")
    ] = "user"


@routes.post("/{job_id}/feedback")
async def give(job_id: str, request: FeedbackRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """Say how good a job's answer was: routing learns from it as the tenant's `learn` in the catalog allows."""
    identity = ids.parse(Kind.JOB, job_id)
    learn = here.offered().tenant(principal.tenant_id).learn
    async with here.database.transaction() as session:
        row = await jobs.get(session, identity, tenant_id=principal.tenant_id)
        if row is None:
            raise not_found(job_id)
        if row.state != JobState.SUCCEEDED:
            raise ConflictError(f"the job has no answer to judge: it is {row.state}", param="id")
        model_id = row.result_model
        if learn != NOBODYS:
            verdict = Verdict(job_id=identity, source=request.source, score=request.score)
            await learned.give_verdict(session, verdict, tenant_id=principal.tenant_id, shared=learn == EVERYBODYS)
    return {
        "object": "job.feedback",
        "job_id": job_id,
        "model": model_id,
        "score": request.score,
        "source": request.source,
        "learned_by": {NOBODYS: "nobody", EVERYBODYS: "everybody"}.get(learn, "your own routing"),
    }
