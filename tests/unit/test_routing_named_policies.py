"""A policy that a job names changes how to choose, never what is allowed; and what holds however a job chooses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from router_service.catalog.policies import Exploration, RoutingPolicy, Strategy
from router_service.jobs.preferences import Preferences, Sort
from router_service.jobs.spec import RoutableJob
from router_service.routing.decision import Outlook
from router_service.routing.methods import Methods
from tests.support.catalogs import catalog_of, entry
from tests.unit.test_routing_wishes import SPEC, chosen, reasons, said

if TYPE_CHECKING:
    from router_service.catalog.models import Model

GUARDED = {
    "default": {
        "rules": [{"name": "secrets", "when": {"flag": ["secret.*"]}, "only": ["safe"], "prefer": ["safe"]}],
        "min_quality": 0.4,
        "constraints": ["acme:open"],
    },
    "cheap": {"rules": [{"name": "law", "when": {"domain": ["law"]}, "prefer": ["a"]}]},
    "careful": {"min_quality": 0.7},
}


@pytest.mark.parametrize("named", ["cheap", "cheapest-capable", "careful", "default", None])
def test_a_named_policy_may_only_tighten_what_the_own_one_allows(named: str | None) -> None:
    models = [
        entry(name, cost=cost, router={"quality": {"default": 0.5}}) for name, cost in (("safe", 1e-5), ("a", 1e-6))
    ]
    catalog = catalog_of(*models, router={"policies": GUARDED})
    asked: list[str] = []

    def constraint(_asked: object, model: Model) -> None:
        asked.append(model.id)

    methods = Methods(constraints={"acme:open": constraint})
    decision = chosen(catalog, insight=said(flags=("secret.aws",)), methods=methods, policy_=named)
    assert reasons(decision)["a"] == "rule"
    assert decision.model_id == (None if named == "careful" else "safe")
    assert (asked == ["safe"]) == (named != "careful")
    assert decision.policy in {each.hash for each in catalog.all_policies}


def test_without_bounds_of_its_own_a_named_policy_is_taken_as_it_is() -> None:
    catalog = catalog_of(entry("a"), router={"policies": {"cheap": {}, "default": {"wait_usd_per_hour": 1.0}}})
    job = RoutableJob(id=UUID(int=7), epoch=0, spec=replace(SPEC, preferences=Preferences(policy="cheap")))
    assert catalog.policy_of(job) is catalog.policies["cheap"]


def test_a_wanted_quality_without_a_policy_takes_one_that_aims() -> None:
    catalog = catalog_of(entry("a"), router={"policies": {"default": {"min_quality": 0.2}}})
    job = RoutableJob(id=UUID(int=7), epoch=0, spec=replace(SPEC, preferences=Preferences(quality_target=0.8)))
    policy = catalog.policy_of(job)
    assert (policy.has_target, policy.min_quality) == (True, 0.2)


def test_a_policy_that_is_gone_lets_no_model_through() -> None:
    decision = chosen(policy_="gone")
    assert set(reasons(decision).values()) == {"unknown_policy"}
    assert (decision.model_id, decision.outlook) == (None, Outlook.NEVER)
    assert decision.changes[0].words.endswith("a policy named gone in the catalog, or another one asked for")


def test_without_fallbacks_a_job_goes_to_no_other_model_than_its_first() -> None:
    catalog = catalog_of(entry("a"), entry("b"), fallbacks=[{"a": ["b"]}])
    asked = replace(SPEC, model="a")
    assert set(reasons(chosen(catalog, spec=asked))) == {"a", "b"}
    assert set(reasons(chosen(catalog, spec=asked, allow_fallbacks=False))) == {"a"}
    failed = chosen(catalog, spec=replace(SPEC, excluded=("a",)), allow_fallbacks=False)
    assert reasons(failed) == {"a": "failed_before", "b": "no_fallbacks"}


def test_long_lists_of_names_are_not_said_of_every_model() -> None:
    names = tuple(f"name-{number}" for number in range(60))
    (bound, *_others) = [each.bound for each in chosen(only=names).candidates]
    assert bound == [*names[:5], "and 55 more"]


def test_a_floor_is_held_against_the_levels_that_the_own_policy_goes_by() -> None:
    floor = {"default": {"min_quality": 0.9, "learned": False}}
    catalog = catalog_of(entry("a", router={"quality": {"default": 0.8}}), router={"policies": floor})
    job = RoutableJob(id=UUID(int=7), epoch=0, spec=replace(SPEC, preferences=Preferences(policy="cheapest-capable")))
    assert catalog.policy_of(job).learned is False


def test_a_wish_to_sort_is_not_explored() -> None:
    exploring = RoutingPolicy(strategy=Strategy.COST, exploration=Exploration(share=1.0, most_cost_factor=100))
    catalog = catalog_of(entry("cheap", cost=1e-6), entry("dear", cost=1e-5))
    assert chosen(catalog, policy=exploring).reason == "exploration"
    assert chosen(catalog, policy=exploring, sort=Sort.PRICE).model_id == "cheap"
