"""Files: uploaded inputs and written outputs, kept in chunks so that no process holds one whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from sqlalchemy import Row

    from router_service.store.session import Session

CHUNK_BYTES = 1_000_000


async def store(
    session: Session,
    read: Callable[[int], bytes],
    *,
    file_id: UUID,
    tenant_id: str,
    purpose: str,
    filename: str,
    expires_after_s: int | None,
    size: int,
) -> Row[Any]:
    """Store what `read(n)` gives until it gives nothing, `size` bytes in all, and return the file's row."""
    row = await session.row(
        "file_insert",
        id=file_id,
        tenant_id=tenant_id,
        purpose=purpose,
        filename=filename,
        bytes=size,
        expires_after_s=expires_after_s,
    )
    assert row is not None, "an INSERT without a condition returns its row"  # noqa: S101
    command, seq = "COPY file_chunks (file_id, seq, data) FROM STDIN", 0
    async with (await session.driver()).cursor() as cursor, cursor.copy(command) as copy:
        while data := read(CHUNK_BYTES):
            await copy.write_row((file_id, seq, data))
            seq += 1
    return row


async def get(session: Session, file_id: UUID, *, tenant_id: str) -> Row[Any] | None:
    return await session.row("file_get", id=file_id, tenant_id=tenant_id)


async def listed(
    session: Session, *, tenant_id: str, most: int, after: UUID | None, purpose: str | None, ascending: bool
) -> Sequence[Row[Any]]:
    return await session.rows(
        "file_list", tenant_id=tenant_id, most=most, after=after, purpose=purpose, ascending=ascending
    )


async def delete(session: Session, file_id: UUID, *, tenant_id: str) -> bool:
    return bool(await session.rows("file_delete", id=file_id, tenant_id=tenant_id))


async def chunk(session: Session, file_id: UUID, seq: int) -> bytes | None:
    """One chunk, None behind the last."""
    row = await session.row("file_chunk", file_id=file_id, seq=seq)
    return bytes(row.data) if row else None


async def chunks(session: Session, file_id: UUID) -> AsyncIterator[bytes]:
    """A file's content, chunk by chunk, within one transaction."""
    seq = 0
    while (data := await chunk(session, file_id, seq)) is not None:
        yield data
        seq += 1
