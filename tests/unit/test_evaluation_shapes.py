from __future__ import annotations

import pytest

from router_service.catalog.load import build_catalog
from router_service.chat.request import read_chat
from router_service.evaluation import waits
from router_service.evaluation.bounds import Work, lower_bound
from router_service.evaluation.oracle import HEAD
from router_service.evaluation.shapes import AUTO, BURST_S, SHAPES, WARM, WARM_MAX_INPUT, catalog, warm_jobs


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seconds", [30, 120])
def test_a_shape_takes_as_long_as_it_was_asked_to(name: str, seconds: float) -> None:
    shape = SHAPES[name](seconds)
    works = [Work(tag=job.tag, tokens=job.tokens) for job in shape.jobs]
    assert lower_bound(works, shape.offers, burst_s=BURST_S).seconds == pytest.approx(seconds, rel=0.05)


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("rpm", "rpm"),
        ("tpm", "tpm"),
        ("slots", "slots"),
        ("models", "models-a.rpm + models-b.tpm"),
        ("mixed", "tpm"),
        ("tenants", "rpm"),
    ],
)
def test_a_shape_is_bound_by_what_it_is_named_for(name: str, by: str) -> None:
    shape = SHAPES[name](30)
    works = [Work(tag=job.tag, tokens=job.tokens) for job in shape.jobs]
    assert lower_bound(works, shape.offers, burst_s=BURST_S).by == by


@pytest.mark.parametrize("name", SHAPES)
def test_every_job_of_a_shape_has_a_tag_of_its_own_and_says_it_in_its_prompt(name: str) -> None:
    shape = SHAPES[name](30)
    assert len({job.tag for job in shape.jobs}) == len(shape.jobs)
    for job in shape.jobs[:20]:
        head = HEAD.match(job.body(shape.asks)["messages"][0]["content"])
        assert head is not None
        assert (head["tag"], int(head["out"])) == (job.tag, job.tokens_out)


def test_mixed_sizes_are_a_factor_of_twenty_apart() -> None:
    sizes = [job.tokens for job in SHAPES["mixed"](120).jobs]
    assert max(sizes) / min(sizes) == pytest.approx(20, rel=0.1)


def test_one_tenant_has_ten_times_the_work_of_the_other_and_comes_first() -> None:
    batches = SHAPES["tenants"](30).batches
    assert list(batches) == ["big", "small"]
    assert len(batches["big"]) == 10 * len(batches["small"])


@pytest.mark.parametrize("name", SHAPES)
def test_the_catalog_says_what_the_provider_allows(name: str) -> None:
    shape = SHAPES[name](30)
    offered = build_catalog(catalog(shape.offers, api_base="http://127.0.0.1:1/v1"), source="bench")
    for model_name, offer in shape.offers.items():
        limits = offered.by_id[model_name].limits
        assert (limits.slots, limits.rpm, limits.tpm) == (offer.slots, offer.rpm, offer.tpm)
    assert shape.asks == AUTO or offered.has(shape.asks)


def test_only_the_jobs_that_warm_up_fit_into_the_model_that_is_not_measured() -> None:
    assert all(read_chat(job.body(WARM)).tokens_in <= WARM_MAX_INPUT for job in warm_jobs(200))
    for name, make in SHAPES.items():
        assert all(read_chat(job.body(AUTO)).tokens_in > WARM_MAX_INPUT for job in make(30).jobs), name


def test_the_backlog_may_go_to_two_models_and_a_single_job_to_one_of_them() -> None:
    offered = build_catalog(waits.pooled(catalog(waits.OFFERS, api_base="http://127.0.0.1:1/v1")), source="bench")
    assert {model.id for model in offered.named(waits.POOL)} == {waits.SLOW, waits.SHARED}
    assert [model.id for model in offered.named(waits.SHARED)] == [waits.SHARED]
    assert [model.id for model in offered.named(waits.FREE)] == [waits.FREE]
