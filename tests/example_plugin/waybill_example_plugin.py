"""A package that adds to Waybill's routing, as docs/extending.md describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.routing.constraints import Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Model
    from router_service.routing.question import Prospect, Question
    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

COAL_USD = 0.002


class Tone:
    """A signal: whether the request shouts."""

    name = "tone"
    version = "1"

    def extract(self, requests: Sequence[Request], /) -> Sequence[Mapping[str, JSON]]:
        return [{"shouts": request.text.isupper()} for request in requests]


def calm_only(asked: Question, model: Model) -> Rejection | None:
    """A constraint: who shouts is not sent to models named `shy-...`."""
    shouts = asked.insight.signals is not None and asked.insight.signals.extra.get("tone.shouts")
    return Rejection(reason="example:calm-only") if shouts and model.id.startswith("shy-") else None


def carbon(prospect: Prospect) -> float:
    """A score, in US dollars."""
    return COAL_USD if prospect.model.id.startswith("coal-") else 0.0


def best_first(prospects: Sequence[Prospect]) -> list[tuple[float, ...]]:
    """A strategy: the highest quality, whatever it costs."""
    return [(-(each.quality or 0.0), each.known_cost_usd) for each in prospects]
