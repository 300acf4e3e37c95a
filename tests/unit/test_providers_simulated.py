from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused, Throttled
from tests.support.catalogs import model_of
from workers.providers.simulated import SimulatedAdapter

BODY = json.dumps({"model": "alpha", "messages": [{"role": "user", "content": "canary 4711"}], "max_tokens": 8})


async def asked(*, body: str = BODY, attempt: int = 1, model: str = "simulated/echo", **simulated: Any) -> Outcome:
    chosen = model_of(model=model, router={"simulated": simulated})
    return await SimulatedAdapter().complete(chosen, body, key=None, attempt=attempt)


async def test_the_same_seed_body_and_attempt_give_the_same_answer() -> None:
    first, same = await asked(seed=1), await asked(seed=1)
    assert isinstance(first, Answered)
    assert first == same
    assert first != await asked(seed=2)
    assert first != await asked(seed=1, attempt=2)
    assert first != await asked(seed=1, body=BODY.replace("4711", "4712"))


async def test_an_answer_is_a_chat_completion_within_the_callers_limit_without_the_prompt() -> None:
    outcome = await asked(output_tokens=100)
    assert isinstance(outcome, Answered)
    answer = json.loads(outcome.body)
    assert answer["object"] == "chat.completion"
    assert len(answer["choices"][0]["message"]["content"].split()) == outcome.tokens_out == 8
    assert "canary" not in outcome.body


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        ("400", Refused),
        ("401", ModelUnfit),
        ("404", ModelUnfit),
        ("408", Failed),
        ("429", Throttled),
        ("500", Failed),
        ("502", Failed),
        ("503", Failed),
        ("context", ModelUnfit),
        ("content_policy", Refused),
    ],
)
async def test_a_failure_has_the_outcome_of_its_status(failure: str, expected: type) -> None:
    assert isinstance(await asked(failure=failure, failure_rate=1.0), expected)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("400", "BadRequestError"),
        ("401", "AuthenticationError"),
        ("404", "NotFoundError"),
        ("408", "TimeoutError"),
        ("500", "InternalServerError"),
        ("context", "ContextWindowExceededError"),
        ("content_policy", "ContentPolicyViolationError"),
    ],
)
async def test_a_failure_is_of_the_kind_of_a_real_one(failure: str, kind: str) -> None:
    outcome = await asked(failure=failure, failure_rate=1.0)
    assert isinstance(outcome, (Failed, ModelUnfit, Refused))
    assert outcome.kind == kind


@pytest.mark.parametrize(("given", "wait_s"), [({}, 1.0), ({"retry_after_s": 0}, 0.0), ({"retry_after_s": 7.5}, 7.5)])
async def test_a_throttle_asks_to_wait_as_long_as_was_written(given: dict[str, Any], wait_s: float) -> None:
    outcome = await asked(failure="429", failure_rate=1.0, **given)
    assert isinstance(outcome, Throttled)
    assert outcome.retry_after_s == wait_s


async def test_several_choices_do_not_make_one_answer_longer_than_was_asked() -> None:
    outcome = await asked(output_tokens=100, body=json.dumps(json.loads(BODY) | {"n": 3}))
    assert isinstance(outcome, Answered)
    assert outcome.tokens_out == 8


async def test_a_timeout_waits_until_the_caller_gives_up() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await asked(failure="timeout", failure_rate=1.0)


async def test_failures_come_at_their_rate() -> None:
    outcomes = [await asked(failure_rate=0.3, attempt=number) for number in range(300)]
    assert 50 < sum(isinstance(outcome, Failed) for outcome in outcomes) < 140


async def test_a_model_that_is_not_simulated_is_unfit() -> None:
    outcome = await SimulatedAdapter().complete(model_of(model="local/lead"), BODY, key=None, attempt=1)
    assert isinstance(outcome, ModelUnfit)
