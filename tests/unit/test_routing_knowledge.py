"""What quality costs is measured for each policy on what each predictor expects; a job goes by what was measured on its own."""

from __future__ import annotations

from uuid import UUID

import pytest

from router_service.jobs.preferences import Preferences
from router_service.jobs.spec import JobSpec, RoutableJob
from router_service.routing.calibration import FEWEST_JOBS, Curve, Offer, Point
from router_service.routing.insight import NOTHING, Worth
from router_service.routing.knowledge import Basis, Choice, Knowledge, basis_of, measured, offers_of
from router_service.signals.signals import Signals
from tests.support.catalogs import catalog_of, entry

OFFERS = {"small": Offer(1e-4, 0.6), "big": Offer(1e-3, 0.9)}
CATALOG = catalog_of(
    entry("small", cost=1e-7, router={"quality": {"default": 0.6}}),
    entry(
        "big", cost=1e-6, router={"quality": {"default": 0.9}, "data_residency": {"inference": "eu", "storage": "eu"}}
    ),
    router={"policies": {"default": {"quality_target": 0.9}}},
)
POLICY = CATALOG.policies["default"]


def choices(policy: str, predictor: str, catalog: str, jobs: int) -> list[Choice]:
    return [Choice(Basis(policy, predictor), catalog, OFFERS)] * jobs


def curve_worth(usd: float) -> Curve:
    return Curve(points=(Point(Worth(usd), 1.0, 0.0),), jobs=FEWEST_JOBS)


def job_of(**spec: object) -> RoutableJob:
    asked = JobSpec(model="auto", tokens_in=1000, tokens_out=100, **spec)  # type: ignore[arg-type]
    return RoutableJob(id=UUID(int=7), epoch=0, spec=asked, tenant_id="acme")


def read_by(predictor: str) -> Signals:
    return Signals(versions={"predictor": predictor})


def test_what_another_predictor_expected_is_measured_apart() -> None:
    told = choices("p", "old", "now", FEWEST_JOBS) + choices("p", "new", "now", FEWEST_JOBS - 1)
    assert set(measured(told, ["p"], catalog="now")) == {Basis("p", "old")}
    told += choices("p", "new", "now", 1)
    assert set(measured(told, ["p"], catalog="now")) == {Basis("p", "old"), Basis("p", "new")}


@pytest.mark.parametrize(
    ("told", "jobs", "catalog"),
    [
        (choices("p", "", "now", FEWEST_JOBS) + choices("p", "", "before", 10), FEWEST_JOBS, "now"),
        (choices("p", "", "now", 10) + choices("p", "", "before", FEWEST_JOBS), FEWEST_JOBS + 10, ""),
        (choices("p", "", "now", 10) + choices("other", "", "now", FEWEST_JOBS), FEWEST_JOBS + 10, ""),
    ],
)
def test_where_little_was_decided_that_of_other_catalogs_and_policies_counts(
    told: list[Choice], jobs: int, catalog: str
) -> None:
    found = measured(told, ["p"], catalog="now")[Basis("p", "")]
    assert (found.curve.jobs, found.catalog) == (jobs, catalog)


def test_of_little_nothing_is_concluded() -> None:
    assert measured(choices("p", "", "now", FEWEST_JOBS - 1), ["p"], catalog="now") == {}


def test_a_job_is_worth_what_was_measured_on_what_its_own_predictor_expects() -> None:
    known = Knowledge(
        curves={Basis(POLICY.hash, "old"): curve_worth(1.0)},
        older={Basis(POLICY.hash, "old"): curve_worth(2.0), Basis(POLICY.hash, "older"): curve_worth(3.0)},
        prior=curve_worth(4.0),
    )
    worths = [known.worth_of(job_of(), POLICY, read_by(each)) for each in ("old", "older", "new")]
    assert worths == [Worth(1.0), Worth(3.0), Worth(4.0)]
    assert known.worth_of(job_of(), POLICY, None) == Worth(4.0)
    assert basis_of(POLICY, None) == Basis(POLICY.hash, "")


def test_offers_are_those_of_models_that_may_do_the_job() -> None:
    assert set(offers_of(job_of(), NOTHING, CATALOG)) == {"small", "big"}
    assert set(offers_of(job_of(residency="eu"), NOTHING, CATALOG)) == {"big"}
    capped = job_of(preferences=Preferences(max_cost_usd=2e-4))
    offers = offers_of(capped, NOTHING, CATALOG)
    assert set(offers) == {"small"}
    assert offers["small"].cost_usd == pytest.approx(1.1e-4)


def test_offers_are_of_the_first_rank_and_place_alone() -> None:
    qualities = {name: {"quality": {"default": 0.5}} for name in ("a", "b", "c")}
    rules = [{"name": "rather not", "when": {"tenant": ["acme"]}, "avoid": ["b"]}]
    catalog = catalog_of(
        entry("a", router=qualities["a"]),
        entry("b", router=qualities["b"]),
        entry("c", router=qualities["c"], params={"order": 2}),
        router={"policies": {"default": {"quality_target": 0.9, "rules": rules}}},
    )
    assert set(offers_of(job_of(), NOTHING, catalog)) == {"a"}
    assert set(offers_of(job_of(excluded=("a",)), NOTHING, catalog)) == {"b"}
    assert set(offers_of(job_of(excluded=("a", "b")), NOTHING, catalog)) == {"c"}
    assert offers_of(job_of(excluded=("a", "b", "c")), NOTHING, catalog) == {}
