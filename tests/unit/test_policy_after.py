from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.catalog.models import ErrorKind, Retries
from router_service.jobs.spec import Fallback
from router_service.policy.after import RULES, DeadLetter, Fail, Next, RetryLater, Succeed, after, backoff_s
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, OutOfTime, Refused, Throttled, Verdict

RETRIES = Retries(tries=3, base_s=1.0, most_s=10.0)
FAILED = Failed(code="http_500", message="it broke")
jitters = st.floats(0, 1, exclude_max=True)


def wrong(kind: ErrorKind) -> Failed | ModelUnfit | Refused:
    if kind in {ErrorKind.BAD_REQUEST, ErrorKind.CONTENT_POLICY}:
        return Refused(code="c", message="m", status_code=400, body="{}", kind=kind)
    if RULES[kind].mends:
        return Failed(code="c", message="m", kind=kind)
    return ModelUnfit(code="c", message="m", kind=kind)


@pytest.mark.parametrize(
    ("outcome", "tries", "follows"),
    [
        (Answered(body="{}", tokens_in=1, tokens_out=1), 0, Succeed()),
        (Answered(body="{}", tokens_in=None, tokens_out=None), 99, Succeed()),
        (FAILED, 0, RetryLater(delay_s=0.5, counted=True)),
        (FAILED, 1, RetryLater(delay_s=1.0, counted=True)),
        (FAILED, 2, DeadLetter()),
        (FAILED, 3, DeadLetter()),
        (Throttled(retry_after_s=4.0), 0, RetryLater(delay_s=4.2, counted=False)),
        (Throttled(retry_after_s=4.0), 99, RetryLater(delay_s=4.2, counted=False)),
        (OutOfTime(), 0, RetryLater(delay_s=0.0, counted=False)),
        (OutOfTime(), 99, RetryLater(delay_s=0.0, counted=False)),
        (ModelUnfit(code="no_api_key", message="no"), 0, DeadLetter()),
        (Refused(code="bad", message="no", status_code=400, body="{}"), 0, Fail()),
    ],
)
def test_what_follows_an_outcome(outcome: Outcome, tries: int, follows: Next) -> None:
    assert after(outcome, tries=tries, retries=RETRIES, jitter=0.5) == follows


@pytest.mark.parametrize(("left_s", "delay_s"), [(5.0, 4.2), (4.3, 4.2), (4.2, 0.0), (1.0, 0.0)])
def test_a_throttled_job_that_has_no_time_to_wait_is_looked_at_again_at_once(left_s: float, delay_s: float) -> None:
    said = Throttled(retry_after_s=4.0)
    follows = after(said, tries=0, retries=RETRIES, jitter=0.5, left_s=left_s)
    assert follows == RetryLater(delay_s=delay_s, counted=False)


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_error_has_its_tries_and_then_its_end(kind: ErrorKind) -> None:
    allowed = 2 if kind in {ErrorKind.INTERNAL, ErrorKind.TIMEOUT, ErrorKind.RATE_LIMIT} else 0
    for tries in range(allowed):
        assert after(wrong(kind), tries=tries, retries=RETRIES, jitter=0.0) == RetryLater(delay_s=0.0, counted=True)
    ends = {
        ErrorKind.BAD_REQUEST: Fail(),
        ErrorKind.CONTENT_POLICY: Fail(),
        ErrorKind.CONTEXT_WINDOW: DeadLetter(kind=Fallback.CONTEXT_WINDOW),
    }
    assert after(wrong(kind), tries=allowed, retries=RETRIES, jitter=0.5) == ends.get(kind, DeadLetter())


@pytest.mark.parametrize("kind", ErrorKind)
@pytest.mark.parametrize("bound", [0, 1, 4])
def test_a_bound_of_a_kind_goes_before_the_general_one_and_does_not_change_the_end(kind: ErrorKind, bound: int) -> None:
    retries = Retries(tries=3, by_kind={kind: bound})
    ends = [after(wrong(kind), tries=tries, retries=retries, jitter=0.5) for tries in range(6)]
    assert [isinstance(each, RetryLater) for each in ends] == [tries < bound for tries in range(6)]
    assert ends[-1] == after(wrong(kind), tries=99, retries=RETRIES, jitter=0.5)
    other = ErrorKind.TIMEOUT if kind is not ErrorKind.TIMEOUT else ErrorKind.INTERNAL
    assert isinstance(after(wrong(other), tries=1, retries=retries, jitter=0.5), RetryLater)
    assert after(wrong(other), tries=2, retries=retries, jitter=0.5) == DeadLetter()


def test_throttles_are_counted_and_bounded_only_where_the_operator_says_so() -> None:
    retries = Retries(tries=3, by_kind={ErrorKind.RATE_LIMIT: 1})
    busy = Throttled(retry_after_s=4.0)
    assert after(busy, tries=0, retries=retries, jitter=0.0) == RetryLater(delay_s=4.0, counted=True)
    assert after(busy, tries=1, retries=retries, jitter=0.0) == DeadLetter()


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (Answered(body="{}", tokens_in=1, tokens_out=1), "ok"),
        (FAILED, "failed"),
        (Failed(code="timeout", message="", kind=ErrorKind.TIMEOUT), "failed"),
        (Throttled(retry_after_s=1.0), None),
        (OutOfTime(), None),
        (ModelUnfit(code="no_api_key", message=""), None),
        (ModelUnfit(code="c", message="", kind=ErrorKind.AUTHENTICATION), "failed"),
        (ModelUnfit(code="c", message="", kind=ErrorKind.CONTEXT_WINDOW), None),
        (Refused(code="c", message="", status_code=400, body="{}"), None),
    ],
)
def test_only_the_models_own_faults_count_against_it(outcome: Outcome, verdict: Verdict) -> None:
    assert outcome.verdict == verdict


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


@given(st.integers(0, 5), jitters, st.floats(0, 3600))
def test_no_other_try_is_made_before_the_provider_wants_it(tries: int, jitter: float, asked_s: float) -> None:
    failed = Failed(code="http_500", message="it broke", retry_after_s=asked_s)
    follows = after(failed, tries=tries, retries=Retries(tries=9), jitter=jitter)
    assert isinstance(follows, RetryLater)
    assert asked_s <= follows.delay_s <= asked_s + 30
