"""What requests and policies say of models: preferences, rules, thresholds; and what would have to change where none is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from router_service.catalog.policies import BUILT_IN, RoutingPolicy
from router_service.jobs.preferences import Preferences, Safety
from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.routing.decision import Decision, Outlook, route
from router_service.routing.gaps import Gaps
from router_service.routing.insight import NOTHING, UNREAD, Estimate, Insight
from router_service.routing.methods import Methods
from router_service.routing.question import Question
from router_service.routing.reading import must_read
from router_service.signals.signals import Signals
from tests.support.catalogs import catalog_of, document, entry, problems_of

SPEC = JobSpec(model=AUTO, tokens_in=1000, tokens_out=100)
CATALOG = catalog_of(
    entry("cheap", cost=1e-6, router={"quality": {"default": 0.5, "law": 0.9}, "trains_on_data": True}),
    entry("safe", cost=2e-6, router={"safety": "high", "trains_on_data": False, "retention_days": 0}),
    entry("dear", cost=9e-6, model="openai/gpt", router={"safety": "low", "retention_days": 30}),
    entry("unpriced", cost=None),
)


def chosen(
    catalog: Any = CATALOG,
    *,
    insight: Insight = NOTHING,
    policy: RoutingPolicy | None = None,
    methods: Methods | None = None,
    spec: JobSpec = SPEC,
    policy_: str | None = None,
    **wishes: Any,
) -> Decision:
    """`policy_`: by the name that the job gives."""
    wishes |= {} if policy_ is None else {"policy": policy_}
    job = RoutableJob(id=UUID(int=7), epoch=0, spec=replace(spec, preferences=Preferences(**wishes)), tenant_id="acme")
    return route(
        job,
        catalog=catalog,
        counters={},
        policy=policy or catalog.policy_of(job),
        insight=insight,
        methods=methods or Methods(),
    )


def said(**signals: Any) -> Insight:
    return Insight(signals=Signals(**signals))


def reasons(decision: Decision) -> dict[str, str | None]:
    return {each.model: each.reason for each in decision.candidates}


@pytest.mark.parametrize(
    ("wishes", "model"),
    [
        ({}, "cheap"),
        ({"ignore": ("cheap",)}, "safe"),
        ({"only": ("openai",)}, "dear"),
        ({"only": ("dear", "safe")}, "safe"),
        ({"order": ("dear", "safe")}, "dear"),
        ({"order": ("dear",), "ignore": ("dear",)}, "cheap"),
        ({"order": ("dear",), "ignore": ("dear",), "allow_fallbacks": False}, None),
        ({"no_training": True}, "safe"),
        ({"no_retention": True}, "safe"),
        ({"safety": Safety.LOW}, "safe"),
        ({"safety": Safety.MEDIUM, "ignore": ("safe",)}, None),
        ({"max_input_cost": 1.5e-6, "ignore": ("cheap",)}, None),
        ({"max_cost_usd": 0.0025}, "cheap"),
        ({"max_cost_usd": 0.0005}, None),
    ],
)
def test_a_request_narrows_the_choice(wishes: dict[str, Any], model: str | None) -> None:
    assert chosen(**wishes).model_id == model


def test_what_is_not_known_of_safety_use_of_data_and_price_is_not_eligible() -> None:
    assert reasons(chosen(safety=Safety.LOW))["unpriced"] == "safety_unknown"
    assert reasons(chosen(no_training=True)) | {"dear": "trains_on_data_unknown"} == reasons(chosen(no_training=True))
    assert reasons(chosen(no_retention=True))["cheap"] == "retention_unknown"
    assert reasons(chosen(max_output_cost=1.0))["unpriced"] == "price_unknown"


def test_what_a_job_costs_is_not_known_where_nobody_bounds_its_answer() -> None:
    catalog = catalog_of(
        entry("open", cost=1e-6),
        entry("bounded", cost=2e-6, info={"max_output_tokens": 1000}),
        entry("long", cost=2e-6, info={"max_output_tokens": 9000}),
        entry("free", info={"input_cost_per_token": 9e-6, "output_cost_per_token": 0.0}),
    )
    unbounded = replace(SPEC, tokens_out=None)
    short = Insight(signals=Signals(tokens_out=4), estimates={"open": Estimate(tokens_out=4)})
    decision = chosen(catalog, insight=short, spec=unbounded, max_cost_usd=0.01)
    assert decision.model_id == "bounded"
    assert reasons(decision) == {"open": "max_cost_unknown", "bounded": None, "long": "max_cost", "free": None}
    assert chosen(catalog, spec=SPEC, max_cost_usd=0.01).model_id == "open"
    none = chosen(catalog, spec=unbounded, only=("open",), max_cost_usd=0.01)
    assert none.outlook is Outlook.NEVER
    assert "max_tokens in the request or max_output_tokens in the catalog" in none.changes[0].words


def test_a_named_policy_is_taken_and_a_strategys_name_is_one() -> None:
    catalog = catalog_of(
        entry("a", cost=1e-6), entry("b"), router={"policies": {"mine": {"strategy": "fastest"}, "default": {}}}
    )
    job = RoutableJob(id=UUID(int=1), epoch=0, spec=SPEC)
    for name, strategy in (("mine", "fastest"), ("least-busy", "least-busy"), (None, "cheapest-capable")):
        wished = replace(job, spec=replace(SPEC, preferences=Preferences(policy=name)))
        assert catalog.policy_of(wished).strategy == strategy


SPECIALISTS = catalog_of(
    entry("general", cost=5e-6),
    entry("german", cost=1e-6, router={"languages": ["de"]}),
    entry("lawyer", cost=2e-6, router={"domains": ["law"]}),
)


@pytest.mark.parametrize(
    ("insight", "model"),
    [
        (said(language="de"), "german"),
        (said(language="fr"), "general"),
        (said(language="fr", domain="law"), "lawyer"),
        (said(), "german"),
        (UNREAD, "german"),
    ],
)
def test_specialists_get_only_what_they_are_for(insight: Insight, model: str) -> None:
    assert chosen(SPECIALISTS, insight=insight).model_id == model


def test_a_specialist_of_a_domain_is_out_where_the_domain_is_not_known_but_not_before_the_request_was_read() -> None:
    assert reasons(chosen(SPECIALISTS, insight=said(language="de")))["lawyer"] == "domain_unknown"
    assert reasons(chosen(SPECIALISTS, insight=UNREAD))["lawyer"] is None


def test_a_hint_goes_before_what_was_predicted() -> None:
    assert chosen(SPECIALISTS, insight=said(language="de"), language="fr", domain="law").model_id == "lawyer"


def test_a_floor_is_held_against_the_quality_of_the_jobs_kind() -> None:
    spec = replace(SPEC, quality=0.8)
    assert chosen(spec=spec, insight=said(domain="law")).model_id == "cheap"
    assert reasons(chosen(spec=spec, insight=said(domain="physics")))["cheap"] == "quality"
    assert chosen(spec=spec, insight=UNREAD).model_id == "cheap"
    learned = Insight(estimates={"cheap": Estimate(level=0.95, quality=0.1)})
    assert chosen(spec=spec, insight=learned).model_id == "cheap"


RULED = {
    "policies": {
        "default": {
            "rules": [
                {"name": "law to the dear one", "when": {"domain": ["law"], "language": ["d*"]}, "only": ["dear"]},
                {"name": "secrets stay", "when": {"flag": ["secret.*", "pii.*"]}, "only": ["safe"]},
                {"name": "pictures", "when": {"modality": ["image"]}, "prefer": ["dear"]},
                {"name": "ours", "when": {"tenant": ["acme"], "task": ["chat"]}, "avoid": ["cheap"]},
            ]
        }
    }
}


@pytest.mark.parametrize(
    ("signals", "features", "model"),
    [
        ({"domain": "law", "language": "de"}, (), "dear"),
        ({"domain": "law", "language": "fr"}, (), "cheap"),
        ({"domain": "law"}, (), "cheap"),
        ({"flags": ("injection.override", "pii.email")}, (), "safe"),
        ({"task": "chat"}, (), "safe"),
        ({}, ("vision",), "dear"),
    ],
)
def test_rules_say_which_models_where(signals: dict[str, Any], features: tuple[str, ...], model: str) -> None:
    catalog = catalog_of(
        *(
            entry(name, cost=cost, info={"supports_vision": True})
            for name, cost in (("cheap", 1e-6), ("safe", 2e-6), ("dear", 9e-6))
        ),
        router=RULED,
    )
    assert chosen(catalog, insight=said(**signals), spec=replace(SPEC, features=features)).model_id == model


@pytest.mark.parametrize(
    ("insight", "rules"),
    [
        (said(domain="law", language="de"), [(1, ()), (4, ("task",))]),
        (said(language="de"), [(1, ("domain",)), (4, ("task",))]),
        (said(), [(1, ("language", "domain")), (4, ("task",))]),
        (said(domain="physics", task="chat", flags=("pii.email",)), [(2, ()), (4, ())]),
        (said(domain="physics", task="code"), []),
        (NOTHING, [(1, ("language", "domain")), (2, ("flag",)), (4, ("task",))]),
    ],
)
def test_a_rule_that_held_or_may_have_held_but_for_what_was_not_known_is_told(
    insight: Insight, rules: list[tuple[int, tuple[str, ...]]]
) -> None:
    catalog = catalog_of(entry("cheap"), entry("safe"), entry("dear"), router=RULED)
    job = RoutableJob(id=UUID(int=7), epoch=0, spec=SPEC, tenant_id="acme")
    gaps = Gaps.of(Question.of(job, policy=catalog.policy_of(job), insight=insight))
    assert [(rule.number, rule.unknown) for rule in gaps.rules] == rules
    assert gaps.is_read is (insight is not NOTHING)


def test_what_the_caller_states_is_known() -> None:
    job = RoutableJob(id=UUID(int=7), epoch=0, spec=replace(SPEC, preferences=Preferences(domain="law")))
    assert Gaps.of(Question.of(job, policy=BUILT_IN, insight=said(language="de"))).unknown == ("task",)


def test_a_rule_that_no_model_meets_is_named() -> None:
    catalog = catalog_of(entry("cheap"), entry("safe"), entry("dear"), router=RULED)
    decision = chosen(catalog, insight=said(domain="law", language="de"), ignore=("dear",))
    assert decision.model_id is None
    assert reasons(decision) == {"cheap": "rule", "safe": "rule", "dear": "ignored"}


@pytest.mark.parametrize(("key", "word"), [("language", "de"), ("domain", "law"), ("task", "chat"), ("flag", "pii.*")])
def test_a_rule_on_words_beside_signals_false_is_refused_with_its_path(key: str, word: str) -> None:
    sizes = {
        "name": "pictures",
        "when": {"modality": ["image"], "tenant": ["a"], "feature": ["tools"]},
        "only": ["alpha"],
    }
    words = {"name": "words", "when": {key: [word], "tenant": ["a"]}, "only": ["alpha"]}
    policy = {"signals": False, "rules": [sizes, words]}
    (problem,) = problems_of(document(router={"policies": {"mine": policy}}))
    assert f"router_settings.router.policies.mine.rules[1].when.{key}: " in problem
    assert catalog_of(router={"policies": {"mine": policy | {"rules": [sizes]}}}).policies["mine"].signals is False


def test_a_policy_that_looks_at_no_words_does_so_within_the_rules_of_the_tenants() -> None:
    blind, keen = {"strategy": "fastest", "signals": False}, {"strategy": "fastest", "signals": True}
    keeping = {"rules": [{"name": "secrets stay", "when": {"flag": ["secret.*"]}, "only": ["alpha"]}]}
    policies = {"blind": blind, "keen": keen, "keeping": keeping}
    catalog = catalog_of(router={"policies": policies, "tenants": {"acme": {"policy": "keeping"}}})
    for name, tenant, is_read in (("blind", "acme", True), ("keen", "acme", True), ("blind", "other", False)):
        spec = replace(SPEC, preferences=Preferences(policy=name))
        policy = catalog.policy_of(RoutableJob(id=UUID(int=1), epoch=0, spec=spec, tenant_id=tenant))
        assert must_read(spec, policy=policy, catalog=catalog) is is_read


@pytest.mark.parametrize("learned", [True, False])
def test_a_tenants_floor_is_held_against_what_was_learned_under_any_policy_that_a_job_names(learned: bool) -> None:  # noqa: FBT001
    policies = {
        "declared": {"strategy": "fastest", "learned": False},
        "floor": {"min_quality": 0.7, "learned": learned},
    }
    catalog = catalog_of(router={"policies": policies, "tenants": {"acme": {"policy": "floor"}}})
    spec = replace(SPEC, preferences=Preferences(policy="declared"))
    job = RoutableJob(id=UUID(int=1), epoch=0, spec=spec, tenant_id="acme")
    assert catalog.policy_of(job).min_quality == 0.7
    assert catalog.policy_of(job).learned is learned
    assert not catalog.policy_of(replace(job, tenant_id="other")).learned


PAIR = catalog_of(entry("strong", cost=9e-6), entry("weak"), router={"pair": {"strong": "strong", "weak": "weak"}})


@pytest.mark.parametrize(
    ("threshold", "model"), [("0.2", "strong"), ("0.35", "strong"), ("0.37", "weak"), ("1", "weak")]
)
def test_a_threshold_in_the_models_name_chooses_between_two(threshold: str, model: str) -> None:
    insight = Insight(estimates={"strong": Estimate(quality=0.9), "weak": Estimate(quality=0.6)})
    decision = chosen(PAIR, insight=insight, spec=replace(SPEC, model=f"router-{threshold}"))
    assert (decision.model_id, decision.reason) == (model, "threshold")


def test_the_other_of_the_two_is_a_fallback_and_without_estimates_the_strong_one_is_taken() -> None:
    spec = replace(SPEC, model="router-0.5")
    assert chosen(PAIR, spec=spec).model_id == "strong"
    assert chosen(PAIR, spec=replace(spec, excluded=("strong",))).model_id == "weak"
    assert chosen(CATALOG, spec=spec).reason == "unknown_model"


def test_a_threshold_name_is_reserved() -> None:
    with pytest.raises(Exception, match="reserved"):
        catalog_of(entry("router-0.5"))


def test_where_none_is_left_the_least_that_would_have_to_change_is_told() -> None:
    catalog = catalog_of(
        entry("eu", router={"data_residency": {"inference": "eu", "storage": "eu"}, "quality": {"default": 0.4}}),
        entry("us", router={"data_residency": {"inference": "us", "storage": "us"}, "quality": {"default": 0.9}}),
        entry("us-bad", router={"data_residency": {"inference": "us", "storage": "us"}, "quality": {"default": 0.1}}),
        entry("gone", router={"data_residency": {"inference": "eu", "storage": "eu"}, "quality": {"default": 0.9}}),
    )
    decision = chosen(catalog, spec=replace(SPEC, residency="eu", quality=0.8, excluded=("gone",)))
    assert decision.outlook is Outlook.NEVER
    assert [change.words for change in decision.changes] == [
        "eu: a quality of at most 0.4",
        "us: another residency (us)",
    ]
    assert decision.changes[0].as_json() == {"model": "eu", "change": [{"reason": "quality", "bound": 0.4}]}


def test_a_plugin_that_is_missing_lets_no_model_through_and_is_named() -> None:
    for policy in (
        RoutingPolicy(strategy="acme:night"),
        RoutingPolicy(constraints=("acme:night",)),
        RoutingPolicy(terms=(("acme:night", 1.0),)),
    ):
        decision = chosen(policy=policy)
        assert decision.model_id is None
        assert set(reasons(decision).values()) == {"plugin_missing"}
        said = {change.words.partition(": ")[2] for change in decision.changes}
        assert said == {"the plugin acme:night installed where the router runs"}


def test_plugins_add_constraints_scores_and_strategies() -> None:
    methods = Methods(
        strategies={
            **Methods().strategies,
            "acme:dearest": lambda prospects: [(-each.known_cost_usd,) for each in prospects],
        },
        terms={"acme:dislike": lambda each: float(each.model.id == "cheap")},
    )
    assert chosen(policy=RoutingPolicy(strategy="acme:dearest"), methods=methods).model_id == "unpriced"
    assert chosen(policy=RoutingPolicy(terms=(("acme:dislike", 1.0),)), methods=methods).model_id == "safe"
