"""From what a file says of routing to policies: presets, LiteLLM's keys, our own, and the names that they use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from router_service.catalog.dialect import PolicySection, RouterSettings
from router_service.catalog.nearness import nearest
from router_service.catalog.policies import (
    DEFAULT_POLICY,
    FROM_SIZES,
    LITELLM_ALIASES,
    PRESETS,
    Exploration,
    Pair,
    RoutingPolicy,
    Rule,
    Shadow,
    Strategy,
)
from router_service.catalog.problems import explain
from router_service.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from router_service.catalog.dialect import RuleSection

POLICIES = "router_settings.router.policies"
STRATEGY = "router_settings.routing_strategy"
PLUGIN_MARK = ":"


def policies_of(settings: RouterSettings) -> dict[str, RoutingPolicy]:
    """Every policy that the file names. LiteLLM's `routing_strategy` is the one called `default`."""
    policies = {name: policy(section, name=name) for name, section in settings.router.policies.items()}
    if settings.routing_strategy is not None:
        buffer = settings.routing_strategy_args.lowest_latency_buffer
        named = PolicySection(strategy=settings.routing_strategy, latency_buffer=buffer or 0.0)
        policies[DEFAULT_POLICY] = policy(named, name=DEFAULT_POLICY)
    return policies


def policy(section: PolicySection, *, name: str) -> RoutingPolicy:
    wait = section.wait_usd_per_hour
    strategy = LITELLM_ALIASES.get(section.strategy, section.strategy)
    has_aim = section.quality_target is not None or section.quality_usd is not None
    if has_aim and "strategy" not in section.model_fields_set:
        strategy = Strategy.QUALITY_TARGET
    built = RoutingPolicy(
        name=name,
        strategy=strategy,
        quality_target=section.quality_target,
        quality_usd=section.quality_usd,
        min_quality=section.min_quality,
        latency_usd_per_s=section.latency_usd_per_hour / 3600,
        latency_buffer=section.latency_buffer,
        signals=section.signals,
        plan=section.plan,
        learned=section.learned,
        rules=tuple(_rule(each) for each in section.rules),
        exploration=Exploration(**section.exploration.model_dump()),
        terms=tuple(sorted(section.terms.items())),
        constraints=tuple(section.constraints),
    )
    return built if wait is None else replace(built, wait_usd_per_s=wait / 3600)


def policy_of_document(document: Mapping[str, Any], *, source: str, names: Collection[str]) -> RoutingPolicy:
    """The policy of a file of its own. Raises CatalogError with every problem that was found."""
    try:
        section = PolicySection.model_validate(document)
    except ValidationError as error:
        problems = [explain(each, root=PolicySection) for each in error.errors(include_url=False)]
        raise CatalogError(source, problems) from error
    if problems := list(_problems(section, path="", names=names)):
        raise CatalogError(source, problems)
    return policy(section, name=source)


def problems_of(settings: RouterSettings, *, names: Collection[str]) -> Iterator[str]:
    """What is wrong with the policies, beyond the shape of each: names of models, strategies and policies."""
    router = settings.router
    if settings.routing_strategy is not None:
        yield from _unknown_strategy(settings.routing_strategy, STRATEGY)
        if DEFAULT_POLICY in router.policies:
            yield f"{STRATEGY}: {POLICIES}.{DEFAULT_POLICY} says the same; write one of them"
    for name, section in router.policies.items():
        if name in PRESETS:
            yield f"{POLICIES}.{name}: that is a strategy's name, by which jobs may ask for it; choose another"
        yield from _problems(section, path=f"{POLICIES}.{name}.", names=names)
    known = {*router.policies, *Strategy}
    named = {f"tenants.{tenant_id}.policy": tenant.policy for tenant_id, tenant in router.tenants.items()}
    named["shadow.policy"] = router.shadow.policy if router.shadow else None
    for path, wanted in named.items():
        if wanted is not None and wanted not in known:
            yield f"router_settings.router.{path}: no policy is named {wanted!r}{nearest(wanted, known)}"
    for side in ("strong", "weak") if router.pair else ():
        name = getattr(router.pair, side)
        if name not in names:
            yield f"router_settings.router.pair.{side}: no model is named {name!r}{nearest(name, set(names))}"


def pair_of(settings: RouterSettings) -> Pair | None:
    pair = settings.router.pair
    return None if pair is None else Pair(strong=pair.strong, weak=pair.weak)


def shadow_of(settings: RouterSettings, policies: Mapping[str, RoutingPolicy]) -> Shadow | None:
    shadow = settings.router.shadow
    if shadow is None:
        return None
    return Shadow(policy=policies.get(shadow.policy) or PRESETS[shadow.policy], share=shadow.share)


def _rule(section: RuleSection) -> Rule:
    when = section.when.model_dump(exclude_none=True)
    return Rule(
        name=section.name,
        when={key: tuple(patterns) for key, patterns in when.items()},
        only=tuple(section.only),
        prefer=tuple(section.prefer),
        avoid=tuple(section.avoid),
    )


def _problems(section: PolicySection, *, path: str, names: Collection[str]) -> Iterator[str]:
    yield from _unknown_strategy(section.strategy, f"{path}strategy")
    for index, rule in enumerate(section.rules):
        looked_at = rule.when.model_dump(exclude_none=True).keys()
        for key in sorted(looked_at - FROM_SIZES) if section.signals is False else ():
            yield f"{path}rules[{index}].when.{key}: is read in the request; leave out `signals: false`, or the rule"
        for key in ("only", "prefer", "avoid"):
            for place, name in enumerate(getattr(rule, key)):
                if name not in names:
                    yield f"{path}rules[{index}].{key}[{place}]: no model is named {name!r}{nearest(name, set(names))}"


def _unknown_strategy(strategy: str, path: str) -> Iterator[str]:
    """A plugin's strategy, with a colon in its name, is known only where it is installed."""
    known = {*Strategy, *LITELLM_ALIASES}
    if strategy not in known and PLUGIN_MARK not in strategy:
        yield f"{path}: no strategy {strategy!r}{nearest(strategy, known)}; a plugin's is written with a colon"
