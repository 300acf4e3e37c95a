"""Whose limits a call is under."""

from __future__ import annotations

from uuid import UUID

from router_service.capacity.scopes import Numbered, Scope, names, scopes_of
from tests.support.catalogs import catalog_of, entry

BATCH = UUID(int=7)
TENANTS = {"acme": {"max_parallel_requests": 2, "rpm": 30}, "*": {"tpm": 500}, "free": {"weight": 2}}
CATALOG = catalog_of(
    entry("alpha", params={"rpm": 60, "max_parallel_requests": 4}, router={"burst_s": 3, "limit_group": "account"}),
    entry("beta", params={"tpm": 9000}, router={"limit_group": "account"}),
    entry("gamma"),
    router={"tenants": TENANTS},
)


def scopes(model_id: str, tenant_id: str, batch_id: UUID | None = None) -> tuple[Scope, ...]:
    model = CATALOG.by_id[model_id]
    return scopes_of(model, catalog=CATALOG, tenant_id=tenant_id, batch_id=batch_id, batch_slots=3)


def test_a_call_is_under_its_model_first_then_its_group_its_tenant_and_its_batch() -> None:
    found = scopes("alpha", "acme", BATCH)
    assert names(found) == ["model:alpha", "group:account", "tenant:acme", f"batch:{BATCH.hex}"]
    assert [each.kind for each in found] == ["model", "group", "tenant", "batch"]
    model, group, tenant, batch = found
    assert (model.slots, model.rates, model.burst_s) == (4, {"rpm": 60}, 3)
    assert (group.rates, group.burst_s) == ({"rpm": 60, "tpm": 9000}, 3)
    assert (tenant.slots, tenant.rates, tenant.burst_s) == (2, {"rpm": 30}, 1)
    assert (batch.slots, batch.rates) == (3, {})


def test_what_is_not_limited_is_no_scope() -> None:
    assert names(scopes("gamma", "free")) == ["model:gamma"]


def test_a_tenant_that_is_not_named_is_under_the_caps_of_any() -> None:
    assert scopes("gamma", "somebody")[1] == Scope(
        kind="tenant", name="tenant:somebody", slots=None, rates={"tpm": 500}, burst_s=1.0
    )


def test_scopes_are_numbered_once_each_from_one() -> None:
    first, second = scopes("alpha", "acme"), scopes("alpha", "zeus", BATCH)
    numbered = Numbered(first[0])
    assert numbered.of(first) == [1, 2, 3]
    assert numbered.of(second) == [1, 2, 4, 5]
    assert [each["name"] for each in numbered.as_json()] == [*names(first), *names(second)[2:]]


def test_no_limit_of_slots_is_told_as_minus_one() -> None:
    assert Scope(kind="tenant", name="t", slots=None, rates={"rpm": 1.0}, burst_s=0.5).as_json() == {
        "name": "t",
        "kind": "tenant",
        "slots": -1,
        "burst_ms": 500,
        "rates": {"rpm": 1.0},
    }
