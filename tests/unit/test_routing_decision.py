"""`route` over random catalogs and jobs: what must hold whatever they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.catalog.policies import RoutingPolicy
from router_service.jobs.preferences import Safety
from router_service.jobs.spec import AUTO, Fallback, JobSpec, RoutableJob
from router_service.routing.constraints import rejection
from router_service.routing.counters import Counters
from router_service.routing.decision import Decision, Outlook, route
from router_service.routing.insight import NOTHING
from router_service.routing.question import Question
from tests.support.catalogs import catalog_of, entry
from tests.support.counters import counters_of

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
    if draw(st.booleans()):
        router["safety"] = draw(st.sampled_from(["low", "high"]))
    if draw(st.booleans()):
        router |= {"trains_on_data": draw(st.booleans()), "retention_days": draw(st.sampled_from([0, 30]))}
    if draw(st.booleans()):
        router["languages"] = draw(st.sampled_from([["de"], ["en", "fr"]]))
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
    follow = st.dictionaries(st.sampled_from(names), st.lists(st.sampled_from(names), max_size=3), max_size=3)
    chains = {
        key: [{name: others} for name, others in draw(follow).items()]
        for key in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
    }
    return catalog_of(*models, **chains, default_fallbacks=draw(st.lists(st.sampled_from(names), max_size=2)))


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
        fallback=st.sampled_from(Fallback),
    ),
    left_s=st.none() | st.floats(0, 1000),
)
counters = counters_of(NAMES)


TIGHTER: list[dict[str, Any]] = [
    {"ignore": ("a", "b")},
    {"only": ("a", "c")},
    {"order": ("b",), "allow_fallbacks": False},
    {"max_cost_usd": 1e-4},
    {"max_input_cost": 1e-6},
    {"safety": Safety.MEDIUM},
    {"no_training": True},
    {"no_retention": True},
    {"language": "de"},
]


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
    assert rejection(Question.of(job, policy=POLICY, insight=NOTHING), model) is None


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
        *(replace(spec, preferences=replace(spec.preferences, **wish)) for wish in TIGHTER),
    ]
    if spec.fallback is Fallback.GENERAL:  # a chain of another kind begins at what gave up
        tighter.append(replace(spec, excluded=(*spec.excluded, "a")))
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
    assert not [each for each in decision.candidates if each.eligible and each.rank < rank and not each.is_failing]
    asked = "cheapest_available" if job.spec.model == AUTO else "asked_for"
    assert decision.reason == (asked if rank == 0 else "fallback")


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


@given(jobs, catalogs(), counters)
def test_the_outlook_says_why_nothing_was_chosen(job: RoutableJob, catalog: Any, live: Any) -> None:
    decision = chosen(job, catalog, live)
    reasons = {each.reason for each in decision.candidates}
    assert (decision.model_id is not None) == (decision.outlook is Outlook.GO)
    if decision.outlook is Outlook.WAIT:
        assert "breaker" in reasons
    if decision.outlook is Outlook.LATE:
        assert "deadline" in reasons
        assert "breaker" not in reasons
    if decision.outlook is Outlook.NEVER:
        assert chosen(replace(job, left_s=None), catalog).outlook is Outlook.NEVER


@given(jobs, catalogs(), counters)
def test_a_refused_content_reaches_only_models_of_a_chain_that_the_catalog_names_for_that(
    job: RoutableJob, catalog: Any, live: Any
) -> None:
    refused = replace(job, spec=replace(job.spec, fallback=Fallback.CONTENT_POLICY))
    chains = catalog.fallbacks.get(Fallback.CONTENT_POLICY, {})
    named = {model.id for others in chains.values() for other in others for model in catalog.named(other)}
    assert eligible(chosen(refused, catalog, live)) <= named


def busy(wait_s: float, **state: Any) -> Counters:
    return Counters(in_flight=0, wait_s=wait_s, paused_s=0.0, room=1, **state)


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


CHAINED = catalog_of(
    *map(entry, ("asked", "next", "long", "longer", "other", "another", "stray")),
    fallbacks=[{"asked": ["next"]}],
    context_window_fallbacks=[{"asked": ["long", "longer"]}, {"stray": ["longer"]}],
    content_policy_fallbacks=[{"asked": ["other", "another"]}, {"next": ["stray"]}],
)


@pytest.mark.parametrize(
    ("fallback", "excluded", "model"),
    [
        ("general", (), "asked"),
        ("general", ("asked",), "next"),
        ("general", ("asked", "next"), None),
        ("context_window", ("asked",), "long"),
        ("context_window", ("asked", "long"), "longer"),
        ("context_window", ("asked", "long", "longer"), None),
        ("content_policy", ("asked",), "other"),
        ("content_policy", ("asked", "other"), "another"),
        ("content_policy", ("asked", "other", "another"), None),
        ("content_policy", ("asked", "next"), "other"),
    ],
)
def test_each_kind_of_failure_follows_its_chain_to_the_end(
    fallback: str, excluded: tuple[str, ...], model: str | None
) -> None:
    spec = JobSpec(model="asked", tokens_in=1, excluded=excluded, fallback=Fallback(fallback))
    decision = chosen(replace(JOB, spec=spec), CHAINED)
    assert decision.model_id == model
    if model not in {"asked", None}:
        assert decision.reason == "fallback"


@pytest.mark.parametrize(
    ("asked", "fallback", "excluded", "model"),
    [
        ("auto", "context_window", ("stray",), "longer"),
        ("auto", "content_policy", ("next",), "stray"),
        ("auto", "content_policy", ("next", "stray"), None),
        ("auto", "content_policy", ("long",), None),
        ("long", "content_policy", ("long",), None),
        ("other", "context_window", ("other", "stray"), "longer"),
    ],
)
def test_a_chain_of_the_model_that_gave_up_is_followed_where_the_one_asked_for_has_none(
    asked: str, fallback: str, excluded: tuple[str, ...], model: str | None
) -> None:
    spec = JobSpec(model=asked, tokens_in=1, excluded=excluded, fallback=Fallback(fallback))
    decision = chosen(replace(JOB, spec=spec), CHAINED)
    assert decision.model_id == model
    assert decision.outlook == ("never" if model is None else "go")
    assert decision.reason == ("no_eligible_model" if model is None else "fallback")


def test_what_is_too_long_for_a_model_without_a_chain_goes_along_the_general_one() -> None:
    catalog = catalog_of(
        entry("small"), entry("big"), entry("far"), default_fallbacks=["far"], fallbacks=[{"small": ["big"]}]
    )
    spec = JobSpec(model="small", tokens_in=1, excluded=("small",), fallback=Fallback.CONTEXT_WINDOW)
    assert chosen(replace(JOB, spec=spec), catalog).model_id == "big"
    spec = replace(spec, model="big", excluded=("big",))
    assert chosen(replace(JOB, spec=spec), catalog).model_id == "far"


def test_what_a_model_refused_is_not_shown_to_its_twin() -> None:
    catalog = catalog_of(entry("twin"), entry("twin"), entry("c"), content_policy_fallbacks=[{"twin": ["c"]}])
    spec = JobSpec(model="twin", tokens_in=1, excluded=("twin",), fallback=Fallback.CONTENT_POLICY)
    assert eligible(chosen(replace(JOB, spec=spec), catalog)) == {"c"}


TWO = catalog_of(entry("first"), entry("second"), fallbacks=[{"first": ["second"]}])
ASKED = replace(JOB, spec=JobSpec(model="first", tokens_in=1))


def test_a_failing_model_is_passed_by_where_another_may_do_the_job() -> None:
    failing = busy(0.0, is_failing=True)
    away = chosen(ASKED, TWO, {"first": failing})
    assert (away.model_id, away.reason) == ("second", "fallback")
    assert [each.is_failing for each in away.candidates] == [True, None]
    assert chosen(ASKED, TWO, {"first": failing, "second": failing}).model_id == "first"
    alone = replace(ASKED, spec=replace(ASKED.spec, excluded=("second",)))
    assert (chosen(alone, TWO, {"first": failing}).model_id, chosen(alone, TWO, {}).reason) == ("first", "asked_for")


def test_a_job_that_has_begun_its_tries_on_a_failing_model_ends_them_there() -> None:
    begun = replace(ASKED, tried="first")
    assert chosen(begun, TWO, {"first": busy(0.0, is_failing=True)}).model_id == "first"
    assert chosen(begun, TWO, {"first": busy(0.0, broken_s=4.0)}).model_id == "second"


def test_an_open_breaker_sends_a_job_to_a_fallback_that_is_free_and_else_it_waits() -> None:
    broken = busy(0.0, broken_s=4.0)
    away = chosen(ASKED, TWO, {"first": broken})
    assert (away.model_id, away.reason, away.outlook) == ("second", "fallback", "go")
    assert [(each.reason, each.bound) for each in away.candidates] == [("breaker", 4.0), (None, None)]
    both = chosen(ASKED, TWO, {"first": broken, "second": broken})
    assert (both.model_id, both.reason, both.outlook) == (None, "breaker", "wait")
    alone = chosen(replace(ASKED, spec=replace(ASKED.spec, excluded=("second",))), TWO, {"first": broken})
    assert alone.outlook == "wait"


def test_a_broken_model_that_may_not_do_the_job_is_not_waited_for() -> None:
    spec = replace(ASKED.spec, excluded=("first", "second"))
    assert chosen(replace(ASKED, spec=spec), TWO, {"first": busy(0.0, broken_s=4.0)}).outlook == "never"


@pytest.mark.parametrize(
    ("left_s", "state", "outlook"),
    [
        (None, {"least_s": 5.0}, "go"),
        (4.0, {"least_s": None, "latency_s": 9.0}, "go"),
        (5.0, {"least_s": 5.0, "latency_s": 9.0}, "go"),
        (4.9, {"least_s": 5.0}, "late"),
        (6.0, {"least_s": 5.0, "broken_s": 4.0}, "wait"),
        (4.9, {"least_s": 5.0, "broken_s": 4.0}, "late"),
    ],
)
def test_a_job_that_cannot_be_done_in_time_is_told_apart(left_s: float | None, state: Any, outlook: str) -> None:
    """However long it may have to wait: a wait may turn out shorter, and the mean of calls says nothing of the next one."""
    decision = chosen(replace(ASKED, left_s=left_s), catalog_of(entry("first")), {"first": busy(2.0, **state)})
    assert decision.outlook == outlook
    if outlook == "late":
        assert (decision.reason, decision.candidates[0].bound) == ("deadline", 5.0)


@pytest.mark.parametrize(("limit", "outlook"), [(None, "late"), (1000, "late"), (400, "late"), (100, "go")])
def test_a_short_answer_may_come_sooner_than_any_that_came_of_late(limit: int | None, outlook: str) -> None:
    job = replace(ASKED, spec=replace(ASKED.spec, tokens_out=limit), left_s=1.0)
    live = {"first": busy(0.0, least_s=5.0, tokens_out=1000.0)}
    assert chosen(job, catalog_of(entry("first")), live).outlook == outlook


def test_a_job_in_a_hurry_goes_to_a_fallback_that_is_quick_enough() -> None:
    live = {"first": busy(10.0, latency_s=5.0), "second": busy(0.0, latency_s=5.0)}
    assert chosen(replace(ASKED, left_s=8.0), TWO, live).model_id == "second"
    live["second"] = busy(9.0, latency_s=5.0)
    assert chosen(replace(ASKED, left_s=8.0), TWO, live).model_id == "first", "both will probably be late"


def test_a_pause_beyond_the_deadline_sends_a_job_to_a_fallback_however_quick_the_model_is() -> None:
    live = {"first": busy(20.0), "second": busy(0.0)}
    assert chosen(replace(ASKED, left_s=8.0), TWO, live).model_id == "second"
    assert chosen(replace(ASKED, left_s=30.0), TWO, live).model_id == "first"


def test_a_model_that_was_asked_for_by_its_id_was_asked_for() -> None:
    catalog = catalog_of(entry("a", info={"id": "a-1"}))
    decision = chosen(replace(JOB, spec=replace(JOB.spec, model="a-1")), catalog)
    assert (decision.model_id, decision.reason) == ("a-1", "asked_for")
