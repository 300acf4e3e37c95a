"""What the doctor says of a catalog and of what the router loads: tokenizers and predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from typer.testing import CliRunner

from router_service.cli.checks import Level, Target, catalog, routing, tokenizers
from router_service.cli.main import app
from router_service.errors import SettingsError
from tests.support.catalogs import catalog_of, document, entry
from tests.support.tokenizers import needs_tokenizer

if TYPE_CHECKING:
    from pathlib import Path


def _target(data_dir: Path, *, config: Path | None = None, predictor: Path | None = None) -> Target:
    urls = dict.fromkeys(("database_url", "redis_url", "broker_url"), "")
    return Target(data_dir=data_dir, config=config, predictor=predictor, api_url=None, **urls)


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
    target = _target(tmp_path, config=path)
    assert {finding.check: finding.level for finding in catalog(target)}["tokenizer"] is Level.OK


@pytest.mark.parametrize("content", [None, b"junk", b"PK\x05\x06" + b"\0" * 18, b"\x93NUMPY"])
def test_a_predictor_that_cannot_be_loaded_fails_and_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.npz"
    if content is not None:
        path.write_bytes(content)
    (finding,) = routing(_target(tmp_path, predictor=path))
    assert finding.level is Level.FAIL
    assert finding.detail.startswith(f"{path}: not a predictor written by `waybill train`")
    assert "WAYBILL_PREDICTOR" in finding.advice


def test_without_a_predictor_of_ones_own_the_shipped_one_is_right(tmp_path: Path) -> None:
    (finding,) = routing(_target(tmp_path))
    assert finding.level is Level.OK


def test_up_refuses_a_junk_predictor_before_it_starts_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(b"junk")
    monkeypatch.setenv("WAYBILL_PREDICTOR", str(path))
    ended = CliRunner().invoke(app, ["--data-dir", str(tmp_path / "data"), "up", "--port", "0"])
    assert isinstance(ended.exception, SettingsError)
    assert "not a predictor written by `waybill train`" in str(ended.exception)
    assert not (tmp_path / "data").exists()


def test_a_domain_that_nothing_recognizes_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(document(entry("alpha", router={"domains": ["foo"]}))))
    target = _target(tmp_path, config=path)
    (warning,) = [finding for finding in catalog(target) if finding.level is not Level.OK]
    assert warning.level is Level.WARN
    assert warning.detail.startswith("model alpha: the domain 'foo' is not recognized")


def test_a_plugin_that_a_policy_names_and_nobody_installed_fails(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump(document(router={"policies": {"mine": {"constraints": ["acme:office-hours"]}}})))
    (failed,) = [finding for finding in catalog(_target(tmp_path, config=path)) if finding.level is Level.FAIL]
    assert failed.detail == "policy mine: 'acme:office-hours' is not installed here: its jobs would wait"
