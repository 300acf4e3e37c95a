"""What a model's calls were like: moving means that correct estimates of tokens and tell how fast it is.

An estimate from characters is off by a factor that is much the same for all calls of a model and its users. So the factor is
learned from what the provider counts. Where a worker counts prompts with the model's tokenizer, the factor is learned from its
counts, and is near 1: what is left are tools and what a provider puts around messages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.routing.constraints import least_needed_s

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_FACTOR, MOST_FACTOR = 0.25, 4.0
MARGIN = 1.1  # one estimate is further off than their mean; a count is off by little but what the factor has learned
LONGER = 1.5  # an answer without a limit, against the mean answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Means over a model's last calls; None before the first.

    `estimated_in`: as estimated, or as counted, before the call. `least_s` is the least that one took within some minutes,
    None where none has ended for a minute.
    """

    estimated_in: float | None = None
    real_in: float | None = None
    real_out: float | None = None
    latency_s: float | None = None
    least_s: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Measures:
        """From the JSON of the Lua files."""
        latency_ms, least_ms = row.get("latency_ms"), row.get("least_ms")
        return cls(
            estimated_in=row.get("estimated_in"),
            real_in=row.get("real_in"),
            real_out=row.get("real_out"),
            latency_s=None if latency_ms is None else latency_ms / 1000,
            least_s=None if least_ms is None else least_ms / 1000,
        )

    def means(self) -> dict[str, float]:
        """What is known of tokens, by the names of the Lua files."""
        known = {"estimated_in": self.estimated_in, "real_in": self.real_in, "real_out": self.real_out}
        return {name: value for name, value in known.items() if value is not None}

    def tokens_in(self, estimated: int, *, is_counted: bool = False) -> int:
        """A prompt's tokens, its estimate or count corrected by how far off those of this model have been."""
        if not self.real_in or not self.estimated_in:
            return estimated
        factor = min(MOST_FACTOR, max(LEAST_FACTOR, self.real_in / self.estimated_in))
        return max(1, math.ceil(estimated * factor * (1.0 if is_counted else MARGIN)))

    def tokens_out(self, limit: int | None, *, typical: int, most: int | None) -> int:
        """How long an answer may get: the job's own limit, else somewhat more than this model's mean answer.

        `typical` stands in before the first call, `most` is what the model can write.
        """
        if limit is None:
            limit = typical if not self.real_out else math.ceil(self.real_out * LONGER) + 1
        return limit if most is None else min(limit, most)

    def least_for(self, limit: int | None) -> float | None:
        """Seconds that a call takes at the very least, whose answer has no more than `limit` tokens."""
        return least_needed_s(limit, least_s=self.least_s, tokens_out=self.real_out)

    @property
    def tokens(self) -> float | None:
        """A call's tokens, in and out."""
        return None if self.real_in is None or self.real_out is None else self.real_in + self.real_out
