"""What the doctor says of a catalog and of tokenizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from router_service.cli.checks import Level, Target, catalog, tokenizers
from tests.support.catalogs import catalog_of, document, entry
from tests.support.tokenizers import needs_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

COUNTED = entry("alpha", router={"tokenizer": "o200k_base"})


def test_a_tokenizer_that_is_not_installed_is_told_with_what_to_install() -> None:
    (finding,) = tokenizers(catalog_of(COUNTED, entry("beta")).models, is_installed=False)
    assert finding.level is Level.WARN
    assert finding.detail.startswith("o200k_base: bpe-openai is not installed")
    assert "pip install '.[tokenizer]'" in finding.advice


def test_one_that_is_installed_is_well_and_where_none_is_named_nothing_is_said() -> None:
    (finding,) = tokenizers(catalog_of(COUNTED).models, is_installed=True)
    assert (finding.level, finding.advice) == (Level.OK, "")
    assert list(tokenizers(catalog_of(entry("beta")).models, is_installed=False)) == []


@needs_tokenizer
def test_the_doctor_finds_the_package_of_this_environment(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(document(COUNTED)))
    target = Target(data_dir=tmp_path, config=path, api_url=None, database_url="", redis_url="", broker_url="")
    assert {finding.check: finding.level for finding in catalog(target)}["tokenizer"] is Level.OK


def test_a_domain_that_nothing_recognizes_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(document(entry("alpha", router={"domains": ["foo"]}))))
    target = Target(data_dir=tmp_path, config=path, api_url=None, database_url="", redis_url="", broker_url="")
    (warning,) = [finding for finding in catalog(target) if finding.level is not Level.OK]
    assert warning.level is Level.WARN
    assert warning.detail.startswith("model alpha: the domain 'foo' is not recognized")
