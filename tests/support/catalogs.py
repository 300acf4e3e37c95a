"""Catalogs of simulated models, made as documents: what a test reads is what an operator would write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from router_service.catalog.load import build_catalog
from router_service.errors import CatalogError

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog, Model


def entry(
    name: str,
    *,
    model: str = "simulated/echo",
    cost: float | None = 1e-6,
    params: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
    router: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One entry of `model_list`. `cost` is dollars a token, both ways."""
    priced = {} if cost is None else {"input_cost_per_token": cost, "output_cost_per_token": cost}
    return {
        "model_name": name,
        "litellm_params": {"model": model, **(params or {})},
        "model_info": {**priced, **(info or {}), "router": router or {}},
    }


def document(*entries: dict[str, Any], **router_settings: Any) -> dict[str, Any]:
    """A whole document. Without entries: `alpha` (cheap) and `beta`, a fallback of each other by name only."""
    listed = list(entries) or [entry("alpha", cost=1e-6), entry("beta", cost=2e-6)]
    return {"model_list": listed, "router_settings": router_settings}


def catalog_of(*entries: dict[str, Any], **router_settings: Any) -> Catalog:
    return build_catalog(document(*entries, **router_settings), source="test")


def model_of(name: str = "alpha", **given: Any) -> Model:
    return catalog_of(entry(name, **given)).models[0]


def problems_of(wrong: dict[str, Any]) -> tuple[str, ...]:
    """What is said of a document that is no catalog."""
    with pytest.raises(CatalogError) as caught:
        build_catalog(wrong, source="catalog.yaml")
    assert str(caught.value).startswith("catalog.yaml: ")
    return caught.value.problems
