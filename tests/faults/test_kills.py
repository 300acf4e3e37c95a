"""SIGKILL and SIGSTOP to the processes of a stack at work. What was accepted ends, once, with nobody's help."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import assert_steady_was_spared, work_for
from tests.stacks import custom_ids, until

if TYPE_CHECKING:
    from tests.faults.oracle import OracleProcess
    from tests.stacks import RunningStack

pytestmark = pytest.mark.timeout(240)

SEED = 20_240
JOBS = 2000
VICTIMS = [["router"], ["provider-1", "provider-2"], ["dead-letter"], ["janitor"], ["api"]]
HEALED_WITHIN_S = 90.0
LEAST_RUNNING = 4  # calls that the death of their workers cuts off


def test_batch_survives_the_death_of_every_kind_of_process(stack: RunningStack, provider: OracleProcess) -> None:
    """Kills (-9) each worker, the janitor and the API once, in a seeded order, in the middle of 2,000 jobs.

    Both provider workers die at once, so that every call in flight is lost.

    Every custom_id comes exactly once and in order, within 90 s of the last kill; each call beyond a job's first is
    explained; the model's cap holds; no slot stays taken.
    """
    chance = random.Random(SEED)
    work = work_for([chance.choice(["steady"] * 9 + ["flaky"]) for _ in range(JOBS)])
    batch = stack.submit_batch(work.content)
    stack.wait_done(batch, 100)
    for number, victims in enumerate(chance.sample(VICTIMS, len(VICTIMS)), start=1):
        if "provider-1" in victims:
            until(lambda: stack.running(batch) >= LEAST_RUNNING, patience_s=10, what="calls are in flight")
        formers = {victim: stack.kill(victim) for victim in victims}
        for victim, former in formers.items():
            stack.wait_restarted(victim, former=former)
        stack.wait_done(batch, 100 + 150 * number)
    assert stack.done_of(batch) < JOBS, "the kills came too late to prove anything"
    killed_at = time.monotonic()
    ended = stack.wait_batch(batch, patience_s=HEALED_WITHIN_S)
    print(f"healed {time.monotonic() - killed_at:.1f} s after the last kill")
    assert ended.status == "completed"
    stack.assert_batch_whole(ended, custom_ids(JOBS))
    attempts = stack.assert_attempts_explained(batch)
    lost = [attempt for attempt in attempts if attempt["outcome"] == "lost"]
    print(f"{len(attempts)} calls for {JOBS} jobs, {len(lost)} lost with their workers")
    assert lost, "no call was cut off: the kills proved nothing"
    assert_steady_was_spared(provider, work)
    stack.assert_slots_come_back()


def test_late_finish_of_a_frozen_worker_does_not_overwrite(stack: RunningStack) -> None:
    """Stops (SIGSTOP) one of two provider workers with calls in flight for longer than its lease, then lets it go on.

    Its calls are taken over and end elsewhere; what it brings late is recorded and changes nothing.
    """
    jobs = [stack.submit("slow", f"ship {number}") for number in range(30)]
    until(lambda: all(stack.job(job)["status"] == "running" for job in jobs), patience_s=10, what="all jobs run")
    with stack.frozen("provider-1"):
        ended = [stack.finished(job) for job in jobs]
    assert {job["status"] for job in ended} == {"succeeded"}
    taken_over = [job for job in ended if job["attempts"] == 2]
    print(f"{len(taken_over)} of {len(jobs)} calls were in the frozen worker")
    assert taken_over, "the frozen worker held no call: nothing was proved"

    def late_is_written() -> bool:
        told = [stack.http.get(f"/v1/jobs/{job['id']}/explain").json()["attempts"] for job in taken_over]
        return all([call["outcome"] for call in calls] == ["late", "answered"] for calls in told)

    until(late_is_written, patience_s=15, what="the late calls are recorded")
    for before in ended:
        assert stack.job(before["id"]) == before
    (stored,) = stack.rows(
        "SELECT count(*) FILTER (WHERE r.attempt = 2) AS second, count(*) AS all FROM job_results r "
        "WHERE r.job_id = ANY (%s::uuid[])",
        [job.removeprefix("job_") for job in jobs],
    )
    assert stored == {"second": len(taken_over), "all": len(jobs)}
    stack.assert_slots_come_back()
