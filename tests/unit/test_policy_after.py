from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.catalog.models import Retries
from router_service.policy.after import DeadLetter, Fail, Next, RetryLater, Succeed, after, backoff_s
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused, Throttled

RETRIES = Retries(tries=3, base_s=1.0, most_s=10.0)
FAILED = Failed(code="http_500", message="it broke")
jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("outcome", "tries", "follows"),
    [
        (Answered(body="{}", tokens_in=1, tokens_out=1), 0, Succeed()),
        (Answered(body="{}", tokens_in=1, tokens_out=1), 99, Succeed()),
        (FAILED, 0, RetryLater(delay_s=0.5, counted=True)),
        (FAILED, 1, RetryLater(delay_s=1.0, counted=True)),
        (FAILED, 2, DeadLetter()),
        (FAILED, 3, DeadLetter()),
        (Throttled(retry_after_s=4.0), 0, RetryLater(delay_s=4.2, counted=False)),
        (Throttled(retry_after_s=4.0), 99, RetryLater(delay_s=4.2, counted=False)),
        (ModelUnfit(code="http_401", message="no"), 0, DeadLetter()),
        (Refused(code="bad", message="no", status_code=400, body="{}"), 0, Fail()),
    ],
)
def test_what_follows_an_outcome(outcome: Outcome, tries: int, follows: Next) -> None:
    assert after(outcome, tries=tries, retries=RETRIES, jitter=0.5) == follows


@given(st.integers(0, 1000), jitters, st.floats(0, 3600))
def test_a_throttle_never_uses_up_a_try_and_never_comes_back_early(tries: int, jitter: float, wait_s: float) -> None:
    follows = after(Throttled(retry_after_s=wait_s), tries=tries, retries=RETRIES, jitter=jitter)
    assert isinstance(follows, RetryLater)
    assert not follows.counted
    assert max(1.0, wait_s) <= follows.delay_s <= max(1.0, wait_s) * 1.1


@given(st.integers(0, 10_000), jitters, st.floats(0.001, 10), st.floats(0.001, 100))
def test_the_backoff_is_bounded_and_grows_with_the_tries(
    tries: int, jitter: float, base_s: float, most_s: float
) -> None:
    retries = Retries(tries=3, base_s=base_s, most_s=most_s)
    delay_s = backoff_s(tries, retries=retries, jitter=jitter)
    assert 0 <= delay_s <= most_s
    assert delay_s <= base_s * 2 ** min(tries, 30)
    assert delay_s <= backoff_s(tries + 1, retries=retries, jitter=jitter)


@given(st.integers(1, 21), jitters)
def test_a_model_that_always_fails_is_tried_exactly_as_often_as_allowed(allowed: int, jitter: float) -> None:
    retries = Retries(tries=allowed)
    calls = next(
        tries + 1 for tries in range(100) if after(FAILED, tries=tries, retries=retries, jitter=jitter) == DeadLetter()
    )
    assert calls == allowed
