"""In which order models are looked at: the fallback chain in ranks, and within a rank what wishes and rules prefer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.jobs.spec import AUTO, Fallback, threshold_of

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog, Model
    from router_service.catalog.policies import Pair
    from router_service.jobs.spec import JobSpec
    from router_service.routing.question import Question

PREFERRED, NEUTRAL, AVOIDED = 0, 1, 2


def ranks_of(asked: Question, catalog: Catalog) -> tuple[tuple[Model, ...], ...]:
    """The models that the job may use, in ranks. A lower `order` of LiteLLM's comes first within `auto`.

    Of a job that wants no fallbacks the first rank alone, unless it names an order of its own.
    """
    wishes, ranks = asked.spec.preferences, _chain_of(asked.spec, catalog)
    return ranks[:1] if not wishes.allow_fallbacks and not wishes.order else ranks


def _chain_of(spec: JobSpec, catalog: Catalog) -> tuple[tuple[Model, ...], ...]:
    if spec.fallback is not Fallback.GENERAL:
        start = _chain_start(spec, catalog)
        if start is not None:
            return catalog.chain(start, spec.fallback)
        if spec.fallback is Fallback.CONTENT_POLICY:
            return ()  # never around a refusal unless the catalog says so
    if threshold_of(spec.model) is not None:
        return (
            () if catalog.pair is None else ((*catalog.named(catalog.pair.strong), *catalog.named(catalog.pair.weak)),)
        )
    return catalog.by_order if spec.model == AUTO else catalog.chain(spec.model)


def place_of(asked: Question, model: Model, catalog: Catalog) -> int:
    """The smallest goes first. A request's own `order` goes before the policy's rules."""
    threshold = threshold_of(asked.spec.model)
    if threshold is not None and catalog.pair is not None:
        is_strong = model in catalog.named(catalog.pair.strong)
        return PREFERRED if is_strong == wants_strong(asked, catalog.pair, catalog, threshold) else AVOIDED
    order = asked.spec.preferences.order
    if order:
        return next((place for place, name in enumerate(order) if model.is_one_of((name,))), len(order))
    if not asked.rules:
        return 0
    if any(rule.prefer and model.is_one_of(rule.prefer) for rule in asked.rules):
        return PREFERRED
    return AVOIDED if any(rule.avoid and model.is_one_of(rule.avoid) for rule in asked.rules) else NEUTRAL


def wants_strong(asked: Question, pair: Pair, catalog: Catalog, threshold: float) -> bool:
    """Whether the strong model's chance to win reaches the threshold.

    A win is that it is right where the weak one is wrong, taken as independent; where nothing is known of one of them, it is 1.
    """
    strong, weak = asked.quality(catalog.named(pair.strong)[0]), asked.quality(catalog.named(pair.weak)[0])
    win = 1.0 if strong is None or weak is None else strong * (1 - weak)
    return win >= threshold


def _chain_start(spec: JobSpec, catalog: Catalog) -> str | None:
    """The name whose chain of the job's kind is followed: the one asked for, else the last that gave up and has one.

    So a chain is followed to its end, and a fallback's own chain is known.
    """
    gave_up = [catalog.by_id[model_id] for model_id in reversed(spec.excluded) if model_id in catalog.by_id]
    names = [spec.model, *(name for model in gave_up for name in (model.name, model.id))]
    return next((name for name in names if catalog.names_chain(name, spec.fallback)), None)
