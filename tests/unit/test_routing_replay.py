"""What is stored of a decision is enough to take it again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from router_service.catalog.policies import RoutingPolicy
from router_service.jobs.preferences import NONE, Preferences
from router_service.routing.decision import route
from router_service.routing.replay import Recorded, differences, inputs_of, job_of
from router_service.routing.snapshot import Snapshot
from tests.support.questions import CATALOG, insights, jobs, live, policies, prices, strict_policies, wishes

if TYPE_CHECKING:
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.insight import Insight


@given(jobs, insights, live, policies | strict_policies, st.none() | prices)
def test_a_decision_is_taken_again_from_what_was_stored(
    job: RoutableJob, insight: Insight, counters: Any, policy: RoutingPolicy, planned: Any
) -> None:
    snapshot, insight = Snapshot(counters=counters), replace(insight, prices=planned)
    job = replace(job, plan=planned.plan if planned else None)
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
    plans = {} if planned is None else {planned.plan: planned}
    again_job, again_insight = job_of(recorded.job_id, recorded.inputs, plans=plans)
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
