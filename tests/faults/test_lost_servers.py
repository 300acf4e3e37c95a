"""Redis and Postgres die or forget in the middle of a batch. Redis holds only what can be made again; Postgres, the truth."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.conftest import assert_steady_was_spared, work_for
from tests.stacks import TERMINAL, custom_ids, until

if TYPE_CHECKING:
    from tests.faults.oracle import OracleProcess
    from tests.stacks import RunningStack

pytestmark = pytest.mark.timeout(240)

JOBS = 2000
HEALED_WITHIN_S = 90.0


@pytest.mark.parametrize("fault", ["wiped", "killed"])
def test_batch_survives_the_loss_of_redis(stack: RunningStack, provider: OracleProcess, fault: str) -> None:
    """Wipes Redis (FLUSHALL), or kills (-9) the Valkey process, when about a third of 2,000 jobs is done.

    Every custom_id comes exactly once and in order; calls at the same time never exceed the model's cap, also right
    after the loss; no slot stays taken.
    """
    work = work_for(["steady"] * (JOBS - 200) + ["flaky"] * 200)
    batch = stack.submit_batch(work.content)
    stack.wait_done(batch, JOBS // 3)
    if fault == "wiped":
        with stack.admin_redis() as admin:
            print(f"FLUSHALL of {admin.dbsize()} keys")
            admin.flushall()
    else:
        stack.wait_restarted("valkey", former=stack.kill("valkey"))
    assert stack.done_of(batch) < JOBS, "the fault came too late to prove anything"
    began = time.monotonic()
    ended = stack.wait_batch(batch, patience_s=HEALED_WITHIN_S)
    print(f"the batch ended {time.monotonic() - began:.1f} s later")
    stack.assert_batch_whole(ended, custom_ids(JOBS))
    attempts = stack.assert_attempts_explained(batch)
    print(f"{len(attempts)} calls for {JOBS} jobs")
    assert_steady_was_spared(provider, work)
    stack.assert_slots_come_back()


def test_what_was_accepted_survives_the_death_of_postgres(stack: RunningStack) -> None:
    """Kills (-9) the postmaster in the middle of a 2,000-job batch, while a client goes on posting single jobs.

    Every id that was answered with 2xx ends, with one result; the batch has every custom_id once. What the client sees
    meanwhile is 503, never another error of ours.
    """
    batch = stack.submit_batch(work_for(["steady"] * JOBS).content)
    stack.wait_done(batch, JOBS // 3)
    accepted: list[str] = []
    refused: set[int] = set()
    stop = threading.Event()

    def post() -> None:
        with httpx.Client(base_url=stack.url, headers=stack.http.headers, timeout=10, trust_env=False) as client:
            while not stop.is_set():
                body = {"model": "fast", "input": {"messages": [{"role": "user", "content": "a ship"}]}}
                with suppress(httpx.HTTPError):
                    answer = client.post("/v1/jobs", json=body)
                    if answer.status_code == 202:
                        accepted.append(answer.json()["id"])
                    else:
                        refused.add(answer.status_code)
                stop.wait(0.02)

    client = threading.Thread(target=post)
    client.start()
    try:
        until(lambda: len(accepted) >= 5, patience_s=20, what="jobs are accepted before the fault")
        stack.wait_restarted("postgres", former=stack.kill("postgres"))
        before = len(accepted)
        until(lambda: len(accepted) >= before + 5, patience_s=60, what="jobs are accepted again")
    finally:
        stop.set()
        client.join()
    print(f"{len(accepted)} jobs were accepted around the fault; others were answered with {sorted(refused)}")
    assert refused <= {503}
    ended = stack.wait_batch(batch, patience_s=HEALED_WITHIN_S)
    stack.assert_batch_whole(ended, custom_ids(JOBS))
    stack.assert_attempts_explained(batch)
    assert {stack.finished(job)["status"] for job in accepted} == {"succeeded"}
    doubled = stack.rows("SELECT job_id FROM attempts WHERE outcome = 'answered' GROUP BY job_id HAVING count(*) > 1")
    assert doubled == []
    stack.assert_slots_come_back()


@pytest.mark.parametrize(("server", "named"), [("valkey", {"redis", "broker"}), ("postgres", {"postgres"})])
def test_readiness_names_a_stopped_dependency_within_two_seconds(
    stack: RunningStack, server: str, named: set[str]
) -> None:
    """Stops (SIGSTOP) a server for some seconds. Redis is not needed to accept: a job posted meanwhile is not lost."""
    until(lambda: stack.ready()[0] == 200, patience_s=30, what="the stack is ready")
    with stack.frozen(server):
        began = time.monotonic()
        status, checks = stack.ready()
        took_s = time.monotonic() - began
        wrong = {name for name, check in checks.items() if not check["ok"]}
        print(f"/readyz took {took_s:.1f} s and named {sorted(wrong)}")
        assert status == 503
        assert took_s < 2
        assert named <= wrong <= named | {"workers"}
        assert httpx.get(f"{stack.url}/livez", timeout=2, trust_env=False).status_code == 200
        job = stack.submit("fast") if server == "valkey" else None  # its client waits 20 s at most
        accepted_s = time.monotonic() - began - took_s
        assert accepted_s < 15
    until(lambda: stack.ready()[0] == 200, patience_s=60, what="the stack is ready again")
    if job is not None:
        assert stack.finished(job)["status"] == "succeeded"
    assert stack.finished(stack.submit("fast"))["status"] in TERMINAL
