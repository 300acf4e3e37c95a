"""What two ways of deciding would cost, give and take, job by job: for what-if and for shadow policies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router_service.catalog.models import Catalog

NOWHERE = "(none)"
UNKNOWN = "(not known)"


class Expected(NamedTuple):
    """What a decision expected of the model that it chose; None where nobody knew, or none was chosen."""

    model_id: str | None
    cost_usd: float | None = None
    quality: float | None = None
    latency_s: float | None = None

    @classmethod
    def of(cls, model_id: str | None, candidates: Iterable[Mapping[str, Any]]) -> Expected:
        """From a decision's candidates as they are stored. Latency includes the wait."""
        chosen = next((each for each in candidates if each["model"] == model_id and each["eligible"]), None)
        if chosen is None:
            return cls(model_id)
        call_s = chosen.get("latency_s")
        latency_s = None if call_s is None else call_s + chosen.get("wait_s", 0.0)
        return cls(model_id, chosen.get("cost_usd"), chosen.get("quality"), latency_s)


@dataclass(slots=True)
class Side:
    """Sums over decisions; `places`: where the models compute. `unplaced`: decisions for no model, which are in none of the rest.

    A mean is over those of which the value is known.
    """

    unplaced: int = 0
    models: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)

    def add(self, each: Expected, place: str) -> None:
        if each.model_id is None:
            self.unplaced += 1
            return
        self.models[each.model_id] += 1
        self.places[place] += 1
        for name in ("cost_usd", "quality", "latency_s"):
            if (value := getattr(each, name)) is not None:
                self.sums[name] += value
                self.known[name] += 1

    def merge(self, other: Side) -> None:
        self.unplaced += other.unplaced
        for name in ("models", "places", "sums", "known"):
            getattr(self, name).update(getattr(other, name))

    def mean(self, name: str) -> float | None:
        return self.sums[name] / self.known[name] if self.known[name] else None

    def as_json(self) -> dict[str, Any]:
        return {
            "models": dict(self.models.most_common()),
            "places": dict(self.places.most_common()),
            "cost_usd": self.sums["cost_usd"],
            "placed": self.models.total(),
            "unplaced": self.unplaced,
            "unpriced": self.models.total() - self.known["cost_usd"],
            "quality": self.mean("quality"),
            "latency_s": self.mean("latency_s"),
        }


@dataclass(slots=True)
class Comparison:
    """Decisions as they were, and as they would be.

    `blind`: those by a policy that looks at words, on requests that nobody had read.
    """

    before: Side = field(default_factory=Side)
    after: Side = field(default_factory=Side)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    blind: int = 0

    def add(self, before: Expected, after: Expected, *, places: Mapping[str, str], is_blind: bool = False) -> None:
        """`places`: where each model computes, by its id."""
        self.blind += is_blind
        self.before.add(before, places.get(before.model_id or NOWHERE, UNKNOWN))
        self.after.add(after, places.get(after.model_id or NOWHERE, UNKNOWN))
        if before.model_id != after.model_id:
            self.moves[before.model_id or NOWHERE, after.model_id or NOWHERE] += 1

    def merge(self, other: Comparison) -> None:
        """Add what was compared elsewhere."""
        self.before.merge(other.before)
        self.after.merge(other.after)
        self.moves.update(other.moves)
        self.blind += other.blind

    def as_json(self) -> dict[str, Any]:
        return {
            "decisions": self.before.models.total() + self.before.unplaced,
            "changed": self.moves.total(),
            "blind": self.blind,
            "before": self.before.as_json(),
            "after": self.after.as_json(),
            "moves": [{"from": one, "to": other, "jobs": jobs} for (one, other), jobs in self.moves.most_common()],
        }


def places_of(catalog: Catalog) -> dict[str, str]:
    """Where each model computes, by its id; a model that does not say is left out."""
    return {
        model.id: "+".join(sorted(model.residency.inference)) for model in catalog.models if model.residency is not None
    }
