"""The first policy: the cheapest model that meets the constraints, unless waiting for it costs more than it saves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_service.catalog.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """Data, not code, named by its hash. Money in US dollars.

    `wait_usd_per_s` is what a second of waiting is worth; `unknown_cost_usd` puts a model without a
    price behind every priced one;
    `typical_tokens_out` stands in where neither the job nor the model bounds the answer.
    """

    wait_usd_per_s: float = 1e-7
    unknown_cost_usd: float = 1e3
    typical_tokens_out: int = 512

    @property
    def hash(self) -> str:
        return _hash(self)


@cache
def _hash(policy: RoutingPolicy) -> str:
    return hashlib.sha256(json.dumps(asdict(policy), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """A model's live state as one snapshot saw it.

    `waiting`: jobs in its queue; `wait_s`: how long until it can start another call; `room`: how many more its queue takes, and
    `held_by` why that is none (paused, breaker, slots, rpm, ...; None where its own limits are not why). `broken_s`: above 0
    while its breaker lets nothing through; `is_failing`: too many of its last calls failed; `latency_s` and `tokens_out`: what
    a call takes and answers in the mean, `least_s`: what one has taken at the least of late; None where nobody knows.
    """

    in_flight: int
    wait_s: float
    paused_s: float
    room: int
    waiting: int = 0
    broken_s: float = 0.0
    latency_s: float | None = None
    least_s: float | None = None
    tokens_out: float | None = None
    held_by: str | None = None
    is_failing: bool = False


def expected_tokens_out(asked: int | None, model: Model, policy: RoutingPolicy) -> int:
    """How long the answer may get, in tokens: what admission reserves and what the cost is reckoned with.

    `asked` is the job's own limit, None without one.
    """
    most = asked if asked is not None else policy.typical_tokens_out
    return most if model.max_output_tokens is None else min(most, model.max_output_tokens)
