"""What the report of the shape `backlog` makes of a log, without a stack."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router_service.errors import StackError
from router_service.evaluation.allowance import Call, Ledger
from router_service.evaluation.interactive import Sent
from router_service.evaluation.stack import OracleLog
from router_service.evaluation.usage import Memory
from router_service.evaluation.waits import FREE, OFFERS, SHARED, Phase, Seen, report

POLLS = [{"polled": "job", "count": 1, "ms_p50": 4.0, "ms_p99": 4.0, "ms_most": 4.0}]


def held(total_mb: float, shared_mb: float = 0.0) -> dict[str, Memory]:
    return {"postgres": Memory(total_mb=total_mb, shared_mb=shared_mb)}


def phase(name: str, began_s: float, cpu_s: float) -> Phase:
    sent = {model: [Sent(tag=f"{name}/{model}/0", due_s=began_s, job_id="job_1")] for model in (FREE, SHARED)}
    return Phase(sent=sent, began_s=began_s, ended_s=began_s + 10, cpu_s={"postgres": cpu_s})


SEEN = Seen(
    idle=phase("idle", 100.0, 0.1),
    loaded=phase("loaded", 200.0, 0.4),
    accept_s=3.0,
    polls=POLLS,
    small_since_s=300.0,
    memory={
        "before": held(50.0, 20.0),
        "accepted": held(61.0, 30.0),
        "loaded": held(62.0, 30.0),
        "end": held(63.0, 31.0),
    },
    peak_mb={"postgres": 63.0},
)


def call(tag: str, arrived_s: float, *, model: str = SHARED) -> Call:
    return Call(model=model, tag=tag, tokens=120, arrived_s=arrived_s, ended_s=arrived_s + 1)


CALLS = [
    *[call(f"idle/{model}/0", 100.02, model=model) for model in (FREE, SHARED)],
    call("loaded/free/0", 200.05, model=FREE),
    call("loaded/shared/0", 200.12),
    *[call(f"big/{number}", 205.0 + number) for number in range(2)],
    *[call(f"big/{number}", 298.0 + number) for number in range(2, 8)],
    *[call(f"small/{number}", 301.0 + number) for number in range(3)],
]


def log_of(calls: list[Call]) -> OracleLog:
    models = {name: Ledger(offer).as_json() for name, offer in OFFERS.items()}
    return OracleLog(now_s=400.0, cpu_s=0.1, models=models, calls=calls)


def test_the_added_wait_is_what_the_backlog_adds_to_the_usual_one() -> None:
    told = report(SEEN, log_of(CALLS), jobs=100)
    free, shared = told["interactive"]
    assert (free["model"], free["idle_wait_ms_p50"], free["loaded_wait_ms_p99"]) == (FREE, 20.0, 50.0)
    assert (free["added_wait_ms_p99"], shared["added_wait_ms_p99"]) == (30.0, 100.0)
    assert (free["sent"], free["not_arrived"]) == (1, 0)


def test_cpu_is_told_for_each_job_that_was_served_while_loaded() -> None:
    told = report(SEEN, log_of(CALLS), jobs=100)
    (postgres,) = told["processes"]
    assert told["served_while_loaded"] == 4
    assert told["cpu_ms_per_job"] == postgres["cpu_ms_per_job"] == 100.0
    assert (postgres["cores_idle"], postgres["cores_loaded"]) == (0.01, 0.04)


def test_memory_is_told_for_each_moment() -> None:
    (postgres,) = report(SEEN, log_of(CALLS), jobs=100)["processes"]
    assert [postgres[f"memory_mb_{moment}"] for moment in SEEN.memory] == [50.0, 61.0, 62.0, 63.0]
    assert (postgres["shared_memory_mb_before"], postgres["shared_memory_mb_end"]) == (20.0, 31.0)
    assert postgres["memory_mb_peak"] == 63.0


def test_the_small_tenants_share_is_counted_until_it_is_served() -> None:
    told = report(SEEN, log_of(CALLS), jobs=100)
    assert told["jain"] == {"index": 0.98, "tokens": {"big": 480, "small": 360}, "both_backlogged_s": 3.0}


def test_a_backlog_that_was_used_up_is_no_measurement() -> None:
    assert report(SEEN, log_of(CALLS), jobs=9)["backlog_left"] == 1
    with pytest.raises(StackError, match="take a larger one"):
        report(replace(SEEN, polls=[]), log_of(CALLS), jobs=8)
