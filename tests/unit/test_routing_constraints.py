from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from router_service.catalog.policies import BUILT_IN
from router_service.jobs.spec import JobSpec, RoutableJob
from router_service.routing.constraints import Rejection, rejection
from router_service.routing.insight import NOTHING
from router_service.routing.question import Question
from tests.support.catalogs import model_of

EU = {"data_residency": {"inference": "eu", "storage": "eu"}}


def first_rejection(spec: JobSpec, **model: Any) -> Rejection | None:
    job = RoutableJob(id=UUID(int=1), epoch=0, spec=spec)
    return rejection(Question.of(job, policy=BUILT_IN, insight=NOTHING), model_of(**model))


def spec(**changes: Any) -> JobSpec:
    return JobSpec(model="alpha", tokens_in=100, **changes)


@pytest.mark.parametrize(
    ("asked", "model", "expected"),
    [
        ({}, {}, None),
        ({"excluded": ("alpha",)}, {}, Rejection(reason="failed_before")),
        ({"excluded": ("beta",)}, {}, None),
        ({"residency": "eu"}, {}, Rejection(reason="residency_unknown", bound="eu")),
        ({"residency": "eu"}, {"params": {"region_name": "eu"}}, Rejection(reason="residency_unknown", bound="eu")),
        ({"residency": "eu"}, {"router": EU}, None),
        ({"residency": "us"}, {"router": EU}, Rejection(reason="residency", bound=["eu"])),
        (
            {"residency": "eu"},
            {"router": {"data_residency": {"inference": "eu", "storage": "us"}}},
            Rejection(reason="residency", bound=["eu", "us"]),
        ),
        (
            {"residency": "eu"},
            {"router": {"data_residency": {"inference": ["eu", "us"], "storage": "eu"}}},
            Rejection(reason="residency", bound=["eu", "us"]),
        ),
        ({"features": ("vision",)}, {}, Rejection(reason="missing_feature", bound=["vision"])),
        ({"features": ("vision",)}, {"info": {"supports_vision": True}}, None),
        ({"features": ("tools", "json_schema")}, {}, None),
        (
            {"features": ("tools",)},
            {"model": "local/lead"},
            Rejection(reason="missing_feature", bound=["tools"]),
        ),
        ({}, {"info": {"max_input_tokens": 99}}, Rejection(reason="context_window", bound=99)),
        ({}, {"info": {"max_input_tokens": 100}}, None),
        ({"tokens_out": 9}, {"info": {"max_output_tokens": 8}}, Rejection(reason="max_output_tokens", bound=8)),
        ({"tokens_out": 8}, {"info": {"max_output_tokens": 8}}, None),
        ({}, {"info": {"max_output_tokens": 8}}, None),
        ({"quality": 0.5}, {}, Rejection(reason="quality_unknown", bound=0.5)),
        ({"quality": 0.5}, {"router": {"quality": {"default": 0.4}}}, Rejection(reason="quality", bound=0.4)),
        ({"quality": 0.5}, {"router": {"quality": {"default": 0.5}}}, None),
        ({"quality": 0.0}, {}, Rejection(reason="quality_unknown", bound=0.0)),
    ],
)
def test_a_model_is_out_with_the_reason_and_the_value_that_bound(
    asked: dict[str, Any], model: dict[str, Any], expected: Rejection | None
) -> None:
    assert first_rejection(spec(**asked), **model) == expected
