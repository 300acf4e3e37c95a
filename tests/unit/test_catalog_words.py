"""What may stand in a catalog where the words are a closed set, and what is said of a word or a key in the wrong place."""

from __future__ import annotations

from typing import Any

import pytest

from router_service.catalog.load import build_catalog, notes
from router_service.catalog.words import language_code, language_problem
from tests.support.catalogs import document, entry, problems_of


def rule_of(when: dict[str, Any]) -> dict[str, Any]:
    policies = {"default": {"rules": [{"name": "r", "when": when, "only": ["a"]}]}}
    return document(entry("a"), router={"policies": policies})


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("klingon", "'klingon' is no language; two letters of ISO 639-1 such as 'de', or three, would be right"),
        ("xx", "'xx' is no language"),
        ("germn", "did you mean 'de' (german)?"),
        ("german", "'german' is written 'de'"),
        ("GER", "'GER' is written 'de'"),
        ("deu", "'deu' is written 'de'"),
        ("DE", "'DE' is written 'de'"),
        ("pt-BR", "'pt-BR' is written 'pt': regions"),
        ("zho_Hans", "'zho_Hans' is written 'zh': regions"),
        ("", "'' is no language"),
    ],
)
def test_a_word_that_is_no_language_code_is_told_what_would_be_right(word: str, says: str) -> None:
    (problem,) = problems_of(document(entry("a", router={"languages": ["en", word]})))
    assert problem.startswith("model_list[0].model_info.router.languages[1]: ")
    assert says in problem


@pytest.mark.parametrize("word", ["de", "en", "zh", "nds", "tlh", "hbs"])
def test_two_letters_of_iso_639_and_three_where_there_are_no_two_are_a_language(word: str) -> None:
    assert language_problem(word) is None


@pytest.mark.parametrize(
    ("router", "path", "says"),
    [
        ({"domains": ["Law"]}, "domains[0]", "'Law' is the name of no task and no domain; 1 to 40 of a-z"),
        ({"quality": {"Law": 0.5}}, "quality.Law", "'Law' is the name of no task and no domain"),
        ({"modalities": ["picture"]}, "modalities[0]", "input should be 'text', 'image' or 'audio'"),
        ({"features": ["visoin"]}, "features[0]", "input should be 'vision', 'audio', 'tools' or 'json_schema'"),
        ({"quality": 0.7}, "quality", "input should be a valid dictionary, such as {default: 0.7}"),
        ({"languages": "de"}, "languages", "input should be a valid list, such as [de, en]"),
        ({"data_residency": "eu"}, "data_residency", "such as {inference: eu, storage: eu}"),
        (
            {"data_residency": {"inference": "eu", "storage": "The Moon"}},
            "data_residency.storage[0]",
            "'The Moon' is written as no place is; lower case such as 'eu'",
        ),
        ({"data_residency": {"inference": [], "storage": "eu"}}, "data_residency.inference", "at least 1 item"),
    ],
)
def test_a_word_of_no_job_is_refused_with_what_would_be_right(router: dict[str, Any], path: str, says: str) -> None:
    (problem,) = problems_of(document(entry("a", router=router)))
    assert problem.startswith(f"model_list[0].model_info.router.{path}: ")
    assert says in problem


@pytest.mark.parametrize("price", [1.01, 1e300, "1e300"])
@pytest.mark.parametrize("side", ["input", "output"])
def test_a_price_above_a_dollar_a_token_is_no_price(side: str, price: float | str) -> None:
    key = f"{side}_cost_per_token"
    (problem,) = problems_of(document(entry("a", info={key: price})))
    assert problem.startswith(
        f"model_list[0].model_info.{key}: {float(price):g} is more than a dollar a token; prices are"
    )
    assert build_catalog(document(entry("a", cost=None, info={key: 1.0})), source="x").models


def test_a_pair_is_of_two_models() -> None:
    (problem,) = problems_of(document(entry("a"), router={"pair": {"strong": "a", "weak": "a"}}))
    assert problem == "router_settings.router.pair: strong and weak are both 'a'; a pair is of two models"


@pytest.mark.parametrize(
    ("when", "says"),
    [
        ({"lang": ["de"]}, "when.lang: unknown key; did you mean 'language'?"),
        ({"domains": ["law"]}, "when.domains: unknown key; did you mean 'domain'?"),
        ({"language": "de"}, "when.language: input should be a valid list, such as [de, en]"),
        ({"language": ["german"]}, "when.language[0]: 'german' is written 'de'"),
        ({"feature": ["visoin"]}, "when.feature[0]: 'visoin' matches none; did you mean 'vision'?"),
        ({"modality": ["video"]}, "when.modality[0]: 'video' matches none; known: audio, image, text"),
    ],
)
def test_a_rule_that_could_never_hold_is_refused(when: dict[str, Any], says: str) -> None:
    (problem,) = problems_of(rule_of(when))
    assert problem.startswith(f"router_settings.router.policies.default.rules[0].{says}")


def test_patterns_that_match_something_are_taken() -> None:
    when = {"language": ["d?", "[!e]n"], "feature": ["json*"], "modality": ["*"], "domain": ["anything at all"]}
    assert build_catalog(rule_of(when), source="x").policies["default"].rules[0].when["feature"] == ("json*",)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            document(entry("a") | {"quality": 0.7}),
            "model_list[0].quality: unknown key; it belongs to model_list[].model_info.router, such as quality: {default: 0.7}",
        ),
        (
            document(entry("a", params={"data_residency": "eu"})),
            (
                "model_list[0].litellm_params.data_residency: unknown key; it belongs to model_list[].model_info.router"
                ", such as data_residency: {inference: eu, storage: eu}"
            ),
        ),
        (
            document(entry("a"), router={"quality_target": 0.9}),
            "router_settings.router.quality_target: unknown key; it belongs to router_settings.router.policies.*",
        ),
        (document() | {"fallbacks": []}, "fallbacks: unknown key; it belongs to router_settings"),
        (
            document(entry("a"), model_list=[]),
            "router_settings.model_list: unknown key; it belongs to the top of the file",
        ),
    ],
)
def test_a_key_in_the_wrong_place_is_told_where_it_belongs(wrong: dict[str, Any], says: str) -> None:
    assert problems_of(wrong) == (says,)


def test_a_region_is_said_to_have_no_effect_and_what_has() -> None:
    (note,) = notes(document(entry("a", params={"region_name": "moon"})))
    assert note == (
        "model_list[0].litellm_params.region_name has no effect in this version: "
        "model_info.router.data_residency says where a model computes and stores"
    )


@pytest.mark.parametrize(
    ("tag", "code"), [("de", "de"), ("DE", "de"), ("deu", "de"), ("ger", "de"), ("tlh", "tlh"), ("xx", None)]
)
def test_a_language_that_a_caller_names_is_compared_in_one_form(tag: str, code: str | None) -> None:
    assert language_code(tag) == code


def test_a_policy_has_no_strategys_name() -> None:
    (problem,) = problems_of(document(entry("a"), router={"policies": {"fastest": {}}}))
    assert problem.startswith("router_settings.router.policies.fastest: that is a strategy's name")
