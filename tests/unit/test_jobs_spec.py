from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.jobs.preferences import Preferences
from router_service.jobs.spec import Fallback, JobSpec, lane_of, split_lane

LANE = 8147389851959295043
SPEC = JobSpec(model="alpha", tokens_in=10, features=("tools",), residency="eu", quality=0.5, excluded=("b", "a"))


@given(st.integers(0, 10**7), st.one_of(st.none(), st.integers(1, 10**6)))
def test_the_size_of_a_job_does_not_change_its_lane(tokens_in: int, tokens_out: int | None) -> None:
    other = replace(SPEC, tokens_in=tokens_in, tokens_out=tokens_out)
    assert lane_of(other, tenant_id="t") == lane_of(SPEC, tenant_id="t")


def test_the_order_of_excluded_models_does_not_change_the_lane() -> None:
    assert lane_of(replace(SPEC, excluded=("a", "b")), tenant_id="t") == lane_of(SPEC, tenant_id="t")


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, model="beta"),
        replace(SPEC, features=()),
        replace(SPEC, residency=None),
        replace(SPEC, quality=0.6),
        replace(SPEC, quality=None),
        replace(SPEC, excluded=("a",)),
        replace(SPEC, fallback=Fallback.CONTEXT_WINDOW),
        replace(SPEC, fallback=Fallback.CONTENT_POLICY),
        replace(SPEC, preferences=Preferences(only=("alpha",))),
        replace(SPEC, preferences=Preferences(language="de")),
    ],
)
def test_what_decides_on_the_models_decides_on_the_lane(other: JobSpec) -> None:
    assert lane_of(other, tenant_id="t") != lane_of(SPEC, tenant_id="t")


@pytest.mark.parametrize(
    "wish",
    [{"quality_target": 0.7}, {"max_cost_usd": 0.01}, {"max_input_cost": 1e-6}, {"difficulty": 0.5}],
)
def test_numbers_that_may_differ_from_line_to_line_make_no_lanes_of_their_own(wish: dict[str, float]) -> None:
    other = replace(SPEC, preferences=Preferences(**wish))  # type: ignore[arg-type]
    assert lane_of(other, tenant_id="t") == lane_of(SPEC, tenant_id="t")
    assert lane_of(replace(SPEC, quality=0.501), tenant_id="t") == lane_of(SPEC, tenant_id="t")


def test_each_tenant_has_lanes_of_its_own() -> None:
    assert lane_of(SPEC, tenant_id="t") != lane_of(SPEC, tenant_id="u")


@given(st.text(max_size=20), st.text("abc", max_size=5), st.booleans())
def test_a_lane_fits_a_signed_64_bit_column_and_its_sign_tells_whether_it_is_interactive(
    tenant: str,
    model: str,
    interactive: bool,  # noqa: FBT001 (drawn by Hypothesis)
) -> None:
    lane = lane_of(replace(SPEC, model=model), tenant_id=tenant, interactive=interactive)
    assert -(2**63) <= lane < 2**63
    assert (lane < 0) == interactive
    assert lane == lane_of(replace(SPEC, model=model), tenant_id=tenant, interactive=interactive)


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=9), st.text(max_size=9))
def test_a_lane_that_was_split_off_for_a_model_stays_where_it_is(lane: int, first: str, second: str) -> None:
    apart = split_lane(lane, first)
    assert split_lane(apart, first) == apart
    assert split_lane(apart, second) == split_lane(lane, second)
    assert (apart < 0) == (lane < 0)
    assert -(2**63) <= apart < 2**63


def test_a_lane_is_the_same_on_every_machine() -> None:
    assert lane_of(JobSpec(model="alpha", tokens_in=1), tenant_id="t", interactive=False) == LANE
