"""Whatever has limits of its own: a model, a group of models, a tenant, a batch. A call needs capacity of all of its scopes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from router_service.catalog.models import Caps, Catalog, Limits, Model

RATES = ("rpm", "tpm", "itpm", "otpm", "rpd", "tpd")
PER_DAY = frozenset({"rpd", "tpd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """`slots` is None where calls at a time are not limited; rates are units a minute, `rpd` and `tpd` a day."""

    kind: str
    name: str
    slots: int | None
    rates: Mapping[str, float]
    burst_s: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """As the Lua files read it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "slots": -1 if self.slots is None else self.slots,
            "burst_ms": self.burst_s * 1000,
            "rates": self.rates,
        }


def model_scope(model: Model) -> Scope:
    return _scope("model", model.id, model.limits, burst_s=model.limits.burst_s)


def account_scopes(model: Model) -> list[str]:
    """The names of what a provider's word about its limits holds for: the model, and the group that shares its account."""
    group = model.limit_group
    return [f"model:{model.id}", *([] if group is None else [f"group:{group}"])]


def scopes_of(
    model: Model,
    *,
    catalog: Catalog,
    tenant_id: str,
    batch_id: UUID | None = None,
    batch_slots: int | None = None,
) -> tuple[Scope, ...]:
    """The model first, then what else limits a call to it by this tenant and batch.

    `batch_slots`: how many calls of the batch may be made at a time, None for any number.
    """
    scopes = [model_scope(model)]
    group = model.limit_group
    if group is not None:
        scopes.append(_scope("group", group, catalog.groups[group], burst_s=model.limits.burst_s))
    tenant = _scope("tenant", tenant_id, catalog.tenant(tenant_id).caps)
    if tenant.slots is not None or tenant.rates:
        scopes.append(tenant)
    if batch_id is not None and batch_slots is not None:
        scopes.append(Scope(kind="batch", name=f"batch:{batch_id.hex}", slots=batch_slots, rates={}))
    return tuple(scopes)


class Numbered:
    """The scopes of some jobs, each once, and a job's scopes by number (from 1, as Lua counts)."""

    def __init__(self, first: Scope) -> None:
        self.scopes = [first]
        self._numbers = {first.name: 1}

    def of(self, scopes: Iterable[Scope]) -> list[int]:
        numbers = []
        for scope in scopes:
            if scope.name not in self._numbers:
                self.scopes.append(scope)
                self._numbers[scope.name] = len(self.scopes)
            numbers.append(self._numbers[scope.name])
        return numbers

    def as_json(self) -> list[dict[str, Any]]:
        return [scope.as_json() for scope in self.scopes]


def names(scopes: Sequence[Scope]) -> list[str]:
    return [scope.name for scope in scopes]


def _scope(kind: str, identity: str, limits: Limits | Caps, *, burst_s: float = 1.0) -> Scope:
    rates = {name: float(rate) for name in RATES if (rate := getattr(limits, name)) is not None}
    return Scope(kind=kind, name=f"{kind}:{identity}", slots=limits.slots, rates=rates, burst_s=burst_s)
