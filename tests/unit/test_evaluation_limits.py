from __future__ import annotations

from dataclasses import replace

import pytest

from router_service.evaluation.allowance import Call, Ledger, Offer
from router_service.evaluation.interactive import Sent
from router_service.evaluation.limits import Run, report
from router_service.evaluation.shapes import BIG, SMALL, Job, Shape
from router_service.evaluation.stack import OracleLog

OFFER = Offer(slots=10, rpm=60, latency_s=0.5)
JOBS = tuple(Job(tag=f"{BIG}/{number}") for number in range(11))
SHAPE = Shape(name="rpm", offers={"m": OFFER}, asks="m", batches={BIG: JOBS})
RUN = Run(
    created_s={BIG: 100.0}, completed_s=111.5, sent=(), cpu_s={"api": 0.022, "router": 0.033}, memory_mb={"api": 90.1}
)


def call(tag: str, arrived_s: float, *, refused: str | None = None) -> Call:
    ended_s = None if refused else arrived_s + 0.5
    return Call(model="m", tag=tag, tokens=400, arrived_s=arrived_s, ended_s=ended_s, refused=refused)


def log_of(calls: list[Call]) -> OracleLog:
    ledger = Ledger(OFFER)
    for each in calls:
        if each.refused is None:
            ledger.admit(each.arrived_s, tokens=each.tokens)
            ledger.leave()
        else:
            ledger.refused[each.refused] = ledger.refused.get(each.refused, 0) + 1
    return OracleLog(now_s=200.0, cpu_s=0.1, models={"m": ledger.as_json()}, calls=calls)


PACED = [call(job.tag, 100.0 + number) for number, job in enumerate(JOBS)]


def test_the_makespan_is_from_the_accepted_batch_to_the_end_of_the_last_call() -> None:
    told = report(SHAPE, RUN, log_of(PACED))
    assert (told["jobs"], told["makespan_s"], told["completed_after_s"]) == (11, 10.5, 11.5)
    assert (told["bound_s"], told["bound_by"]) == (9.5, "rpm")
    assert told["ratio"] == pytest.approx(10.5 / 9.5, abs=1e-4)
    assert told["utilisation"]["m"]["rpm"] == [1.0] * 11
    assert told["cpu_ms_per_job"] == pytest.approx(5.0)
    assert told["memory_mb_by_process"] == {"api": 90.1}


def test_refused_calls_are_counted_and_are_no_work_done() -> None:
    told = report(SHAPE, RUN, log_of([*PACED, call(JOBS[3].tag, 100.1, refused="rpm")]))
    assert (told["provider_429s"], told["refused_by"]) == (1, {"m": {"rpm": 1}})
    assert (told["jobs_without_call"], told["calls_repeated"]) == (0, 0)


def test_lost_and_doubled_calls_are_seen() -> None:
    told = report(SHAPE, RUN, log_of([*PACED[:-1], PACED[0]]))
    assert (told["jobs_without_call"], told["calls_repeated"]) == (1, 1)


def test_single_jobs_raise_the_bound_as_far_as_they_came_before_the_last_of_the_batch() -> None:
    sent = [Sent(tag=f"interactive/{number}", due_s=100.0 + number, job_id="job_1") for number in range(2)]
    calls = [*PACED, call("interactive/0", 100.25), call("interactive/1", 150.0)]
    told = report(SHAPE, replace(RUN, sent=sent), log_of(calls))
    assert told["bound_s"] == 10.5
    assert told["interactive"] == {
        "sent": 2,
        "not_arrived": 0,
        "wait_ms_p50": 250.0,
        "wait_ms_p99": 49_000.0,
        "wait_ms_most": 49_000.0,
    }


def test_a_single_job_that_never_arrived_has_waited_until_now() -> None:
    sent = [Sent(tag="interactive/0", due_s=100.0, job_id="job_1")]
    told = report(SHAPE, replace(RUN, sent=sent), log_of(PACED))
    assert (told["interactive"]["not_arrived"], told["interactive"]["wait_ms_p50"]) == (1, 100_000.0)


@pytest.mark.parametrize(("order", "index"), [("BSBSBBBBBBB", 1.0), ("BBBBBBBSBSB", 0.7353)])
def test_fairness_is_over_the_time_in_which_both_tenants_wait(order: str, index: float) -> None:
    batches = {
        BIG: tuple(Job(tag=f"{BIG}/{number}") for number in range(order.count("B"))),
        SMALL: tuple(Job(tag=f"{SMALL}/{number}") for number in range(order.count("S"))),
    }
    waiting = {"B": list(batches[BIG]), "S": list(batches[SMALL])}
    calls = [call(waiting[letter].pop(0).tag, 100.0 + second) for second, letter in enumerate(order)]
    shape = Shape(name="tenants", offers={"m": OFFER}, asks="m", batches=batches)
    told = report(shape, replace(RUN, created_s={BIG: 99.0, SMALL: 100.0}), log_of(calls))
    assert told["jain"]["index"] == pytest.approx(index, abs=1e-4)
