from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.catalog.builtin import builtin_document
from router_service.catalog.load import (
    LOCAL_FILE,
    build_catalog,
    content_hash,
    notes,
    parse_document,
    secrets,
    without_secrets,
)
from router_service.catalog.models import (
    Limits,
    Places,
    Provider,
    Retries,
    Simulation,
)
from router_service.errors import CatalogError
from tests.support.catalogs import catalog_of, document, entry, model_of, problems_of


def wrong_entry(path: str, value: object) -> dict[str, Any]:
    """A document whose first model has `value` at a dotted path."""
    made = document(entry("alpha"))
    *way, last = path.split(".")
    section = made["model_list"][0]
    for name in way:
        section = section.setdefault(name, {})
    section[last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("litellm_params.rpm", 0, "greater than 0"),
        ("litellm_params.rpm", -1, "greater than 0"),
        ("litellm_params.rpm", float("inf"), "finite"),
        ("litellm_params.tpm", "many", "valid number"),
        ("litellm_params.max_parallel_requests", 0, "greater than 0"),
        ("litellm_params.max_parallel_requests", 1.5, "valid integer"),
        ("litellm_params.timeout", 0, "greater than 0"),
        ("litellm_params.timeout", 100_000, "less than or equal"),
        ("litellm_params.api_base", "file:///etc/passwd", "URL scheme"),
        ("litellm_params.api_base", "no address", "valid URL"),
        ("litellm_params.model", "", "at least 1 character"),
        ("litellm_params.model", "openai/a b", "match pattern"),
        ("litellm_params.weight", 0, "greater than 0"),
        ("model_info.mode", "embedding", "'chat'"),
        ("model_info.id", "-starts-wrong", "match pattern"),
        ("model_info.id", "x" * 129, "match pattern"),
        ("model_info.id", "a b", "match pattern"),
        ("model_info.input_cost_per_token", -1, "greater than or equal"),
        ("model_info.max_input_tokens", 0, "greater than 0"),
        ("model_info.router.quality", {"default": 1.5}, "less than or equal"),
        ("model_info.router.data_residency", {"inference": "eu"}, "required"),
        ("model_info.router.simulated", {"failure": "418"}, "'400'"),
        ("litellm_params.rpd", 0, "greater than 0"),
        ("model_info.router.burst_s", -1, "greater than or equal"),
        ("model_info.router.burst_s", 61, "less than or equal"),
        ("model_info.router.limit_group", "a group", "match pattern"),
        ("model_info.router.tokenizer", "p50k_base", "'o200k_base' or 'cl100k_base'"),
        ("model_name", "auto", "'auto' is reserved"),
        ("model_name", "a b", "match pattern"),
    ],
)
def test_a_wrong_value_is_named_by_its_path(path: str, value: object, says: str) -> None:
    (problem,) = problems_of(wrong_entry(path, value))
    where = {"model_info.router.quality": ".default", "model_info.router.data_residency": ".storage"}
    suffix = where.get(path, ".failure" if path.endswith("simulated") else "")
    assert problem.startswith(f"model_list[0].{path}{suffix}: ")
    assert says in problem


def test_a_place_in_capitals_is_refused() -> None:
    problems = problems_of(wrong_entry("model_info.router.data_residency", {"inference": "EU", "storage": "eu"}))
    assert all(problem.startswith("model_list[0].model_info.router.data_residency.inference") for problem in problems)


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("litellm_params.modle", "did you mean 'model'?"),
        ("litellm_params.max_paralel_requests", "did you mean 'max_parallel_requests'?"),
        ("model_info.max_tokens_input", "did you mean 'max_input_tokens'?"),
        ("model_info.router.qualty", "did you mean 'quality'?"),
        ("model_info.router.simulated.latency", "did you mean 'latency_ms'?"),
        ("litellm_param", "did you mean 'litellm_params'?"),
        ("litellm_params.zzz", "known: api_base, api_key,"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(path: str, nearest: str) -> None:
    (problem,) = problems_of(wrong_entry(path, 1))
    assert problem.startswith(f"model_list[0].{path}: unknown key; ")
    assert nearest in problem


def test_an_unknown_key_of_the_whole_file_is_refused() -> None:
    assert problems_of(document() | {"router_setings": {}}) == (
        "router_setings: unknown key; did you mean 'router_settings'?",
    )


def test_every_problem_is_told_at_once() -> None:
    first, second = entry("a", params={"rpm": 0}), entry("b", params={"tpm": 0})
    assert [problem.partition(":")[0] for problem in problems_of(document(first, second))] == [
        "model_list[0].litellm_params.rpm",
        "model_list[1].litellm_params.tpm",
    ]


@pytest.mark.parametrize("wrong", [{}, {"model_list": []}, {"model_list": None}, {"model_list": [None]}])
def test_a_file_without_models_is_refused(wrong: dict[str, Any]) -> None:
    assert problems_of(wrong)[0].startswith("model_list")


def test_an_unknown_provider_is_told_what_a_compatible_server_is_called() -> None:
    (problem,) = problems_of(document(entry("a", model="anthropic/claude")))
    assert problem.startswith("model_list[0].litellm_params.model: no provider 'anthropic'")
    assert "openai/<its model>" in problem


def test_an_id_that_is_taken_is_refused() -> None:
    (problem,) = problems_of(document(entry("a", info={"id": "same"}), entry("b", info={"id": "same"})))
    assert problem.startswith("model_list[1].model_info.id: 'same' is taken")


def test_models_of_one_name_get_ids_of_their_own() -> None:
    catalog = catalog_of(entry("a"), entry("a"), entry("a-2"))
    assert [model.id for model in catalog.models] == ["a", "a-2", "a-2-2"]
    assert [model.id for model in catalog.named("a")] == ["a", "a-2"]


def test_a_name_that_is_no_id_is_made_one() -> None:
    assert model_of("@weird*name").id == "m@weird-name"


def test_a_name_with_letters_beyond_ascii_becomes_an_id_within_it() -> None:
    assert model_of("m\u00fcnchen").id.isascii()


def test_a_fallback_that_nobody_has_is_refused_with_the_nearest_name() -> None:
    problems = problems_of(
        document(fallbacks=[{"alpha": ["betta"]}, {"gamma": ["beta"]}], default_fallbacks=["alphaa"])
    )
    assert problems == (
        "router_settings.fallbacks[0].alpha: no model is named 'betta'; did you mean 'beta'?",
        "router_settings.fallbacks[1].gamma: no model is named 'gamma'; known: alpha, beta",
        "router_settings.default_fallbacks: no model is named 'alphaa'; did you mean 'alpha'?",
    )


def test_what_is_read_but_has_no_effect_is_told() -> None:
    given_document = document(entry("a", router={"evidence": "dpa.pdf"}), routing_strategy_args={"ttl": 60})
    build_catalog(given_document, source="x")
    assert notes(given_document) == [
        "router_settings.routing_strategy_args.ttl has no effect in this version",
        "model_list[0].model_info.router.evidence has no effect in this version",
    ]
    assert notes(document()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must be a mapping"),
        ("- a\n- b\n", "must be a mapping"),
        ("just text", "must be a mapping"),
        ("a: [1,\n", "line 2"),
        ("a: b: c", "line 1"),
        ("a: \x00", "special characters"),
        ("!!python/object/apply:os.system ['true']", "constructor"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(CatalogError, match=says):
        parse_document(text, source="catalog.yaml")


def test_the_dialect_is_read_whole() -> None:
    model = model_of(
        "house/gpt",
        model="openai/gpt-5",
        params={
            "api_base": "https://models.example/v1/",
            "api_key": "os.environ/KEY",
            "rpm": 60,
            "tpm": 1000,
            "itpm": 600,
            "otpm": 400,
            "max_parallel_requests": 7,
            "timeout": 30,
            "order": 1,
            "weight": 2,
        },
        info={"max_input_tokens": 1000, "max_output_tokens": 100, "supports_vision": True},
        router={
            "quality": {"default": 0.7, "summary": 0.9},
            "data_residency": {"inference": ["eu", "ch"], "storage": "eu"},
        },
    )
    assert (model.id, model.name, model.provider, model.upstream) == ("house/gpt", "house/gpt", "openai", "gpt-5")
    assert (model.api_base, model.api_key, model.timeout_s) == ("https://models.example/v1", "os.environ/KEY", 30.0)
    assert model.limits == Limits(slots=7, rpm=60, tpm=1000, itpm=600, otpm=400)
    assert model.residency == Places(inference=frozenset({"eu", "ch"}), storage=frozenset({"eu"}))
    assert model.features == {"tools", "json_schema", "vision"}
    assert model.expected_quality("summary") == 0.9
    assert model.expected_quality("other") == 0.7
    assert model.cost_usd(tokens_in=2, tokens_out=3) == pytest.approx(5e-6)
    assert model.simulation is None


def test_a_model_without_a_provider_speaks_the_openai_wire() -> None:
    model = model_of(model="gpt-5")
    assert (model.provider, model.upstream, model.api_base) == (Provider.OPENAI, "gpt-5", "https://api.openai.com/v1")


def test_a_model_names_its_tokenizer_or_none() -> None:
    assert model_of(router={"tokenizer": "cl100k_base"}).tokenizer == "cl100k_base"
    assert model_of().tokenizer is None


def test_a_simulated_model_behaves_as_written() -> None:
    assert model_of(
        router={"simulated": {"latency_ms": 5, "failure": "429", "failure_rate": 0.5, "seed": 3}}
    ).simulation == Simulation(latency_ms=5, failure="429", failure_rate=0.5, seed=3)
    assert model_of().simulation == Simulation()


def test_one_unknown_price_makes_the_cost_unknown() -> None:
    assert model_of(cost=None, info={"input_cost_per_token": 1.0}).cost_usd(tokens_in=1, tokens_out=1) is None


def test_retries_are_tries_after_the_first() -> None:
    assert catalog_of(num_retries=0).retries == Retries(tries=1)
    assert catalog_of().retries == Retries(tries=3)


def test_the_chain_of_a_model_is_itself_and_then_its_fallbacks() -> None:
    catalog = catalog_of(
        entry("a"), entry("b"), entry("c"), fallbacks=[{"a": ["b", "a", "c"]}], default_fallbacks=["c"]
    )
    assert [[model.id for model in rank] for rank in catalog.chain("a")] == [["a"], ["b"], ["c"]]
    assert [[model.id for model in rank] for rank in catalog.chain("b")] == [["b"], ["c"]]
    assert [[model.id for model in rank] for rank in catalog.chain("c")] == [["c"]]


def test_a_catalog_offers_names_and_ids() -> None:
    catalog = catalog_of(entry("a", info={"id": "a-1"}))
    assert catalog.has("a")
    assert catalog.has("a-1")
    assert not catalog.has("b")
    assert catalog.named("b") == ()


def with_key(key: str | None) -> dict[str, Any]:
    return document(entry("a", model="openai/x", params={} if key is None else {"api_key": key}), entry("b"))


def test_a_literal_key_is_not_in_what_is_stored_and_the_file_is_left_alone() -> None:
    given_document = with_key("sk-secret")
    before = copy.deepcopy(given_document)
    stored = without_secrets(given_document)
    assert "sk-secret" not in json.dumps(stored)
    assert stored["model_list"][0]["litellm_params"]["api_key"] == LOCAL_FILE
    assert given_document == before
    assert without_secrets(stored) == stored


def test_the_name_of_a_variable_is_stored() -> None:
    assert without_secrets(with_key("os.environ/KEY")) == with_key("os.environ/KEY")


def test_the_hash_does_not_depend_on_which_literal_key_it_is() -> None:
    assert content_hash(with_key("sk-1")) == content_hash(with_key("sk-2")) == content_hash(with_key(LOCAL_FILE))
    assert content_hash(with_key(None)) != content_hash(with_key("sk-1"))


@given(st.permutations(["model_list", "router_settings"]), st.permutations(list(entry("a"))))
def test_the_hash_does_not_depend_on_the_order_of_keys(outer: list[str], inner: list[str]) -> None:
    given_document = document(entry("a"))
    turned = {key: given_document[key] for key in outer}
    turned["model_list"] = [{key: given_document["model_list"][0][key] for key in inner}]
    assert content_hash(turned) == content_hash(given_document)


def test_the_hash_depends_on_what_the_document_says() -> None:
    hashes = {content_hash(document(entry("a", cost=cost))) for cost in (None, 1.0, 2.0)}
    assert len(hashes) == 3
    assert catalog_of(entry("a", cost=1.0)).hash in hashes


@pytest.mark.parametrize(
    ("published", "own", "environ", "found", "missing"),
    [
        (None, None, {}, {}, ()),
        ("os.environ/KEY", None, {"KEY": "k"}, {"a": "k"}, ()),
        ("os.environ/KEY", None, {}, {}, ("a",)),
        ("os.environ/KEY", "sk-own", {}, {}, ("a",)),
        ("sk-own", None, {}, {}, ("a",)),
        ("sk-own", "sk-own", {}, {"a": "sk-own"}, ()),
        ("sk-own", "os.environ/KEY", {"KEY": "k"}, {"a": "k"}, ()),
        ("sk-own", "os.environ/KEY", {}, {}, ("a",)),
    ],
)
def test_a_key_comes_from_the_environment_or_from_this_machines_file(
    published: str | None, own: str | None, environ: dict[str, str], found: dict[str, str], missing: tuple[str, ...]
) -> None:
    in_force = build_catalog(without_secrets(with_key(published)), source="stored")
    local = build_catalog(with_key(own), source="file") if own else None
    assert secrets(in_force, local=local, environ=environ) == (found, missing)


def test_the_built_in_catalog_is_valid_and_needs_no_key() -> None:
    catalog = build_catalog(builtin_document(), source="built-in")
    assert {model.provider for model in catalog.models} == {Provider.LOCAL}
    assert secrets(catalog, local=None, environ={}) == ({}, ())
