"""`/v1/jobs`: accept, poll, list, cancel, explain."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from router_service.api import admission
from router_service.api.lists import TextFilter, page
from router_service.api.outlook import look
from router_service.api.preferences import RouterWishes, read_wishes, spec_of
from router_service.api.state import Caller, Here, State, make_id
from router_service.catalog.models import Catalog
from router_service.chat.request import read_chat
from router_service.errors import ConflictError, InvalidRequestError, NotFoundError
from router_service.failpoints import failpoint
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.jobs.states import JobState
from router_service.routing.history import gaps_of
from router_service.store import catalogs, decisions, jobs
from router_service.store.jobs import NewJob

routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
CHAT = "/v1/chat/completions"
FIRST_POLL_S = 0.02
SLOWEST_POLL_S = 0.5
MOST_METADATA = 16
MOST_YEARS_AHEAD = 10
T = TypeVar("T")


class JobRequest(BaseModel):
    """A job to accept. `input` is a chat completion's body without its model."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=200, examples=["auto"])] = "auto"
    input: Annotated[
        dict[str, Any],
        Field(examples=[{"messages": [{"role": "user", "content": "Summarize: ..."}], "max_tokens": 200}]),
    ]
    residency: Annotated[str, Field(pattern=r"^[a-z]{2,8}(-[a-z0-9]+)*$", examples=["eu"])] | None = None
    quality: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    deadline: AwareDatetime | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    router: Annotated[RouterWishes, Field(examples=[{"policy": "fastest", "language": "de"}])] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=MOST_METADATA),
        ]
        | None
    ) = None


@routes.post("", status_code=202)
async def create(request: JobRequest, here: Here, principal: Caller) -> dict[str, Any]:
    """Accept a job. It is durable when this answers: 202 is sent after the COMMIT."""
    body = {**request.input, "model": request.model}
    shape = read_chat(body, path="input")
    if request.deadline is not None:
        _check_deadline(request.deadline, now=datetime.now(UTC))
    around = [("router", request.router.model_dump(exclude_unset=True))] if request.router else []
    wished = read_wishes(body, path="input", around=around, metadata=request.metadata)
    spec = replace(
        spec_of(shape, wished),
        residency=_one("residency", request.residency, wished.residency),
        quality=_one("quality", request.quality, wished.quality),
    )
    admission.check(spec, catalog=here.offered(), tenant_id=principal.tenant_id, path="model")
    job = NewJob(
        id=make_id(),
        tenant_id=principal.tenant_id,
        endpoint=CHAT,
        spec=spec,
        body=encode_body(body),
        priority=request.priority,
        deadline=request.deadline,
        metadata=no_nul(request.metadata, path="metadata"),
    )
    async with here.database.transaction() as session:
        await jobs.accept(session, [job])
        row = await jobs.get(session, job.id, tenant_id=principal.tenant_id)
        failpoint("api.jobs.before_commit")
    failpoint("api.jobs.after_commit")
    here.ring()
    return show(row)


@routes.get("")
async def list_jobs(
    here: Here,
    principal: Caller,
    limit: Annotated[int, Query(ge=1, le=1000)] = 20,
    after: str | None = None,
    status: JobState | None = None,
    batch_id: str | None = None,
    model: TextFilter = None,
) -> dict[str, Any]:
    """A page of jobs, newest first, without their results."""
    async with here.database.transaction() as session:
        rows = await jobs.listed(
            session,
            tenant_id=principal.tenant_id,
            most=limit + 1,
            before=ids.parse(Kind.JOB, after) if after else None,
            state=status,
            batch_id=ids.parse(Kind.BATCH, batch_id) if batch_id else None,
            model=model,
        )
    return page(rows, limit=limit, show=show)


@routes.get("/{job_id}")
async def read(
    job_id: str, here: Here, principal: Caller, wait: Annotated[float, Query(ge=0, le=60)] = 0.0
) -> dict[str, Any]:
    """One job with its result. `wait`: answer when it is finished, or after so many seconds as it stands then."""
    identity = ids.parse(Kind.JOB, job_id)
    pause_s, until = FIRST_POLL_S, asyncio.get_running_loop().time() + wait
    while (left_s := until - asyncio.get_running_loop().time()) > 0:
        async with here.database.transaction() as session:
            terminal = await jobs.is_terminal(session, identity, tenant_id=principal.tenant_id)
        if terminal is not False:
            break
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, SLOWEST_POLL_S)
    async with here.database.transaction() as session:
        row = await jobs.get(session, identity, tenant_id=principal.tenant_id)
    if row is None:
        raise not_found(job_id)
    return show(row)


@routes.post("/{job_id}/cancel")
async def cancel(job_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    """Cancel a job that has not ended. 409 where it has, unless it was cancelled before."""
    identity = ids.parse(Kind.JOB, job_id)
    async with here.database.transaction() as session:
        moved = await jobs.cancel(session, identity, tenant_id=principal.tenant_id)
        row = await jobs.get(session, identity, tenant_id=principal.tenant_id)
        failpoint("api.cancel_job.before_commit")
    failpoint("api.cancel_job.after_commit")
    if row is None:
        raise not_found(job_id)
    if moved is None and row.state != JobState.CANCELLED:
        raise ConflictError(f"the job has {row.state} already and cannot be cancelled", param="id")
    return show(row)


@routes.get("/{job_id}/explain")
async def explain(job_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    """Why the job went where it went: every decision with its candidates, every call, every dead letter."""
    identity = ids.parse(Kind.JOB, job_id)
    async with here.database.transaction() as session:
        row = await jobs.get(session, identity, tenant_id=principal.tenant_id)
        if row is None:
            raise not_found(job_id)
        why = await jobs.explain(session, identity)
        texts = await catalogs.of_hashes(session, {each["catalog"] for each in why.decisions})
    known = {name: await asyncio.to_thread(catalogs.restored, text, name=name) for name, text in texts.items()}
    return {
        "id": job_id,
        "status": row.state,
        "decisions": [each | {"known": _known(each, known.get(each["catalog"]))} for each in why.decisions],
        "attempts": why.attempts,
        "dead_letters": why.dead_letters,
        "outlook": await _outlook(here, row) if row.state == JobState.QUEUED else None,
    }


def _known(decision: dict[str, Any], catalog: Catalog | None) -> dict[str, Any] | None:
    gaps = gaps_of(decision, catalog)
    return None if gaps is None else gaps.as_json()


async def _outlook(here: State, row: Any) -> dict[str, Any]:
    ((decision, gaps),) = await look(here, [row])
    changes = {"changes": [change.as_json() for change in decision.changes]} if decision.changes else {}
    return (
        {"model": decision.model_id, "reason": decision.reason}
        | decisions.evidence(decision)
        | changes
        | {"known": gaps.as_json()}
    )


def show(row: Any) -> dict[str, Any]:
    """A job as its owner sees it. A row without result columns shows none."""
    body = getattr(row, "body", None)
    return {
        "id": ids.public(Kind.JOB, row.id),
        "object": "job",
        "status": row.state,
        "model": row.model,
        "routed_model": row.model_id,
        "endpoint": row.endpoint,
        "batch_id": ids.public(Kind.BATCH, row.batch_id) if row.batch_id else None,
        "custom_id": row.custom_id,
        "created_at": row.created_at.timestamp(),
        "routed_at": _stamp(row.routed_at),
        "started_at": _stamp(row.started_at),
        "finished_at": _stamp(row.finished_at),
        "attempts": row.attempt,
        "priority": row.priority,
        "deadline": row.deadline.isoformat() if row.deadline else None,
        "residency": row.residency,
        "quality": row.quality,
        "router": row.preferences or {},
        "metadata": row.metadata or {},
        "result": None
        if body is None
        else {
            "status_code": row.status_code,
            "model": row.result_model,
            "body": json.loads(body),
            "usage": {"input_tokens": row.result_tokens_in, "output_tokens": row.result_tokens_out},
            "cost_usd": None if row.cost_usd is None else float(row.cost_usd),
        },
        "error": {"code": row.error_code, "message": row.error_message} if row.error_code else None,
    }


def encode_body(body: dict[str, Any]) -> str:
    """One line of JSON. Raises InvalidRequestError on a number that JSON does not have, and on half a surrogate pair."""
    try:
        line = json.dumps(body, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        line.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError("input: half of a surrogate pair is not text", param="input") from error
    except ValueError as error:
        raise InvalidRequestError("input: NaN and Infinity are not JSON", param="input") from error
    return line


def no_nul(metadata: dict[str, str] | None, *, path: str) -> dict[str, str] | None:
    """Postgres holds no NUL character in its text. Raises InvalidRequestError."""
    if metadata and any("\x00" in text for pair in metadata.items() for text in pair):
        raise InvalidRequestError(f"{path}: the NUL character is not allowed", param=path)
    return metadata


def not_found(job_id: str) -> NotFoundError:
    return NotFoundError(f"no job has the id {job_id[:80]!r}", param="id")


def _one(name: str, given: T | None, within: T | None) -> T | None:
    """A constraint that may stand in two places. Raises InvalidRequestError where they differ."""
    if given is not None and within is not None and given != within:
        raise InvalidRequestError(f"router.{name} differs from {name}; write one of them", param=f"router.{name}")
    return within if given is None else given


def _check_deadline(deadline: datetime, *, now: datetime) -> None:
    """Raises InvalidRequestError. The end of 9999 is in some time zones the year 10000 of UTC, which Python cannot read back."""
    if deadline <= now:
        raise InvalidRequestError("deadline: it has passed already", param="deadline")
    if deadline > now + timedelta(days=365 * MOST_YEARS_AHEAD):
        raise InvalidRequestError(
            f"deadline: it is more than {MOST_YEARS_AHEAD} years ahead; leave it out where there is none",
            param="deadline",
        )


def _stamp(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None
