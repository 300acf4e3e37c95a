"""A solved batch as data: small, hashed, exact in JSON. With it and a job alone every choice can be made again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from router_service.routing.prices import Prices, Toll

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What keeps the batch from being cheaper: `usd` would be saved by `step` more of `name`."""

    name: str
    usd: float
    step: str

    def __str__(self) -> str:
        return f"{self.name}: {self.step} would save about {self.usd:.4g} USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Prices, and what they lead to.

    `cost_usd`, `quality` (mean) and `finish_s` are what the choices of `jobs` jobs add up to; `bound_usd`: no assignment that
    keeps quality and deadline costs less; `program_usd`: the linear program's optimum over classes. `quality_usd`: what a right
    answer more is worth. `softness_usd`: how much a job's lot may outweigh. A model without a toll has none to pay.
    """

    jobs: int
    models: tuple[str, ...]
    cost_usd: float
    quality: float
    finish_s: float
    shares: Mapping[str, float]
    bound_usd: float
    program_usd: float
    binding: tuple[Binding, ...]
    quality_usd: float
    tolls: Mapping[str, Toll]
    softness_usd: float

    @property
    def gap(self) -> float:
        """How far the plan's cost may be above the best there is, as a share of that."""
        return max(0.0, self.cost_usd / self.bound_usd - 1) if self.bound_usd > 0 else 0.0

    @property
    def hash(self) -> str:
        """Names this very content."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def prices(self) -> Prices:
        """What of it the single decision needs."""
        return Prices(plan=self.hash, quality_usd=self.quality_usd, softness_usd=self.softness_usd, tolls=self.tolls)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "models": list(self.models),
            "shares": dict(self.shares),
            "binding": [asdict(each) for each in self.binding],
            "tolls": {model: asdict(toll) for model, toll in self.tolls.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Plan:
        """The plan that `as_json` wrote. Raises TypeError where a field is missing or unknown."""
        told = dict(value) | {
            "models": tuple(value["models"]),
            "binding": tuple(Binding(**each) for each in value["binding"]),
            "tolls": {model: Toll(**toll) for model, toll in value["tolls"].items()},
        }
        return cls(**told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """Nothing meets the goal.

    `broken` names what cannot be kept together, `limits` those in the way. Each figure is what could be asked for in its place,
    all else as asked; None where that would not help. `stranded`: jobs that no model may do, or none in time, for which there
    would have to be `least_finish_s` at the very least.
    """

    broken: tuple[str, ...]
    limits: tuple[str, ...] = ()
    best_quality: float | None = None
    least_finish_s: float | None = None
    least_cost_usd: float | None = None
    stranded: int = 0

    def since(self, begun_s: float) -> Infeasible:
        """With its time told from so many seconds before."""
        return self if self.least_finish_s is None else replace(self, least_finish_s=self.least_finish_s + begun_s)

    @property
    def needs_money(self) -> bool:
        """Whether nothing else would do."""
        return self.least_cost_usd is not None and self.least_finish_s is None and self.best_quality is None

    def __str__(self) -> str:
        if self.stranded:
            in_time = "" if self.least_finish_s is None else " in time"
            longer = "" if self.least_finish_s is None else f", or give more than {self.least_finish_s:.4g} s"
            return f"{self.stranded} jobs have no model that may do them{in_time}; take them out, offer one that may{longer}"
        ways = [
            text
            for value, text in (
                (self.best_quality, f"a quality of at most {self.best_quality}"),
                (self.least_finish_s, f"a deadline of at least {self.least_finish_s} s"),
                (self.least_cost_usd, f"a budget of at least {self.least_cost_usd} USD"),
            )
            if value is not None
        ]
        by = f" under {', '.join(self.limits)}" if self.limits else ""
        would = "; possible would be " + ", or ".join(ways) if ways else ""
        return f"{' and '.join(self.broken)} cannot be kept{by}{would}"
