"""What a job asks for, as the router sees it: sizes and constraints, never content."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

AUTO = "auto"


class Feature(StrEnum):
    """A capability that a request needs and a model may lack."""

    VISION = "vision"
    AUDIO = "audio"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """One job's constraints. `tokens_in` is an estimate, `tokens_out` the most it may answer."""

    model: str
    tokens_in: int
    tokens_out: int | None = None
    features: tuple[str, ...] = ()
    residency: str | None = None
    quality: float | None = None
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutableJob:
    """A queued job that the router has taken: who it is and what it asks for."""

    id: UUID
    epoch: int
    spec: JobSpec


def lane_of(spec: JobSpec, *, tenant_id: str) -> int:
    """The lane of a job: jobs of one tenant that compete for the same models. A signed 64-bit hash.

    The router takes jobs lane by lane, so that a backlog for a busy model does not hide work for an idle one.
    """
    parts = (
        tenant_id,
        spec.model,
        *spec.features,
        spec.residency or "",
        repr(spec.quality),
        *sorted(spec.excluded),
    )
    digest = blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
