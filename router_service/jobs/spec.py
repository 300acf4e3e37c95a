"""What a job asks for, as the router sees it: sizes and constraints, never content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

from router_service.jobs.preferences import NONE, Preferences

if TYPE_CHECKING:
    from uuid import UUID

AUTO = "auto"
THRESHOLD_NAME = re.compile(r"router-(0(?:\.\d{1,6})?|1(?:\.0{1,6})?)")
MODEL_BITS = 20  # of a lane's number: what its jobs wait for
TYPICAL_TOKENS_OUT = 512  # where nobody bounds an answer and nothing is known of its model


class Feature(StrEnum):
    """A capability that a request needs and a model may lack."""

    VISION = "vision"
    AUDIO = "audio"
    TOOLS = "tools"
    JSON_SCHEMA = "json_schema"


class Modality(StrEnum):
    """What a message consists of."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


class Fallback(StrEnum):
    """Which chain of fallbacks a job follows."""

    GENERAL = "general"  # from the model asked for; every job begins so
    CONTEXT_WINDOW = "context_window"  # it was too long for its last model
    CONTENT_POLICY = "content_policy"  # its last model refused the content


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
    fallback: Fallback = Fallback.GENERAL
    preferences: Preferences = NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutableJob:
    """A queued job that the router has taken: who it is and what it asks for.

    `left_s`: seconds to its deadline, if any; `tried`: the model on which it has failed and has tries left;
    `plan`: the hash of the plan for its batch.
    """

    id: UUID
    epoch: int
    spec: JobSpec
    tenant_id: str = ""
    left_s: float | None = None
    tried: str | None = None
    plan: str | None = None


def threshold_of(name: str) -> float | None:
    """The threshold in a name such as `router-0.3`; None in any other."""
    found = THRESHOLD_NAME.fullmatch(name)
    return float(found[1]) if found else None


def lane_of(spec: JobSpec, *, tenant_id: str, interactive: bool = True) -> int:
    """The lane of a job: jobs of one tenant that compete for about the same models. A signed 64-bit hash.

    Wishes that are numbers, and may differ from line to line, are left out or in steps: the router looks at each lane.

    The router takes jobs lane by lane, so that a backlog for a busy model does not hide work for an idle one. A lane below 0
    is of jobs that somebody waits for, one from 0 on of a batch's: so the router finds the former without a look at the latter.
    """
    parts = (
        tenant_id,
        spec.model,
        *spec.features,
        spec.residency or "",
        "" if spec.quality is None else f"{spec.quality:.1f}",
        *sorted(spec.excluded),
        spec.fallback,
        *spec.preferences.parts(),
    )
    number = _number("\x1f".join(parts))
    return ~number if interactive else number


def split_lane(lane: int, waits_for: str) -> int:
    """The lane, of the same kind, for those of a lane's jobs that wait for this; for one of that lane it is the same."""
    number = ~lane if lane < 0 else lane
    apart = (number >> MODEL_BITS << MODEL_BITS) | (_number(waits_for) & ((1 << MODEL_BITS) - 1))
    return ~apart if lane < 0 else apart


def _number(text: str) -> int:
    """A hash of 63 bits."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
