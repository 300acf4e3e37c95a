"""What is stored of a decision is enough to take it again."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from router_service.catalog.policies import Exploration, RoutingPolicy, Strategy
from router_service.jobs.preferences import NONE, Preferences, Safety, Sort
from router_service.jobs.spec import AUTO, Fallback, JobSpec, RoutableJob
from router_service.routing.decision import route
from router_service.routing.insight import Estimate, Insight, Worth
from router_service.routing.replay import Recorded, differences, inputs_of, job_of
from router_service.routing.snapshot import Snapshot
from router_service.signals.signals import Signals
from tests.support.catalogs import catalog_of, entry
from tests.support.counters import counters_of

NAMES = ("a", "b", "c")
names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple)
shares = st.floats(0, 1)
wishes = st.builds(
    Preferences,
    policy=st.none() | st.sampled_from(["fastest", "cheapest-capable"]),
    max_cost_usd=st.none() | st.floats(0, 1e-3),
    safety=st.none() | st.sampled_from(Safety),
    ignore=names,
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
        model=st.sampled_from((*NAMES, AUTO, "router-0.4")),
        tokens_in=st.integers(1, 300),
        tokens_out=st.none() | st.integers(1, 300),
        features=st.sampled_from([(), ("vision",)]),
        residency=st.none() | st.sampled_from(["eu", "us"]),
        quality=st.none() | shares,
        excluded=names,
        fallback=st.sampled_from(Fallback),
        preferences=wishes,
    ),
    left_s=st.none() | st.floats(0, 1000),
    tried=st.none() | st.sampled_from(NAMES),
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
CATALOG = catalog_of(
    entry("a", cost=1e-6, router={"languages": ["de"], "quality": {"default": 0.5}}, info={"supports_vision": True}),
    entry("b", cost=2e-6, router={"safety": "high", "trains_on_data": False}, info={"max_output_tokens": 150}),
    entry("c", cost=None, router={"data_residency": {"inference": "eu", "storage": "eu"}}),
    fallbacks=[{"a": ["b"]}],
    router={"pair": {"strong": "b", "weak": "a"}},
)


@given(jobs, insights, live, policies)
def test_a_decision_is_taken_again_from_what_was_stored(
    job: RoutableJob, insight: Insight, counters: Any, policy: RoutingPolicy
) -> None:
    snapshot = Snapshot(counters=counters)
    first = route(job, catalog=CATALOG, counters=snapshot.counters, policy=policy, insight=insight)
    recorded = Recorded(
        job_id=job.id,
        epoch=job.epoch + 1,
        model_id=first.model_id,
        reason=first.reason,
        policy=first.policy,
        catalog=first.catalog,
        snapshot=snapshot.hash,
        candidates=json.loads(json.dumps([each.as_json() for each in first.candidates])),
        inputs=json.loads(json.dumps(inputs_of(job, insight))),
    )
    again_job, again_insight = job_of(recorded.job_id, recorded.inputs)
    assert (again_job, again_insight) == (job, insight)
    stored = Snapshot.from_json(json.loads(json.dumps(snapshot.as_json())))
    again = route(again_job, catalog=CATALOG, counters=stored.counters, policy=policy, insight=again_insight)
    assert differences(recorded, again) == []


@given(jobs, insights)
def test_a_changed_input_shows_as_a_difference(job: RoutableJob, insight: Insight) -> None:
    first = route(job, catalog=CATALOG, counters={}, policy=RoutingPolicy(), insight=insight)
    recorded = Recorded(
        job_id=job.id,
        epoch=1,
        model_id=f"not {first.model_id}",
        reason=first.reason,
        policy=first.policy,
        catalog=first.catalog,
        snapshot=None,
        candidates=[each.as_json() for each in first.candidates],
        inputs={},
    )
    assert [line.partition(":")[0] for line in differences(recorded, first)] == ["model"]


@given(wishes)
def test_preferences_are_stored_and_read_back(given_wishes: Preferences) -> None:
    assert Preferences.from_json(json.loads(json.dumps(given_wishes.as_json()))) == given_wishes
    assert Preferences.from_json(None) == NONE
    assert (given_wishes.as_json() == {}) == (given_wishes == NONE)
