"""History under another policy: by the jobs' own wishes, and never by what was found for the policy of that time."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from router_service.catalog.policies import RoutingPolicy, Strategy
from router_service.jobs.preferences import Preferences
from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.routing.calibration import curve_of
from router_service.routing.decision import route
from router_service.routing.history import History, offers_under, what_if
from router_service.routing.insight import NOTHING, Insight, Worth
from router_service.routing.replay import Recorded, inputs_of
from router_service.signals.signals import Signals
from tests.support.catalogs import catalog_of, entry

CATALOG = catalog_of(
    entry("pool", cost=1e-6, info={"id": "small"}, router={"quality": {"default": 0.6}}),
    entry("pool", cost=1e-5, info={"id": "big"}, router={"quality": {"default": 0.9}}),
)
SPEC = JobSpec(model=AUTO, tokens_in=1000, tokens_out=100)
TARGET = RoutingPolicy(strategy=Strategy.QUALITY_TARGET, quality_target=0.6)


def decided(number: int, insight: Insight = NOTHING, *, model: str = AUTO, **wishes: float) -> Recorded:
    spec = replace(SPEC, model=model, preferences=Preferences(**wishes))  # type: ignore[arg-type]
    job = RoutableJob(id=UUID(int=number), epoch=0, spec=spec, tenant_id="acme")
    said = route(job, catalog=CATALOG, counters={}, policy=RoutingPolicy(), insight=insight)
    return Recorded(
        job_id=job.id,
        epoch=1,
        model_id=said.model_id,
        reason=said.reason,
        policy=said.policy,
        catalog=said.catalog,
        snapshot=None,
        candidates=[each.as_json() for each in said.candidates],
        inputs=inputs_of(job, insight),
    )


def tried(*recorded: Recorded, policy: RoutingPolicy = TARGET) -> dict[str, int]:
    history = History(recorded=recorded, catalogs={CATALOG.hash: CATALOG}, counters={})
    curve = curve_of(offers_under(history, policy)) if policy.has_target else None
    models: dict[str, int] = what_if(history, policy, curve=curve).as_json()["after"]["models"]
    return models


def test_a_jobs_own_target_goes_before_the_policys() -> None:
    usual = [decided(number) for number in range(1, 61)]
    picky = [decided(number, quality_target=1.0) for number in range(61, 101)]
    assert tried(*usual, *picky) == {"small": 60, "big": 40}


def test_a_worth_that_was_found_for_the_policy_of_that_time_is_not_used() -> None:
    """Jobs that named a model give no curve. Where nothing tells what quality is worth, the best of its deployments is taken."""
    stale = Insight(worth=Worth(1e-9), signals=Signals())
    assert tried(*(decided(number, stale, model="pool") for number in range(1, 5))) == {"big": 4}
