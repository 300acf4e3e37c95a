"""`route` over random catalogs and jobs: what must hold whatever they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.routing.constraints import CONSTRAINTS
from router_service.routing.decision import Decision, route
from router_service.routing.policy import Counters, RoutingPolicy
from tests.support.catalogs import catalog_of, entry

NAMES = ("a", "b", "c", "d")
PLACES = ("eu", "us")
POLICY = RoutingPolicy()

residencies = st.none() | st.builds(
    lambda inference, storage: {"inference": inference, "storage": storage},
    st.lists(st.sampled_from(PLACES), min_size=1, max_size=2, unique=True),
    st.sampled_from(PLACES),
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    router: dict[str, Any] = {}
    if (places := draw(residencies)) is not None:
        router["data_residency"] = places
    if draw(st.booleans()):
        router["quality"] = {"default": draw(st.sampled_from([0.2, 0.5, 0.9]))}
    if draw(st.booleans()):
        router["modalities"] = ["image"]
    info: dict[str, Any] = {}
    if draw(st.booleans()):
        info["max_input_tokens"] = draw(st.integers(1, 200))
    if draw(st.booleans()):
        info["max_output_tokens"] = draw(st.integers(1, 200))
    return entry(
        draw(st.sampled_from(NAMES)),
        cost=draw(st.sampled_from([None, 0.0, 1e-6, 2e-6])),
        params={"order": draw(st.integers(0, 2))},
        info=info,
        router=router,
    )


@st.composite
def catalogs(draw: st.DrawFn) -> Any:
    models = draw(st.lists(entries(), min_size=1, max_size=6))
    names = sorted({model["model_name"] for model in models})
    follow = draw(st.dictionaries(st.sampled_from(names), st.lists(st.sampled_from(names), max_size=3), max_size=3))
    return catalog_of(
        *models,
        fallbacks=[{name: others} for name, others in follow.items()],
        default_fallbacks=draw(st.lists(st.sampled_from(names), max_size=2)),
    )


jobs = st.builds(
    RoutableJob,
    id=st.uuids(),
    epoch=st.integers(0, 5),
    spec=st.builds(
        JobSpec,
        model=st.sampled_from((*NAMES, AUTO)),
        tokens_in=st.integers(1, 300),
        tokens_out=st.none() | st.integers(1, 300),
        features=st.sampled_from([(), ("vision",), ("tools",)]),
        residency=st.none() | st.sampled_from(PLACES),
        quality=st.none() | st.sampled_from([0.1, 0.5, 0.95]),
        excluded=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    ),
)
counters = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Counters,
        in_flight=st.integers(0, 5),
        wait_s=st.floats(0, 1000),
        paused_s=st.floats(0, 10),
        room=st.integers(0, 5),
        slots_short=st.booleans(),
    ),
)


def chosen(job: RoutableJob, catalog: Any, live: Any = None) -> Decision:
    return route(job, catalog=catalog, counters=live or {}, policy=POLICY)


def eligible(decision: Decision) -> set[str]:
    return {candidate.model for candidate in decision.candidates if candidate.eligible}


@given(jobs, catalogs(), counters)
def test_a_rejected_model_is_never_chosen(job: RoutableJob, catalog: Any, live: Any) -> None:
    decision = chosen(job, catalog, live)
    if decision.model_id is None:
        assert not eligible(decision)
        return
    assert decision.model_id in eligible(decision)
    model = catalog.by_id[decision.model_id]
    assert [constraint(job.spec, model) for constraint in CONSTRAINTS] == [None] * len(CONSTRAINTS)


@given(jobs, catalogs(), counters)
def test_the_same_inputs_give_the_same_decision(job: RoutableJob, catalog: Any, live: Any) -> None:
    assert chosen(job, catalog, live) == chosen(job, catalog, dict(reversed(list(live.items()))))


@given(jobs, catalogs(), st.data())
def test_a_tighter_constraint_never_widens_the_choice(job: RoutableJob, catalog: Any, data: st.DataObject) -> None:
    spec = job.spec
    tighter = [
        replace(spec, tokens_in=spec.tokens_in + data.draw(st.integers(0, 100))),
        replace(spec, tokens_out=(spec.tokens_out or 1) + data.draw(st.integers(0, 100))),
        replace(spec, features=tuple({*spec.features, "vision"})),
        replace(spec, residency=spec.residency or "eu"),
        replace(spec, quality=max(spec.quality or 0.0, 0.5)),
        replace(spec, excluded=(*spec.excluded, "a")),
    ]
    before = eligible(chosen(job, catalog))
    for harder in tighter:
        assert eligible(chosen(replace(job, spec=harder), catalog)) <= before


@given(jobs, catalogs(), st.sampled_from(PLACES))
def test_a_job_with_a_residency_reaches_no_other_place_and_no_unknown_one(
    job: RoutableJob, catalog: Any, place: str
) -> None:
    decision = chosen(replace(job, spec=replace(job.spec, residency=place)), catalog)
    for model_id in eligible(decision):
        places = catalog.by_id[model_id].residency
        assert places is not None
        assert places.inference == places.storage == {place}


@given(jobs, catalogs(), counters)
def test_a_fallback_is_chosen_only_when_every_earlier_rank_is_out(job: RoutableJob, catalog: Any, live: Any) -> None:
    decision = chosen(job, catalog, live)
    if decision.model_id is None:
        return
    (rank, *_) = sorted(each.rank for each in decision.candidates if each.model == decision.model_id and each.eligible)
    assert not [each for each in decision.candidates if each.eligible and each.rank < rank]
    assert decision.reason == ("cheapest_available" if rank == 0 else "fallback")


@given(jobs, catalogs(), counters)
def test_what_failed_before_is_never_chosen_again(job: RoutableJob, catalog: Any, live: Any) -> None:
    seen = set[str]()
    while (decision := chosen(job, catalog, live)).model_id is not None:
        assert decision.model_id not in seen
        assert decision.model_id not in job.spec.excluded
        seen.add(decision.model_id)
        job = replace(job, spec=replace(job.spec, excluded=(*job.spec.excluded, decision.model_id)))
    assert len(seen) <= len(catalog.models)


@given(jobs, catalogs(), counters)
def test_every_model_that_was_looked_at_says_why_it_is_out_or_what_it_scored(
    job: RoutableJob, catalog: Any, live: Any
) -> None:
    for candidate in chosen(job, catalog, live).candidates:
        assert candidate.eligible == (candidate.score is not None) == (candidate.reason is None)
        assert {"model", "eligible", "rank"} <= candidate.as_json().keys()


CHEAP_AND_DEAR = catalog_of(entry("cheap", cost=1e-9), entry("dear", cost=2e-9), entry("free-of-price", cost=None))
JOB = RoutableJob(id=UUID(int=1), epoch=0, spec=JobSpec(model=AUTO, tokens_in=100, tokens_out=100))


def busy(wait_s: float) -> Counters:
    return Counters(in_flight=0, wait_s=wait_s, paused_s=0.0, room=1, slots_short=False)


def test_the_cheapest_is_chosen_until_waiting_for_it_costs_more_than_it_saves() -> None:
    assert chosen(JOB, CHEAP_AND_DEAR).model_id == "cheap"
    assert chosen(JOB, CHEAP_AND_DEAR, {"cheap": busy(1.0)}).model_id == "cheap"
    assert chosen(JOB, CHEAP_AND_DEAR, {"cheap": busy(10.0)}).model_id == "dear"


def test_a_model_without_a_price_is_behind_every_priced_one() -> None:
    decision = chosen(replace(JOB, spec=replace(JOB.spec, excluded=("cheap",))), CHEAP_AND_DEAR)
    assert decision.model_id == "dear"
    decision = chosen(replace(JOB, spec=replace(JOB.spec, excluded=("cheap", "dear"))), CHEAP_AND_DEAR)
    assert decision.model_id == "free-of-price"


def test_equal_models_share_the_jobs() -> None:
    twins = catalog_of(entry("twin"), entry("twin"))
    jobs = [replace(JOB, id=UUID(int=number), spec=replace(JOB.spec, model="twin")) for number in range(200)]
    picks = [chosen(job, twins).model_id for job in jobs]
    assert 60 < picks.count("twin") < 140
    assert 60 < picks.count("twin-2") < 140


def test_auto_prefers_a_lower_order_whatever_it_costs() -> None:
    ordered = catalog_of(entry("dear", cost=1.0), entry("cheap", cost=0.0, params={"order": 1}))
    assert chosen(JOB, ordered).model_id == "dear"


def test_an_unknown_model_is_told_apart_from_one_that_may_not_be_used() -> None:
    spec = replace(JOB.spec, model="nobody")
    assert chosen(replace(JOB, spec=spec), CHEAP_AND_DEAR).reason == "unknown_model"
    spec = replace(JOB.spec, model="cheap", excluded=("cheap",))
    assert chosen(replace(JOB, spec=spec), CHEAP_AND_DEAR).reason == "no_eligible_model"


def test_a_policys_hash_names_its_content() -> None:
    assert RoutingPolicy().hash == POLICY.hash
    assert replace(POLICY, wait_usd_per_s=1.0).hash != POLICY.hash
