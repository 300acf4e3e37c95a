"""A model that always fails: the way over its dead-letter queue to the fallback, or to the operator and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import ROUTER_SETTINGS, fault_entries
from tests.stacks import until

if TYPE_CHECKING:
    from tests.faults.oracle import OracleProcess
    from tests.stacks import RunningStack

pytestmark = pytest.mark.timeout(180)


def test_jobs_of_a_failing_model_reach_the_fallback_over_the_dead_letter_queue(stack: RunningStack) -> None:
    """Every call of `doomed` fails. With its worker of dead letters stopped, the tickets are seen waiting in its queue."""
    with stack.frozen("dead-letter"):
        jobs = [stack.submit("doomed", f"ship {number}") for number in range(5)]
        until(lambda: {stack.job(job)["status"] for job in jobs} == {"dead"}, patience_s=30, what="all jobs are dead")
        with stack.admin_redis() as admin:
            waiting = int(admin.llen("dlq.doomed"))
    print(f"{waiting} tickets waited in dlq.doomed while its consumer was stopped")
    assert waiting >= len(jobs) - 1  # one may be in the stopped consumer's hands
    ended = [stack.finished(job) for job in jobs]
    assert {(job["status"], job["routed_model"]) for job in ended} == {("succeeded", "fast")}
    told = stack.http.get(f"/v1/jobs/{jobs[0]}/explain").json()
    assert [call["model"] for call in told["attempts"]] == ["doomed"] * 3 + ["fast"]
    assert [(letter["model"], letter["state"]) for letter in told["dead_letters"]] == [("doomed", "rerouted")]


def test_parked_jobs_are_listed_and_finish_when_the_model_is_mended_and_they_are_replayed(
    stack: RunningStack, provider: OracleProcess
) -> None:
    """Every call of `hopeless` fails and it has no fallback. The catalog file is mended, reloaded (SIGHUP), replayed."""
    jobs = [stack.submit("hopeless", f"ship {number}") for number in range(5)]
    ended = [stack.finished(job) for job in jobs]
    assert {job["status"] for job in ended} == {"failed"}
    assert all(job["error"]["code"] for job in ended)
    listed = stack.waybill("dead-letters", "list", "--model", "hopeless", "--state", "parked", "--json")
    letters = [json.loads(line) for line in listed.splitlines()]
    assert {letter["job_id"] for letter in letters} == set(jobs)

    stack.write_catalog(*fault_entries(provider, hopeless_fails=0.0), **ROUTER_SETTINGS)
    before = stack.ready()[1]["catalog"]["detail"]
    stack.waybill("reload")
    until(lambda: stack.ready()[1]["catalog"]["detail"] != before, patience_s=15, what="the new catalog is in force")
    # Workers look for a new catalog every second; one that is not there yet would fail the replayed jobs once more.
    in_force = stack.ready()[1]["catalog"]["detail"]

    def all_follow() -> bool:
        texts = [(stack.logs / f"{name}.log").read_text() for name in ("router", "provider-1", "provider-2")]
        return all(in_force in text for text in texts)

    until(all_follow, patience_s=15, what="the workers follow the catalog")
    replayed = json.loads(stack.waybill("dead-letters", "replay", "--all", "--model", "hopeless", "--json"))
    assert replayed == {"replayed": len(jobs)}
    again = [stack.finished(job) for job in jobs]
    assert {(job["status"], job["routed_model"]) for job in again} == {("succeeded", "hopeless")}
    assert stack.waybill("dead-letters", "list", "--model", "hopeless", "--state", "parked", "--json") == ""
