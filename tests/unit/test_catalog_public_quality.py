from __future__ import annotations

import json
from importlib import resources

import pytest

from router_service.catalog.public_quality import FILE, public_quality
from tests.support.catalogs import catalog_of, entry


@pytest.mark.parametrize(
    ("upstream", "best"),
    [
        ("gpt-4o-mini-2024-07-18", 0.746),
        ("gpt-4o-mini", 0.746),
        ("gpt-4o", 0.795),  # the newer of two
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", 0.484),
        ("somebody/Meta-Llama-3_1-8B-Instruct@somewhere", 0.484),
        ("a-model-of-next-year", None),
    ],
)
def test_a_well_known_model_is_found_by_its_name(upstream: str, best: float | None) -> None:
    assert public_quality(upstream).get("default") == best


def test_public_figures_stand_in_only_where_none_is_declared() -> None:
    known, unknown = entry("a", model="openai/gpt-4o-mini"), entry("b", model="openai/own")
    public = catalog_of(known, unknown)
    assert public.by_id["a"].expected_quality() == 0.746
    assert public.by_id["a"].expected_quality("code") == 0.78
    assert public.by_id["b"].expected_quality() is None
    declared = catalog_of(known, entry("b", model="openai/own", router={"quality": {"default": 0.5}}))
    assert declared.by_id["a"].expected_quality() is None


def test_every_figure_is_a_share_and_has_a_source() -> None:
    document = json.loads(resources.files("router_service.catalog").joinpath(FILE).read_text())
    assert {each["licence"] for each in document["sources"]} == {"Apache-2.0"}
    for model, figures in document["quality"].items():
        assert "default" in figures, model
        assert all(0 <= value <= 1 for value in figures.values()), model
