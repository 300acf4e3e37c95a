"""A batch as columns, limits and a goal: what the planner reckons is what the router will decide."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.assignment.choice import choices, choose
from router_service.assignment.plan import Infeasible, Plan
from router_service.jobs.preferences import Preferences
from router_service.jobs.spec import JobSpec, RoutableJob
from router_service.routing.constraints import Rejection
from router_service.routing.counters import Counters, RateUse, Speed
from router_service.routing.decision import route
from router_service.routing.insight import Estimate, Insight
from router_service.routing.methods import Methods
from router_service.store.plans import Others
from tests.support.catalogs import catalog_of, entry
from tests.support.counters import counters_of
from workers.assigning import Dealt, Work, capacity_of, columns_of, dealt, dealt_instead, goal_of, latencies_of

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog, Model
    from router_service.routing.question import Question

EU = {"data_residency": {"inference": "eu", "storage": "eu"}}
QUIET = Counters(in_flight=0, wait_s=0.0, paused_s=0.0, room=10)


def catalog(**router: Any) -> Catalog:
    return catalog_of(
        entry("small", cost=1e-7, params={"rpm": 600, "max_parallel_requests": 9}, router=EU | {"latency_ms_p50": 300}),
        entry("middle", cost=5e-7, info={"max_input_tokens": 500}, params={"max_parallel_requests": 9}),
        entry("large", cost=2e-6, params={"max_parallel_requests": 99}, router=EU | {"latency_ms_p50": 900}),
        router=router or {"policies": {"default": {"quality_target": 0.9}}},
    )


def jobs(count: int = 60, **changes: Any) -> list[RoutableJob]:
    """Of two sizes, a third of them for the EU."""
    specs = [
        JobSpec(model="auto", tokens_in=100 + 600 * (n % 2), tokens_out=50, residency="eu" if n % 3 == 0 else None)
        for n in range(count)
    ]
    return [
        RoutableJob(id=UUID(int=n + 1), epoch=0, spec=replace(spec, **changes), tenant_id="t")
        for n, spec in enumerate(specs)
    ]


def insight(number: int) -> Insight:
    """Small is as good as large on the easy ones."""
    hardness = (number * 7 % 10) / 10
    return Insight(
        estimates={
            "small": Estimate(quality=0.95 - 0.8 * hardness, tokens_out=30),
            "middle": Estimate(quality=0.95 - 0.4 * hardness),
            "large": Estimate(quality=0.95 - 0.1 * hardness),
        }
    )


def work(given: list[RoutableJob] | None = None, **changes: Any) -> Work:
    wanted = jobs() if given is None else given
    whole = Work(
        jobs=wanted,
        known={job.id: insight(number) for number, job in enumerate(wanted)},
        total=len(wanted),
        catalog=catalog(),
        counters=dict.fromkeys(("small", "middle", "large"), QUIET),
        tenant_id="t",
        left_s=600.0,
        is_hurried=True,
    )
    return replace(whole, **changes)


def planned(given: Work) -> Plan:
    found = dealt(given, None)
    assert isinstance(found, Dealt), found
    assert found.note is None
    return found.plan


@pytest.mark.parametrize("changes", [{}, {"left_s": 4.0}, {"budget_usd": 8e-3}])
def test_the_router_chooses_for_each_job_what_the_plan_counts_on(changes: dict[str, Any]) -> None:
    given = work(**changes)
    plan = planned(given)
    columns = columns_of(given)
    measured = {name: replace(QUIET, latency_s=7.0) for name in given.counters}  # later than the plan
    prices = replace(plan.prices, latencies=latencies_of(given.catalog, given.counters))
    expected = [columns.models[at] for at in choices(plan, columns)]
    chosen = [
        route(
            job,
            catalog=given.catalog,
            counters=measured,
            policy=given.catalog.policy_of(job),
            insight=replace(given.known[job.id], prices=prices),
        ).model_id
        for job in given.jobs
    ]
    assert chosen == expected
    assert len(set(chosen)) > 1


@given(live=counters_of(("small", "middle", "large")), target=st.sampled_from([0.7, 0.9, 0.99]))
@settings(max_examples=40, deadline=None)
def test_whatever_the_models_are_doing_each_job_goes_where_the_plan_counts_on_it_unless_that_is_broken(
    live: dict[str, Counters], target: float
) -> None:
    whole = work(catalog=catalog(policies={"default": {"quality_target": target}}), counters=live, left_s=3600.0)
    found = dealt(whole, None)
    if isinstance(found, Infeasible):
        found = dealt_instead(whole, found, None)
    assert isinstance(found, Dealt), found
    prices = replace(found.plan.prices, latencies=latencies_of(whole.catalog, live))
    columns = columns_of(whole)
    for row, job in enumerate(whole.jobs):
        decision = route(
            job,
            catalog=whole.catalog,
            counters=live,
            policy=whole.catalog.policy_of(job),
            insight=replace(whole.known[job.id], prices=prices),
        )
        wanted = choose(found.plan, columns.job(row))
        open_now = [name for name in wanted if name not in live or not live[name].broken_s]
        if open_now:
            assert decision.model_id == open_now[0]
        else:
            assert decision.model_id is None or decision.model_id not in wanted


def test_a_model_that_may_not_do_a_job_is_no_column_of_it() -> None:
    columns = columns_of(work())
    middle = columns.models.index("middle")
    for row, job in enumerate(jobs()):
        assert columns.eligible[row, middle] == (job.spec.residency is None and job.spec.tokens_in <= 500)


def test_what_a_policy_names_beyond_what_is_built_in_is_asked_as_the_router_asks_it() -> None:
    """A constraint by the very size, and one that is not installed: the latter lets no model through."""
    strict = catalog(policies={"default": {"constraints": ["acme:small-talk"]}})

    def small_talk(asked: Question, model: Model) -> Rejection | None:
        return Rejection(reason="too long") if model.id == "small" and asked.spec.tokens_in > 100 else None

    given = work(catalog=strict, methods=Methods(constraints={"acme:small-talk": small_talk}))
    columns = columns_of(given)
    small = columns.models.index("small")
    assert [bool(each) for each in columns.eligible[:, small]] == [job.spec.tokens_in <= 100 for job in given.jobs]
    assert isinstance(dealt(work(catalog=strict), None), Infeasible)


def test_wishes_that_depend_on_the_very_size_are_looked_at_job_by_job() -> None:
    wishes = Preferences(max_cost_usd=400 * 5e-7)  # 150 tokens fit at the middling model, 750 do not
    columns = columns_of(work(jobs(preferences=wishes, residency=None)))
    middle, large = columns.models.index("middle"), columns.models.index("large")
    assert {bool(each) for each in columns.eligible[::2, middle]} == {True}
    assert not columns.eligible[:, large].any()


def test_a_model_without_a_price_is_for_jobs_that_have_no_other() -> None:
    free = catalog_of(entry("priced"), entry("unpriced", cost=None, router=EU))
    columns = columns_of(work(catalog=free, counters={}, known={}))
    unpriced = columns.models.index("unpriced")
    assert [bool(each) for each in columns.eligible[:, unpriced]] == [job.spec.residency == "eu" for job in jobs()]


def test_a_failing_model_is_left_out_and_a_paused_one_opens_later() -> None:
    failing = work(counters={"small": replace(QUIET, is_failing=True), "middle": QUIET, "large": QUIET})
    columns = columns_of(failing)
    assert not columns.eligible[:, columns.models.index("small")].any()
    paused = work(counters={"small": replace(QUIET, paused_s=33.0), "middle": QUIET, "large": QUIET})
    opens = {limit.name: limit.opens_in_s for limit in capacity_of(paused).limits}
    assert opens["rpm of small"] == opens["slots of small"] == 33.0
    assert opens["slots of large"] == 0.0


def beside(model_id: str, jobs: int, *, tenant_id: str = "other", parties: int = 1) -> Others:
    return Others(model_id=model_id, tenant_id=tenant_id, parties=parties, jobs=jobs)


@pytest.mark.parametrize(("own", "others", "share", "slots"), [(0, 8, 0.5, 5), (8, 0, 0.0, 9), (4, 4, 0.25, 6)])
def test_what_others_use_is_theirs_and_what_the_batch_uses_is_not_taken_off(
    own: int, others: int, share: float, slots: int
) -> None:
    busy = replace(QUIET, in_flight=6, waiting=2, rates=(RateUse(name="rpm", limit=600, used=300),))
    theirs = [beside("small", others)] if others else []
    given = work(counters={"small": busy}, own={"small": own}, others=theirs)
    limits = {limit.name: limit for limit in capacity_of(given).limits}
    assert limits["rpm of small"].rate_per_s == pytest.approx(10 * (1 - share))
    assert limits["slots of small"].rate_per_s == slots
    over = replace(busy, in_flight=0, waiting=0)  # a batch that has just ended
    assert capacity_of(work(counters={"small": over})).limits[0].rate_per_s == pytest.approx(10)


@pytest.mark.parametrize(
    ("others", "fair"),
    [
        ([beside("small", 9)], 1 / 2),
        ([beside("small", 9), beside("small", 3, tenant_id="heavy")], 1 / 5),
        ([beside("small", 9, tenant_id="t", parties=2), beside("small", 9)], 1 / 6),
    ],
)
def test_a_batch_without_a_job_at_a_model_counts_on_its_fair_share_of_it_however_full_it_is(
    others: list[Others], fair: float
) -> None:
    full = replace(QUIET, in_flight=9, room=0, rates=(RateUse(name="rpm", limit=600, used=600),))
    weighty = catalog(policies={"default": {"quality_target": 0.9}}, tenants={"heavy": {"weight": 3}})
    given = work(catalog=weighty, counters={"small": full}, others=others)
    limits = {limit.name: limit for limit in capacity_of(given).limits}
    assert limits["rpm of small"].rate_per_s == pytest.approx(10 * fair)
    assert limits["slots of small"].rate_per_s == math.ceil(9 * fair)


def test_what_others_use_of_groups_and_the_tenants_other_work_of_its_own_limits_is_theirs_too() -> None:
    grouped = catalog_of(
        entry("a", params={"rpm": 60, "rpd": 1000}, router={"limit_group": "g"}),
        entry("b", params={"rpm": 60, "rpd": 1000}, router={"limit_group": "g"}),
        router={
            "tenants": {"t": {"max_parallel_requests": 8, "rpm": 120}, "other": {"weight": 4}},
        },
    )
    used = (RateUse(name="rpd", limit=1000, used=900), RateUse(name="rpm", limit=60, used=60))
    shared = {
        "group:g": replace(QUIET, rates=used),
        "tenant:t": replace(QUIET, in_flight=4, rates=(RateUse(name="rpm", limit=120, used=30),)),
    }
    others = [beside("a", 4), beside("b", 4, tenant_id="t")]
    limits = {
        limit.name: limit
        for limit in capacity_of(work(catalog=grouped, counters={}, shared=shared, others=others)).limits
    }
    assert limits["rpm of group g"].rate_per_s == pytest.approx(1 / 5 / 2)
    assert limits["rpd of group g"].burst == pytest.approx(100)
    assert limits["rpm of the tenant"].rate_per_s == pytest.approx(2 * 0.75)
    assert limits["slots of the tenant"].rate_per_s == 4


def test_a_limit_that_was_lowered_holds_and_so_do_those_of_group_tenant_and_batch() -> None:
    grouped = catalog_of(
        entry("a", params={"rpm": 60}, router={"limit_group": "g"}),
        entry("b", params={"rpm": 60}, router={"limit_group": "g"}),
        router={"tenants": {"t": {"tpm": 6000}}},
    )
    lowered = replace(QUIET, rates=(RateUse(name="rpm", limit=30, used=0),))
    limits = {
        limit.name: limit for limit in capacity_of(work(catalog=grouped, counters={"a": lowered}, slots=3)).limits
    }
    assert limits["rpm of a"].rate_per_s == 0.5
    assert limits["rpm of group g"].models == ("a", "b")
    assert limits["tpm of the tenant"].rate_per_s == 100
    assert limits["slots of the batch"].rate_per_s == 3


def test_the_target_is_a_share_of_the_strongest_model_whatever_the_best_mixture_is() -> None:
    given = work()
    columns = columns_of(given)
    goal = goal_of(given, columns, 60)
    strongest = sum(insight(number).estimates["large"].quality or 0 for number in range(60)) / 60
    plan = planned(given)
    assert plan.quality == pytest.approx(0.9 * strongest, rel=0.01)
    assert goal.usd_per_s == 0
    assert goal_of(replace(given, is_hurried=False), columns, 60).usd_per_s == pytest.approx(30 * 1e-7)


def test_a_price_of_quality_leads_to_the_quality_that_it_buys() -> None:
    cheap, dear = (planned(work(catalog=catalog(policies={"default": {"quality_usd": usd}}))) for usd in (1e-6, 1e-1))
    assert cheap.quality < dear.quality
    assert cheap.shares["small"] > 0.6 > dear.shares["small"]


def test_a_sample_stands_for_the_whole_batch() -> None:
    whole, sample = planned(work(jobs(600))), planned(work(jobs(60), total=600))
    assert sample.jobs == whole.jobs == 600
    assert sample.cost_usd == pytest.approx(whole.cost_usd, rel=0.05)
    assert sample.finish_s == pytest.approx(whole.finish_s, rel=0.1)


def test_jobs_that_no_model_may_do_are_left_out_and_all_of_them_are_nothing_to_plan() -> None:
    some = [*jobs(30), *(replace(job, id=UUID(int=900 + n)) for n, job in enumerate(jobs(3, residency="mars")))]
    assert planned(work(some)).jobs == 30
    assert isinstance(dealt(work(jobs(5, residency="mars")), None), Infeasible)


def test_jobs_that_every_model_does_too_late_are_left_out_with_a_note_and_what_they_cost_is_kept_for_them() -> None:
    """At 0.02 s a token the long ones take 80 s; the others have a plan, a budget and a pace all the same."""
    speed = replace(QUIET, speed=Speed(base_s=0.1, token_s=0.02))
    long = [
        replace(job, id=UUID(int=900 + n), spec=replace(job.spec, tokens_out=4000)) for n, job in enumerate(jobs(3))
    ]
    state = dict.fromkeys(("small", "middle", "large"), speed)
    given = replace(work([*jobs(60), *long], counters=state, left_s=60.0, budget_usd=0.02), known={})
    found = dealt(given, None)
    assert isinstance(found, Dealt), found
    assert found.note is not None
    assert found.note.startswith("3 jobs take longer than the 60 s that are left, the longest 80.1 s")
    assert found.plan.jobs == 60
    least_usd = sum(1e-7 * (job.spec.tokens_in + 4000) for job in long)
    assert found.plan.cost_usd <= 0.02 - least_usd
    again = dealt(given, found.plan)
    assert isinstance(again, Dealt)
    assert again.note == found.note
    assert isinstance(dealt(replace(given, left_s=0.05), None), Infeasible)


def test_a_plan_that_still_holds_is_kept() -> None:
    given = work()
    plan = planned(given)
    assert dealt(work(left_s=500.0), plan) == Dealt(plan=plan)
    slower = replace(QUIET, speed=Speed(base_s=0.5, token_s=0.1))
    hurried = work(counters={"small": slower, "middle": QUIET, "large": QUIET}, left_s=8.0)
    again = dealt(hurried, plan)
    assert isinstance(again, Dealt)
    assert again.plan.hash != plan.hash
    assert math.isfinite(again.plan.finish_s)


def test_a_time_that_is_too_short_is_kept_as_nearly_as_can_be_within_the_budget() -> None:
    slower = replace(QUIET, speed=Speed(base_s=0.5, token_s=0.1))
    at_leisure = work(counters={"small": slower, "middle": QUIET, "large": QUIET})
    given = replace(at_leisure, left_s=1e-3, budget_usd=1.0)
    why = dealt(given, None)
    assert isinstance(why, Infeasible)
    assert why.least_finish_s is not None
    assert not why.needs_money
    found = dealt_instead(given, why, None)
    assert isinstance(found, Dealt)
    assert found.note == str(why)
    assert found.plan.finish_s < planned(at_leisure).finish_s
    assert found.plan.cost_usd <= 1.0


def test_a_budget_that_is_too_small_is_exceeded_by_as_little_as_can_be() -> None:
    given = work(budget_usd=1e-7)
    why = dealt(given, None)
    assert isinstance(why, Infeasible)
    assert why.needs_money
    assert why.least_cost_usd is not None
    found = dealt_instead(given, why, None)
    assert isinstance(found, Dealt)
    assert found.plan.cost_usd <= why.least_cost_usd * 1.02


@pytest.mark.parametrize("used", [0, 20])
def test_more_jobs_than_a_limit_per_day_lets_through_are_planned_over_days(used: int) -> None:
    """Nothing that could be asked for in its place helps within the window; a budget is kept all the same."""
    scarce = catalog_of(entry("only", params={"rpd": 20}), router={"policies": {"default": {"plan": True}}})
    state = replace(QUIET, rates=(RateUse(name="rpd", limit=20, used=used),))
    given = work(jobs(residency=None), catalog=scarce, counters={"only": state}, known={}, budget_usd=1.0)
    why = dealt(given, None)
    assert isinstance(why, Infeasible)
    assert (why.least_finish_s, why.least_cost_usd) == (None, None)
    found = dealt_instead(given, why, None)
    assert isinstance(found, Dealt), found
    assert found.plan.jobs == 60
    assert found.note == str(why)
    assert "rpd of only" in found.note


def test_where_no_time_and_no_money_would_help_nothing_is_planned() -> None:
    why = Infeasible(broken=("the jobs' number",))
    assert dealt_instead(work(), why, None) is why
