from __future__ import annotations

import pytest

from router_service.catalog.words import is_place, language_problem
from router_service.prediction.predictor import general
from router_service.signals.language import recognized
from router_service.signals.unasked import unasked
from tests.support.catalogs import catalog_of, entry


def said_of(router: dict[str, object]) -> list[str]:
    return list(unasked(catalog_of(entry("a", router=router)), domains=general().domains))


def test_every_language_that_is_recognized_may_stand_in_a_catalog() -> None:
    assert len(recognized()) > 150
    assert [tag for tag in recognized() if language_problem(tag) is not None] == []


@pytest.mark.parametrize(
    ("router", "says"),
    [
        (
            {"languages": ["tlh"]},
            "model a: the language 'tlh' is not recognized in requests: only jobs match whose caller",
        ),
        (
            {"domains": ["heath"]},
            "model a: the domain 'heath' is not recognized: only jobs match whose caller states it; ",
        ),
        ({"domains": ["foo"]}, "12 are known: biology, business, chemistry, computer science, economics, ..."),
        ({"domains": ["heath"]}, "did you mean 'health'?"),
        ({"quality": {"default": 0.5, "sumarize": 0.9}}, "did you mean 'summarize'?"),
        (
            {"data_residency": {"inference": ["eu", "moon"], "storage": "us-east-1"}},
            "model a: the place 'moon' is no country",
        ),
    ],
)
def test_a_word_that_nothing_known_asks_for_is_told(router: dict[str, object], says: str) -> None:
    (told,) = said_of(router)
    assert says in told


def test_what_is_recognized_is_not_told() -> None:
    places = {"inference": ["eu", "ch", "us-east-1"], "storage": "de"}
    kinds = {"default": 0.5, "summarize": 0.9, "computer science": 0.4}
    router: dict[str, object] = {
        "languages": ["de", "zh"],
        "domains": ["math"],
        "quality": kinds,
        "data_residency": places,
    }
    assert said_of(router) == []


def test_a_pattern_of_a_rule_that_matches_nothing_known_is_told() -> None:
    when = {"task": ["sum*", "translation"], "flag": ["pii.*", "pii.mail"], "language": ["[de]e"], "tenant": ["acme"]}
    policies = {"default": {"rules": [{"name": "r", "when": when, "only": ["a"]}]}}
    catalog = catalog_of(entry("a"), router={"policies": policies})
    told = list(unasked(catalog, domains=general().domains))
    assert [line.partition(": only")[0] for line in told] == [
        "policy default, rule r: no task that is recognized matches 'translation'",
        "policy default, rule r: no flag that is recognized matches 'pii.mail'",
    ]
    assert told[1].endswith("did you mean 'pii.email'?")


def test_a_place_is_a_country_a_part_of_one_or_the_union() -> None:
    assert [word for word in ("eu", "de", "us-east-1", "gb", "uk", "moon", "xx") if not is_place(word)] == [
        "moon",
        "xx",
    ]
