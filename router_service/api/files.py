"""`/v1/files`: OpenAI's Files. Content goes through in pieces, whatever its size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import StreamingResponse

from router_service.api.lists import TextFilter, page
from router_service.api.state import Caller, Here, State, make_id
from router_service.errors import InvalidRequestError, NotFoundError, TooLargeError
from router_service.failpoints import failpoint
from router_service.jobs import ids
from router_service.jobs.ids import Kind
from router_service.store import files

routes = APIRouter(prefix="/v1/files", tags=["files"])
MOST_BYTES = 200 * 1000 * 1000


@routes.post("")
async def upload(
    here: Here,
    principal: Caller,
    file: Annotated[UploadFile, File()],
    purpose: Annotated[str, Form()],
    expires_anchor: Annotated[str | None, Form(alias="expires_after[anchor]")] = None,
    expires_seconds: Annotated[int | None, Form(alias="expires_after[seconds]", ge=3600, le=2_592_000)] = None,
) -> dict[str, Any]:
    """Store a file, at most 200 MB. Its lines are checked when a batch is made of it."""
    if purpose != "batch":
        raise InvalidRequestError(f"purpose must be 'batch', not {purpose[:40]!r}", param="purpose")
    if expires_anchor not in {None, "created_at"}:
        raise InvalidRequestError("expires_after[anchor] must be 'created_at'", param="expires_after[anchor]")
    size = file.size or 0
    if size > MOST_BYTES:
        raise TooLargeError(f"the file has {size} bytes; the most is {MOST_BYTES}", param="file")
    if size == 0:
        raise InvalidRequestError("the file is empty", param="file", code="empty_file")
    name = (file.filename or "upload").replace("\x00", "")[:255]
    async with here.database.transaction() as session:
        row = await files.store(
            session,
            file.file.read,
            file_id=make_id(),
            tenant_id=principal.tenant_id,
            purpose=purpose,
            filename=name,
            expires_after_s=expires_seconds,
            size=size,
        )
        failpoint("api.files.before_commit")
    failpoint("api.files.after_commit")
    return show(row)


@routes.get("")
async def list_files(
    here: Here,
    principal: Caller,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    after: str | None = None,
    order: Literal["asc", "desc"] = "desc",
    purpose: TextFilter = None,
) -> dict[str, Any]:
    async with here.database.transaction() as session:
        rows = await files.listed(
            session,
            tenant_id=principal.tenant_id,
            most=limit + 1,
            after=ids.parse(Kind.FILE, after) if after else None,
            purpose=purpose,
            ascending=order == "asc",
        )
    return page(rows, limit=limit, show=show)


@routes.get("/{file_id}")
async def read(file_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    return show(await _find(here, file_id, principal.tenant_id))


@routes.get("/{file_id}/content")
async def content(file_id: str, here: Here, principal: Caller) -> StreamingResponse:
    row = await _find(here, file_id, principal.tenant_id)
    return StreamingResponse(
        _chunks(here, row.id),
        media_type="application/jsonl",
        headers={"content-length": str(row.bytes), "x-content-type-options": "nosniff"},
    )


@routes.delete("/{file_id}")
async def delete(file_id: str, here: Here, principal: Caller) -> dict[str, Any]:
    identity = ids.parse(Kind.FILE, file_id)
    async with here.database.transaction() as session:
        deleted = await files.delete(session, identity, tenant_id=principal.tenant_id)
    if not deleted:
        raise _not_found(file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def show(row: Any) -> dict[str, Any]:
    return {
        "id": ids.public(Kind.FILE, row.id),
        "object": "file",
        "bytes": row.bytes,
        "created_at": int(row.created_at.timestamp()),
        "expires_at": int(row.expires_at.timestamp()) if row.expires_at else None,
        "filename": row.filename,
        "purpose": row.purpose,
        "status": "processed",
    }


async def _find(here: State, file_id: str, tenant_id: str) -> Any:
    identity = ids.parse(Kind.FILE, file_id)
    async with here.database.transaction() as session:
        row = await files.get(session, identity, tenant_id=tenant_id)
    if row is None:
        raise _not_found(file_id)
    return row


async def _chunks(here: State, file_id: UUID) -> AsyncIterator[bytes]:
    """A transaction per chunk: a slow reader holds no connection."""
    seq = 0
    while True:
        async with here.database.transaction() as session:
            data = await files.chunk(session, file_id, seq)
        if data is None:
            return
        yield data
        seq += 1


def _not_found(file_id: str) -> NotFoundError:
    return NotFoundError(f"no file has the id {file_id[:80]!r}", param="id")
