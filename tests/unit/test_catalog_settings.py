"""What stands beside the models in a catalog: limits in common, tenants, retries, the breaker, chains of fallbacks."""

from __future__ import annotations

from typing import Any

import pytest

from router_service.catalog.load import build_catalog, notes
from router_service.catalog.models import Breaker, Caps, ErrorKind, Limits, Retries, Tenant
from router_service.jobs.spec import Fallback
from tests.support.catalogs import catalog_of, document, entry, problems_of

EVERYTHING = document(
    entry(
        "alpha",
        params={"rpm": 1, "tpm": 2, "itpm": 3, "otpm": 4, "rpd": 5, "tpd": 6, "max_parallel_requests": 7},
        router={"limit_group": "house", "burst_s": 2},
    ),
    entry("beta"),
    fallbacks=[{"alpha": ["beta"]}],
    context_window_fallbacks=[{"alpha": ["beta"]}],
    content_policy_fallbacks=[{"alpha": ["beta"]}],
    default_fallbacks=["beta"],
    allowed_fails=1,
    cooldown_time=9,
    num_retries=4,
    retry_policy={"TimeoutErrorRetries": 0, "RateLimitErrorRetries": 3},
    router={"tenants": {"acme": {"weight": 2, "max_parallel_requests": 10, "rpm": 100, "tpd": 9}, "*": {"tpm": 50}}},
)


def test_limits_retries_breaker_groups_and_tenants_take_effect() -> None:
    catalog = build_catalog(EVERYTHING, source="x")
    assert notes(EVERYTHING) == []
    assert catalog.by_id["alpha"].limits == Limits(slots=7, rpm=1, tpm=2, itpm=3, otpm=4, rpd=5, tpd=6, burst_s=2)
    assert (catalog.by_id["alpha"].limit_group, catalog.by_id["beta"].limit_group) == ("house", None)
    assert catalog.by_id["beta"].limits == Limits(slots=100)
    assert catalog.breaker == Breaker(allowed_fails=1, blocking_fails=1, cooldown_s=9)
    assert catalog.retries == Retries(tries=5, by_kind={ErrorKind.TIMEOUT: 0, ErrorKind.RATE_LIMIT: 3})
    assert catalog.groups == {"house": Caps(slots=7, rpm=1, tpm=2, itpm=3, otpm=4, rpd=5, tpd=6)}
    assert catalog.tenant("acme") == Tenant(weight=2, caps=Caps(slots=10, rpm=100, tpd=9))
    assert catalog.tenant("somebody") == Tenant(caps=Caps(tpm=50))


def test_what_nobody_said_is_litellms_default() -> None:
    catalog = catalog_of(entry("a"), cooldown_time=None, allowed_fails=None, retry_policy=None)
    assert catalog.breaker == Breaker(allowed_fails=3, blocking_fails=100, cooldown_s=5.0)
    assert catalog.retries == Retries(tries=3)
    assert (catalog.groups, catalog.tenant("anybody")) == ({}, Tenant(weight=1.0, caps=Caps()))
    none = catalog_of(entry("a"), allowed_fails=0, cooldown_time=0).breaker
    assert none == Breaker(allowed_fails=0, blocking_fails=0, cooldown_s=0)


def test_of_the_limits_that_a_group_states_the_least_rules_and_is_told() -> None:
    shared = {"limit_group": "account"}
    given_document = document(
        entry("a", params={"rpm": 100, "tpm": 5000}, router=shared),
        entry("b", params={"rpm": 60, "tpm": 5000, "max_parallel_requests": 4}, router=shared),
        entry("c", params={"rpd": 1000}, router=shared),
        entry("d", params={"rpm": 1}),
    )
    catalog = build_catalog(given_document, source="x")
    assert catalog.groups == {"account": Caps(slots=4, rpm=60, tpm=5000, rpd=1000)}
    assert notes(given_document) == [
        "limit_group account: its models state different rpm; the least, 60, rules them all"
    ]


def test_a_group_that_states_no_slots_has_no_cap_of_them() -> None:
    assert catalog_of(entry("a", router={"limit_group": "g"})).groups == {"g": Caps()}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"retry_policy": {"TimeoutErrorRetries": -1}}, "retry_policy.TimeoutErrorRetries: input should be greater"),
        (
            {"retry_policy": {"TimeoutRetries": 1}},
            "retry_policy.TimeoutRetries: unknown key; did you mean 'TimeoutErrorRetries'?",
        ),
        ({"allowed_fails": -1}, "allowed_fails: input should be greater than or equal to 0"),
        ({"cooldown_time": "soon"}, "cooldown_time: input should be a valid number"),
        ({"router": {"tennants": {}}}, "router.tennants: unknown key; did you mean 'tenants'?"),
        ({"router": {"tenants": {"acme": {"rpm": 0}}}}, "router.tenants.acme.rpm: input should be greater than 0"),
        (
            {"router": {"tenants": {"acme": {"weight": 0}}}},
            "router.tenants.acme.weight: input should be greater than 0",
        ),
        (
            {"router": {"tenants": {"acme": {"wieght": 2}}}},
            "router.tenants.acme.wieght: unknown key; did you mean 'weight'?",
        ),
        # a tenant may be called as a key is
        ({"router": {"tenants": {"rpm": {"tmp": 2}}}}, "router.tenants.rpm.tmp: unknown key; did you mean 'tpm'?"),
        ({"router": {"tenants": {"": {}}}}, "router.tenants.: string should have at least 1 character"),
        ({"router": {"tenants": {"acme": None}}}, "router.tenants.acme: input should be a valid dictionary"),
        (
            {"context_window_fallbacks": [{"alpha": ["betta"]}]},
            "context_window_fallbacks[0].alpha: no model is named 'betta'",
        ),
        ({"content_policy_fallbacks": [{"x": ["beta"]}]}, "content_policy_fallbacks[0].x: no model is named 'x'"),
    ],
)
def test_a_wrong_setting_is_named_by_its_path(settings: dict[str, Any], problem: str) -> None:
    (told,) = problems_of(document(**settings))
    assert told.startswith(f"router_settings.{problem}")


def ranks(catalog: Any, name: str, kind: Fallback) -> list[list[str]]:
    return [[model.id for model in rank] for rank in catalog.chain(name, kind)]


def test_each_kind_of_fallback_has_its_chain_and_what_gave_up_is_not_in_it() -> None:
    catalog = catalog_of(
        *map(entry, ("a", "b", "c", "d")),
        fallbacks=[{"a": ["b"]}],
        context_window_fallbacks=[{"a": ["c"]}],
        content_policy_fallbacks=[{"a": ["a", "d"]}],
        default_fallbacks=["d"],
    )
    assert ranks(catalog, "a", Fallback.GENERAL) == [["a"], ["b"]]
    assert ranks(catalog, "a", Fallback.CONTEXT_WINDOW) == [[], ["c"]]
    assert ranks(catalog, "a", Fallback.CONTENT_POLICY) == [[], ["d"]]
    assert ranks(catalog, "b", Fallback.CONTEXT_WINDOW) == [["b"], ["d"]]
    assert ranks(catalog, "b", Fallback.CONTENT_POLICY) == [[]]


def test_only_a_model_within_a_chain_for_refused_content_passes_it_on() -> None:
    catalog = catalog_of(
        entry("a", info={"id": "a-1"}), entry("b"), entry("c"), content_policy_fallbacks=[{"a": ["b"]}]
    )
    passing = [model.id for model in catalog.models if catalog.may_pass_refusal(model)]
    assert passing == ["a-1", "b"]
