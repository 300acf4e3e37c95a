from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, distributions
from typing import TYPE_CHECKING

import pytest

from router_service.errors import SettingsError
from router_service.signals.extract import DEFAULT, extract
from router_service.signals.plugins import GROUP, load_extractors
from router_service.signals.request import Request

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
class Shouting:
    name = "shouting"
    version = "1"
    def extract(self, requests):
        return [{"is_loud": request.text.isupper()} for request in requests]

class Nameless:
    version = "1"
    def extract(self, requests):
        return []

class Mute:
    name = "mute"
    version = "1"

class Pretender(Shouting):
    name = "language"

ready = Shouting()

def broken():
    raise RuntimeError
"""


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shouting_signals.py").write_text(MODULE)
    for package in ("loud", "louder"):
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shouting_signals", raising=False)


def point(value: str, *, name: str = "shouting", package: str = "loud") -> EntryPoint:
    found = next(each for each in distributions(name=package))
    return EntryPoint(name=name, value=f"shouting_signals:{value}", group=GROUP)._for(found)  # type: ignore[attr-defined,no-any-return]


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("value", ["Shouting", "ready"])
def test_an_installed_extractor_comes_behind_the_built_in_ones(value: str) -> None:
    extractors = load_extractors(points=[point(value)])
    assert extractors[:-1] == DEFAULT
    request = Request.of({"messages": [{"role": "user", "content": "HELLO"}]}, tokens_in=1)
    assert extract([request], extractors)[0].extra == {"shouting.is_loud": True}


@pytest.mark.usefixtures("_installed")
def test_extractors_are_found_by_their_group(tmp_path: Path) -> None:
    (tmp_path / "loud-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{GROUP}]\nshouting = shouting_signals:Shouting\n"
    )
    assert [each.name for each in load_extractors(())] == ["shouting"]


@pytest.mark.usefixtures("_installed")
def test_two_extractors_of_one_name_are_refused_with_the_names_of_their_packages() -> None:
    with pytest.raises(SettingsError, match=r"'shouting' comes from loud 1\.0 and from louder 1\.0"):
        load_extractors(points=[point("Shouting", package="louder"), point("ready")])
    with pytest.raises(SettingsError, match=r"'language' comes from Waybill itself and from loud 1\.0"):
        load_extractors(points=[point("Pretender")])


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("missing", "cannot be loaded: AttributeError"),
        ("Nameless", "has no `name`"),
        ("Mute", r"has no method `extract\(requests\)`"),
        ("broken", "has no `name`"),
    ],
)
def test_what_is_no_extractor_is_refused_with_the_package_it_comes_from(value: str, said: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"waybill.signals: shouting = 'shouting_signals:{value}' of loud 1\.0 {said}"
    ):
        load_extractors(points=[point(value)])
