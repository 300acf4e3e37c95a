"""Ids: UUIDs of version 7 (RFC 9562, section 5.7), in time order for the indexes, with 74 random bits so that nobody guesses one.

In the API an id carries its kind: `job_<32 hex digits>`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from uuid import UUID

from router_service.errors import NotFoundError

RANDOM_BYTES = 10
DIGITS = re.compile(r"[0-9a-f]{32}")


class Kind(StrEnum):
    """The prefix of a public id."""

    JOB = "job_"
    BATCH = "batch_"
    FILE = "file-"
    DEAD_LETTER = "dl_"
    QUOTE = "quote_"


def new_id(*, now_ms: int, random: bytes) -> UUID:
    """A UUIDv7 of `now_ms` (Unix milliseconds) and ten random bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"a UUIDv7 needs {RANDOM_BYTES} random bytes, got {len(random)}")
    value = (now_ms & (2**48 - 1)) << 80 | int.from_bytes(random, "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return UUID(int=value)


def accepted_s(value: UUID) -> float:
    """When this id was made: seconds since 1970, to the millisecond."""
    return (value.int >> 80) / 1000


def public(kind: Kind, value: UUID) -> str:
    return f"{kind}{value.hex}"


def parse(kind: Kind, text: str) -> UUID:
    """The UUID behind a public id. Raises NotFoundError: a malformed id is one that nobody has."""
    if text.startswith(kind) and DIGITS.fullmatch(text, len(kind)):
        return UUID(hex=text.removeprefix(kind))
    raise NotFoundError(f"no {kind.name.lower().replace('_', ' ')} has the id {text[:80]!r}", param="id")
