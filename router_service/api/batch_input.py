"""Reads a batch's input file as a stream and stores its lines as jobs. Memory does not grow with the file.

A broken line fails the batch, with its number, before anything is dispatched. A line that no model on offer may take is stored as
a failed job, and fails alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

from pydantic_core import from_json

from router_service.api import admission
from router_service.api.failures import printable
from router_service.api.jobs import CHAT, encode_body
from router_service.api.preferences import read_wishes, spec_of
from router_service.api.state import make_id
from router_service.chat.request import read_chat
from router_service.errors import InvalidRequestError, TooLargeError
from router_service.jobs.lines import LineCutter
from router_service.jobs.spec import AUTO, JobSpec
from router_service.store import files, jobs
from router_service.store.jobs import NewJob, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from router_service.catalog.models import Catalog
    from router_service.store.session import Session

MOST_LINES = 50_000
MOST_LINE_BYTES = 16_000_000
MORE_BLANK_LINES = 1000  # beside one for each line
MOST_ERRORS = 20
MOST_CUSTOM_ID = 512
ROWS_PER_COPY = 1000
BATCH_PRIORITY = -10
NO_MODEL = admission.NotAdmittedError.default_code
KNOWN_KEYS = frozenset({"custom_id", "method", "url", "body", "router"})


@dataclass(slots=True)
class LineReader:
    """Turns lines into jobs and remembers what is needed to judge the next line.

    `accepted_at`: the database's time. `router`: what the batch says of routing for all its lines. `waits_apart`: its
    jobs may wait long for a plan. `total`, `auto` and `refused`: lines so far, those that leave the choice of a model to the
    router, and those that no model on offer may take.
    """

    tenant_id: str
    batch_id: UUID
    deadline: datetime | None
    catalog: Catalog
    accepted_at: datetime
    router: Mapping[str, Any] = field(default_factory=dict)
    waits_apart: bool = False
    errors: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0
    auto: int = 0
    refused: int = 0
    _seen: set[str] = field(default_factory=set)
    _admitted: dict[JobSpec, str | None] = field(default_factory=dict)

    def read(self, lines: Iterable[tuple[int, bytes]]) -> list[NewJob]:
        """Jobs of the lines that are right; for the others, errors. Stops where there is no hope.

        Raises TooLargeError where the lines are cut as they are read, and one is too long or one too many.
        """
        read: list[NewJob] = []
        for number, line in lines:
            self.total += 1
            try:
                read.append(self._job(number, line))
            except InvalidRequestError as error:
                self.refuse(number, error)
            if self.hopeless:
                break
        return read

    def refuse(self, number: int | None, error: InvalidRequestError) -> None:
        """Remember an error. It may quote the file, and jsonb does not hold every character that a file can."""
        message, param = printable(error.message), error.param and printable(error.param)
        self.errors.append({"code": error.code, "line": number, "message": message, "param": param})

    @property
    def hopeless(self) -> bool:
        return len(self.errors) >= MOST_ERRORS or self.total > MOST_LINES

    def _job(self, number: int, line: bytes) -> NewJob:
        fields = _parse(line)
        custom_id = fields.get("custom_id")
        if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= MOST_CUSTOM_ID or not _storable(custom_id):
            raise InvalidRequestError(
                f"custom_id must be a string of 1 to {MOST_CUSTOM_ID} characters without NUL", param="custom_id"
            )
        if custom_id in self._seen:
            raise InvalidRequestError(
                f"custom_id {custom_id[:80]!r} stands on an earlier line", param="custom_id", code="duplicate_custom_id"
            )
        self._seen.add(custom_id)
        if fields.get("method") != "POST":
            raise InvalidRequestError("method must be 'POST'", param="method", code="invalid_method")
        if fields.get("url") != CHAT:
            raise InvalidRequestError(f"url must be the batch's endpoint, {CHAT}", param="url", code="invalid_url")
        for key in sorted(fields.keys() - KNOWN_KEYS):
            raise InvalidRequestError(f"unknown key {key[:40]!r}", param=key[:40], code="unknown_parameter")
        body = fields.get("body")
        shape = read_chat(body)
        around = (("router of the batch", self.router or None), ("router", fields.get("router")))
        spec = spec_of(shape, read_wishes(cast("dict[str, Any]", body), path="body", around=around))
        why_not = self._why_not(spec)
        self.refused += why_not is not None
        self.auto += spec.model == AUTO and why_not is None
        return NewJob(
            id=make_id(),
            tenant_id=self.tenant_id,
            batch_id=self.batch_id,
            line=number,
            custom_id=custom_id,
            endpoint=CHAT,
            spec=spec,
            body=encode_body(cast("dict[str, Any]", body)),
            priority=BATCH_PRIORITY,
            deadline=self.deadline,
            waits_apart=self.waits_apart and spec.model == AUTO,
            refusal=None if why_not is None else Refusal(self.accepted_at, NO_MODEL, printable(why_not)),
        )

    def _why_not(self, spec: JobSpec) -> str | None:
        """Why no model may take such a job; None where one may. Raises InvalidRequestError for a model that is not on offer.

        Checked once per kind of job: what passes at the next power of two of its size passes, what is refused at the one below is
        refused; only between these is each size looked at.
        """
        above = 1 << spec.tokens_in.bit_length()
        if self._checked(replace(spec, tokens_in=above)) is None:
            return None
        below = self._checked(replace(spec, tokens_in=above >> 1))
        return self._checked(spec) if below is None else below

    def _checked(self, spec: JobSpec) -> str | None:
        if spec not in self._admitted:
            try:
                admission.check(spec, catalog=self.catalog, tenant_id=self.tenant_id, path="body.model")
            except admission.NotAdmittedError as error:
                self._admitted[spec] = error.message
            else:
                self._admitted[spec] = None
        return self._admitted[spec]


async def store_lines(session: Session, file_id: UUID, reader: LineReader) -> None:
    """Store the file's lines as jobs; stop storing at the first error."""
    async for read in read_lines(session, file_id, reader):
        if not reader.errors:
            for start in range(0, len(read), ROWS_PER_COPY):
                await jobs.accept(session, read[start : start + ROWS_PER_COPY])


async def read_lines(session: Session, file_id: UUID, reader: LineReader) -> AsyncIterator[list[NewJob]]:
    """The file's lines as jobs, some at a time; after a number of errors it is read no further.

    The lines are cut, read and checked in a thread: what the cutter gives is an iterator that works as it is read.
    """
    cutter = LineCutter(most_bytes=MOST_LINE_BYTES, most_lines=2 * MOST_LINES + MORE_BLANK_LINES)
    try:
        async for chunk in files.chunks(session, file_id):
            yield await asyncio.to_thread(reader.read, cutter.feed(chunk))
            if reader.hopeless:
                break
        else:
            yield await asyncio.to_thread(reader.read, cutter.rest())
    except TooLargeError as error:
        reader.refuse(None, error)
    if reader.total > MOST_LINES:
        reader.refuse(
            None, InvalidRequestError(f"the file has more than {MOST_LINES} lines", param="file", code="too_many_lines")
        )
    elif reader.total == 0 and not reader.errors:
        reader.refuse(None, InvalidRequestError("the file has no lines", param="file", code="empty_file"))


def _parse(line: bytes) -> dict[str, Any]:
    try:
        fields = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        what = str(error).partition(" at line ")
        raise InvalidRequestError(
            f"not JSON: {what[0]}, column {what[2].rpartition(' ')[2]}", code="invalid_json"
        ) from error
    if not isinstance(fields, dict):
        raise InvalidRequestError("a line must be a JSON object", code="invalid_json")
    return fields


def _storable(text: str) -> bool:
    """Postgres holds neither NUL nor a lone surrogate."""
    return "\x00" not in text and text.encode("utf-8", "ignore").decode() == text
