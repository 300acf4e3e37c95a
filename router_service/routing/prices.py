"""What a plan for a whole batch says to the single decision: prices, which with the job alone lead to a choice.

The plan is made in `router_service.assignment`; its prices stand here, below it, since decisions are taken with them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # splitmix64, Steele et al. 2014
MASK = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Toll:
    """What a job pays in choosing a model beside its cost, for the jobs that it keeps away. USD by unit."""

    request: float = 0.0
    token: float = 0.0
    token_in: float = 0.0
    token_out: float = 0.0
    slot_s: float = 0.0

    def usd(self, *, tokens_in: float, tokens_out: float, latency_s: float) -> float:
        return (
            self.request
            + tokens_in * (self.token + self.token_in)
            + tokens_out * (self.token + self.token_out)
            + latency_s * self.slot_s
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """`plan`: the hash of the plan that they are of; `quality_usd`: what a right answer is worth.

    `softness_usd`: how much a job's lot may outweigh, which splits jobs that are alike. A model without a toll has none to pay.
    `latencies`: by model the seconds of a call and of each token of its answer that the plan counts on: what is measured from
    call to call would drive jobs that are alike from one model to the other.
    """

    plan: str
    quality_usd: float
    softness_usd: float
    tolls: Mapping[str, Toll]
    latencies: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def latency_s(self, model_id: str, *, tokens_out: float) -> float | None:
        """Of a call, as the plan has it; None where it says nothing."""
        known = self.latencies.get(model_id)
        return None if known is None else known[0] + known[1] * tokens_out

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Prices:
        tolls = {model: Toll(**toll) for model, toll in stored["tolls"].items()}
        latencies = {model: (base_s, token_s) for model, (base_s, token_s) in stored["latencies"].items()}
        return cls(**{**stored, "tolls": tolls, "latencies": latencies})


FREE = Toll()


def key_of(name: str | bytes) -> int:
    """64 bits that stand for a job's (or a model's) id."""
    raw = name.encode() if isinstance(name, str) else name
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big")


def lot(job_id: UUID, model_id: str) -> float:
    """A number in (0, 1), always the same for a job and a model: `assignment.jobs.lots_of` gives the same for many at once."""
    mixed = key_of(job_id.bytes) ^ key_of(model_id)
    for shift, factor in ROUNDS:
        mixed = ((mixed ^ (mixed >> shift)) * factor) & MASK
    mixed ^= mixed >> 31
    return (mixed + 0.5) / 2**64 * (1 - 2e-16) + 1e-17


def luck(job_id: UUID, model_id: str) -> float:
    """The lot as it enters a score: the log of an exponential variable, so that the least of several is a soft minimum."""
    return math.log(-math.log(lot(job_id, model_id)))
