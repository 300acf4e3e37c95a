"""Hypothesis strategies of jobs, wishes, insights and policies over three models of a fixed catalog."""

from __future__ import annotations

from hypothesis import strategies as st

from router_service.catalog.policies import Exploration, RoutingPolicy, Rule, Strategy
from router_service.jobs.preferences import Preferences, Safety, Sort
from router_service.jobs.spec import AUTO, Fallback, JobSpec, RoutableJob
from router_service.routing.insight import Estimate, Insight, Worth
from router_service.routing.prices import Prices, Toll
from router_service.signals.signals import Signals
from tests.support.catalogs import catalog_of, entry
from tests.support.counters import counters_of

NAMES = ("a", "b", "c")
ODD, TERM = "acme:odd", "acme:term"  # a plugin's constraint and score
CATALOG = catalog_of(
    entry("a", cost=1e-6, router={"languages": ["de"], "quality": {"default": 0.5}}, info={"supports_vision": True}),
    entry("b", cost=2e-6, router={"safety": "high", "trains_on_data": False}, info={"max_output_tokens": 150}),
    entry("c", cost=None, router={"data_residency": {"inference": "eu", "storage": "eu"}, "domains": ["law"]}),
    fallbacks=[{"a": ["b"]}],
    router={"pair": {"strong": "b", "weak": "a"}},
)
names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple)
shares = st.floats(0, 1)
wishes = st.builds(
    Preferences,
    policy=st.none() | st.sampled_from(["fastest", "cheapest-capable"]),
    max_cost_usd=st.none() | st.floats(0, 1e-3),
    safety=st.none() | st.sampled_from(Safety),
    ignore=names,
    only=names,
    order=names,
    allow_fallbacks=st.booleans(),
    sort=st.none() | st.sampled_from(Sort),
    no_training=st.booleans(),
    language=st.none() | st.sampled_from(["de", "en"]),
    difficulty=st.none() | shares,
)
jobs = st.builds(
    RoutableJob,
    id=st.uuids(),
    epoch=st.integers(0, 5),
    tenant_id=st.sampled_from(["", "acme"]),
    spec=st.builds(
        JobSpec,
        model=st.sampled_from((*NAMES, AUTO, AUTO, AUTO, "router-0.4")),
        tokens_in=st.integers(1, 300),
        tokens_out=st.none() | st.integers(1, 300),
        features=st.sampled_from([(), (), ("vision",)]),
        residency=st.none() | st.sampled_from(["eu", "us"]),
        quality=st.none() | shares,
        excluded=names,
        fallback=st.sampled_from(Fallback),
        preferences=st.just(Preferences()) | wishes,
    ),
    left_s=st.none() | st.floats(0, 1000),
    tried=st.none() | st.sampled_from(NAMES),
)
prices = st.builds(
    Prices,
    plan=st.just("p"),
    quality_usd=shares,
    softness_usd=st.sampled_from([0.0, 1e-5]),
    tolls=st.dictionaries(st.sampled_from(NAMES), st.builds(Toll, request=st.floats(0, 1e3))),
)
insights = st.builds(
    Insight,
    signals=st.none()
    | st.builds(
        Signals,
        language=st.none() | st.sampled_from(["de", "fr"]),
        domain=st.none() | st.just("law"),
        tokens_out=st.none() | st.integers(0, 500),
        flags=st.sampled_from([(), ("pii.email",)]),
        versions=st.just({"language": "1"}),
    ),
    estimates=st.dictionaries(
        st.sampled_from(NAMES),
        st.builds(
            Estimate, quality=st.none() | shares, level=st.none() | shares, tokens_out=st.none() | st.integers(1, 99)
        ),
    ),
    worth=st.none() | st.builds(Worth, st.floats(0, 1), st.none() | st.sampled_from(NAMES), st.floats(0, 1)),
)
live = counters_of(NAMES)
policies = st.builds(
    RoutingPolicy,
    strategy=st.sampled_from(Strategy),
    quality_usd=st.none() | st.floats(0, 1),
    exploration=st.builds(Exploration, share=st.sampled_from([0.0, 0.5])),
)
rules = st.builds(
    Rule,
    name=st.just("rule"),
    when=st.sampled_from([{"flag": ("pii.*",)}, {"language": ("de", "fr")}, {"domain": ("law",)}, {"tenant": ("*",)}]),
    only=names,
    prefer=names,
    avoid=names,
)
strict_policies = st.builds(
    RoutingPolicy,
    strategy=st.sampled_from(Strategy),
    quality_usd=st.none() | st.floats(0, 1),
    min_quality=st.none() | shares,
    exploration=st.builds(Exploration, share=st.sampled_from([0.0, 0.5, 1.0])),
    rules=st.lists(rules, max_size=2).map(tuple),
    constraints=st.sampled_from([(), (ODD,)]),
    terms=st.sampled_from([(), ((TERM, 1.0),)]),
)
