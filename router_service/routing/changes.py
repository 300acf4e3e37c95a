"""What would have to change for a job that no model may do: for each way out, what stands in it and at which value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.routing.constraints import CONSTRAINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.catalog.models import Model
    from router_service.routing.constraints import Constraint
    from router_service.routing.question import Question

FAILED = "failed_before"
WORDS = {
    "residency": "another residency ({bound})",
    "residency_unknown": "the model's place stated in the catalog",
    "missing_feature": "a request that does without {bound}",
    "context_window": "at most {bound} tokens of input",
    "max_output_tokens": "at most {bound} tokens of output",
    "quality": "a quality of at most {bound}",
    "quality_unknown": "the model's quality stated in the catalog",
    "language": "one of its languages ({bound})",
    "domain": "one of its domains ({bound})",
    "domain_unknown": "a known domain ({bound})",
    "safety": "a safety class of at most {bound}",
    "safety_unknown": "the model's safety class stated in the catalog",
    "trains_on_data": "data that may be trained on",
    "trains_on_data_unknown": "trains_on_data stated in the catalog",
    "retention": "data that may be kept for {bound} days",
    "retention_unknown": "retention_days stated in the catalog",
    "max_price": "a max_price of {bound} USD a million tokens",
    "max_cost": "a max_cost_usd of {bound}",
    "max_cost_unknown": "max_tokens in the request or max_output_tokens in the catalog, to keep max_cost_usd",
    "price_unknown": "the model's prices stated in the catalog",
    "ignored": "the model not ignored",
    "not_among_only": "the model among `only`",
    "not_in_order": "the model in `order`, or fallbacks allowed",
    "rule": "the policy's rule {bound} changed",
    "unknown_policy": "a policy named {bound} in the catalog, or another one asked for",
    "no_fallbacks": "fallbacks allowed (it failed on {bound})",
    "plugin_failed": "the plugin mended ({bound})",
    "plugin_missing": "the plugin {bound} installed where the router runs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A model that could do the job if all of `reasons` did not hold; each with the value that bound."""

    model: str
    reasons: tuple[tuple[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        return {"model": self.model, "change": [{"reason": reason, "bound": bound} for reason, bound in self.reasons]}

    @property
    def words(self) -> str:
        said = [
            WORDS.get(reason, reason).format(bound=_text(_in_units(reason, bound))) for reason, bound in self.reasons
        ]
        return f"{self.model}: {' and '.join(said)}"


def changes_needed(
    asked: Question, models: Sequence[Model], *, plugins: Sequence[Constraint] = ()
) -> tuple[Change, ...]:
    """The ways out that ask for least: none of another model's that asks for more of the same. What failed stays out."""
    found: list[Change] = []
    for model in models:
        constraints = (*CONSTRAINTS, *plugins)
        rejections = [out for constraint in constraints if (out := constraint(asked, model)) is not None]
        if all(each.reason != FAILED for each in rejections):
            found.append(Change(model=model.id, reasons=tuple((each.reason, each.bound) for each in rejections)))
    kinds = {change.model: {reason for reason, _bound in change.reasons} for change in found}
    return tuple(change for change in found if not any(kinds[other.model] < kinds[change.model] for other in found))


def _in_units(reason: str, bound: Any) -> Any:
    """As a request would state it."""
    return bound * 1e6 if reason == "max_price" and bound is not None else bound


def _text(bound: Any) -> str:
    return (
        ", ".join(map(str, bound))
        if isinstance(bound, list)
        else f"{bound:.6g}"
        if isinstance(bound, float)
        else str(bound)
    )
