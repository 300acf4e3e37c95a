"""The checker of the fault tests has teeth: each kind of violation, planted in a history that is whole, is found; alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.checker import Accepted, Attempt, Doubled, History, Job, Limit, Seen, doubled, shares, violations

if TYPE_CHECKING:
    from collections.abc import Callable

    Plant = Callable[[History], History]

FAULT = (100.0, 110.0)
BEFORE, DURING = 50.0, 105.0


def whole() -> History:
    """Two jobs: `one` answered at once, `two` lost in a fault and answered by its second call."""
    return History(
        accepted=[Accepted(id="1", tag="one", seen="succeeded"), Accepted(id="2", tag="two")],
        calls=[
            Seen(model="m", tag="one", arrived_s=1, ended_s=2, tokens=10),
            Seen(model="m", tag="two", arrived_s=3, ended_s=4, tokens=10),
            Seen(model="m", tag="two", arrived_s=70, ended_s=71, tokens=10),
        ],
        limits={"m": Limit(slots=1, rpm=2, tpm=20)},
        jobs=[
            Job(id="1", tag="one", state="succeeded", result_attempt=1, result_tag="one"),
            Job(id="2", tag="two", state="succeeded", attempt=2, result_attempt=2, result_tag="two"),
        ],
        attempts=[
            attempt("1", 1),
            attempt("2", 1, outcome="lost", status_code=None, began_s=DURING),
            attempt("2", 2, began_s=DURING + 10),
        ],
        faults=[FAULT],
    )


def attempt(job_id: str, number: int, **changes: Any) -> Attempt:
    usual = Attempt(
        job_id=job_id, attempt=number, model="m", began_s=BEFORE, ended_s=None, outcome="answered", status_code=200
    )
    given = replace(usual, **changes)
    return given if "ended_s" in changes else replace(given, ended_s=given.began_s + 1)


def with_job(number: int, **changes: Any) -> Plant:
    return lambda run: replace(run, jobs=[replace(j, **changes) if i == number else j for i, j in enumerate(run.jobs)])


def with_attempt(number: int, **changes: Any) -> Plant:
    return lambda run: replace(
        run, attempts=[replace(a, **changes) if i == number else a for i, a in enumerate(run.attempts)]
    )


def with_accepted(number: int, **changes: Any) -> Plant:
    return lambda run: replace(
        run, accepted=[replace(a, **changes) if i == number else a for i, a in enumerate(run.accepted)]
    )


def with_call(number: int, **changes: Any) -> Plant:
    return lambda run: replace(
        run, calls=[replace(c, **changes) if i == number else c for i, c in enumerate(run.calls)]
    )


def with_limit(**changes: Any) -> Plant:
    return lambda run: replace(run, limits={"m": replace(run.limits["m"], **changes)})


PLANTED: dict[str, tuple[Plant, set[str]]] = {
    "a row is gone": (lambda run: replace(run, jobs=run.jobs[:1]), {"accepted and lost", "a call without a record"}),
    "a job hangs": (
        with_job(1, state="routed", result_attempt=None, result_tag=None),
        {"not terminal"},
    ),
    "a job failed for nothing": (with_job(1, state="failed"), {"ended as it may not"}),
    "a job expired that had no deadline": (
        with_job(1, state="expired", result_attempt=None, result_tag=None),
        {"ended as it may not"},
    ),
    "a terminal job moved on": (with_accepted(0, seen="failed"), {"a terminal state was left"}),
    "an input was swapped": (
        with_accepted(0, tag="other"),
        {"the input is another job's"},
    ),
    "a result is missing": (with_job(0, result_attempt=None, result_tag=None), {"no result"}),
    "a result was swapped": (with_job(0, result_tag="two"), {"the result is another job's"}),
    "a cancelled job has a result": (
        lambda run: with_accepted(0, may_end=frozenset({"cancelled"}), seen=None)(with_job(0, state="cancelled")(run)),
        {"a result that is nobody's"},
    ),
    "a late answer was stored": (with_job(1, result_attempt=1), {"the result is not the answered call's"}),
    "two calls of a job counted": (
        with_attempt(1, outcome="answered", status_code=200),
        {"answered twice", "called again for no reason"},
    ),
    "a result from nowhere": (with_attempt(0, outcome="failed"), {"succeeded without an answer"}),
    "a record is open": (with_attempt(2, ended_s=None), {"the record of a call is open"}),
    "a call was lost on a fair day": (
        lambda run: replace(run, faults=[(200.0, 210.0)]),
        {"a call was lost without a fault"},
    ),
    "an attempt has the number of another": (
        with_attempt(2, attempt=3),
        {"records of calls are not in order", "the result is not the answered call's"},
    ),
    "a call without a record": (
        lambda run: replace(run, attempts=run.attempts[1:]),
        {"a call without a record", "succeeded without an answer"},
    ),
    "an invented answer": (lambda run: replace(run, calls=run.calls[1:]), {"an answer that the provider did not give"}),
    "a refused call": (with_call(0, refused="rpm", ended_s=None), {"the provider had to refuse"}),
    "two calls in one slot": (with_call(1, arrived_s=1.5), {"too many calls at a time"}),
    "a call that never ended": (with_call(0, ended_s=None), {"too many calls at a time"}),
    "a full minute and one more": (with_call(2, arrived_s=60.5), {"too much within a minute"}),
    "too many tokens in a minute": (with_limit(tpm=19), {"too much within a minute"}),
    "a slot is still held": (lambda run: replace(run, held={"slots:m": 1}), {"still held in Redis"}),
    "a batch is open": (lambda run: replace(run, open_batches=["b"]), {"a batch did not end"}),
}


def test_whole_history_has_no_violation_and_its_doubled_call_is_counted() -> None:
    assert violations(whole()) == []
    assert doubled(whole()) == Doubled(counted=1, seen=1)


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_violation_is_found_alone(planted: str) -> None:
    plant, wanted = PLANTED[planted]
    assert {violation.what for violation in violations(plant(whole()))} == wanted


def test_poisoned_job_may_fail() -> None:
    attempts = [attempt("2", number, outcome="lost", status_code=None, began_s=DURING) for number in (1, 2, 3)]
    run = whole()
    run = replace(
        run,
        jobs=[run.jobs[0], Job(id="2", tag="two", state="failed", attempt=3)],
        attempts=[run.attempts[0], *attempts],
    )
    assert violations(run) == []


def test_cancelled_running_job_skips_a_number() -> None:
    run = with_job(1, state="cancelled", attempt=3, result_attempt=None, result_tag=None)(whole())
    run = with_attempt(2, outcome="late")(with_accepted(1, may_end=frozenset({"cancelled"}))(run))
    assert violations(run) == []


def test_share_of_a_limit_is_that_of_its_fullest_moment() -> None:
    """Two calls of 10 tokens within a minute, a third one later; each alone in its slot. What was refused does not count."""
    run = with_limit(slots=2, rpm=4, tpm=80)(whole())
    assert shares(run) == {"m slots": 0.5, "m rpm": 0.5, "m tpm": 0.25}
    assert shares(with_call(0, refused="rpm", ended_s=None)(run)) == {"m slots": 0.5, "m rpm": 0.25, "m tpm": 0.125}
    assert shares(with_limit(rpm=None, tpm=None)(run)) == {"m slots": 0.5}
