"""What docs/routing.md shows is a policy that the catalog takes, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from router_service.api.preferences import ProviderWishes, RouterWishes
from router_service.catalog.load import build_catalog, notes
from router_service.catalog.policies import Strategy
from tests.support.catalogs import entry

TEXT = (Path(__file__).parents[2] / "docs" / "routing.md").read_text()
NAMED = ("lawyer", "local", "gpt-big", "gpt-small")


def rows_under(heading: str) -> set[str]:
    """The first cells, in back quotes, of the table in a section."""
    section = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE))


def test_the_example_is_a_catalogs_policy() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    document = {"model_list": [entry(name) for name in NAMED], **yaml.safe_load(block)}
    catalog = build_catalog(document, source="docs/routing.md")
    assert notes(document) == []
    assert catalog.policies["default"].quality_target == 0.95
    assert catalog.shadow is not None


def test_the_tables_name_every_wish_and_every_strategy() -> None:
    assert rows_under("What a request may say") == set(RouterWishes.model_fields) - {"domain", "task", "difficulty"}
    assert rows_under("Policies") == set(Strategy)
    for name in ProviderWishes.model_fields.keys() - {"require_parameters"}:
        assert f"`{name}" in TEXT
