"""The database restates the state machine: every pair of states is tried on a real row."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest

from router_service.jobs.states import TERMINAL, TRANSITIONS, JobState
from tests.support.steps import answered, make_id

if TYPE_CHECKING:
    from uuid import UUID

    from tests.support.steps import Sql, Steps

# What the other constraints want of a row in a state.
FITTING = (
    "state = '{0}', model_id = 'alpha',"
    " lease_until = CASE WHEN '{0}' = 'running' THEN now() END,"
    " available_at = CASE WHEN '{0}' = 'retry_wait' THEN now() END,"
    " finished_at = CASE WHEN '{0}' IN ('succeeded', 'failed', 'cancelled', 'expired') THEN now() END"
)


async def put(sql: Sql, job_id: UUID, state: JobState) -> None:
    """Into any state, past the trigger."""
    await sql.rows("DELETE FROM jobs WHERE id = %s", job_id)
    await sql.rows(
        "INSERT INTO jobs (id, tenant_id, endpoint, model, lane, tokens_in, state, model_id, lease_until, available_at,"
        " finished_at) VALUES (%s, 't', '/', 'alpha', 1, 1, %s, 'alpha',"
        " CASE WHEN %s THEN now() END, CASE WHEN %s THEN now() END, CASE WHEN %s THEN now() END)",
        job_id,
        state,
        state is JobState.RUNNING,
        state is JobState.RETRY_WAIT,
        state in TERMINAL,
    )


async def test_the_trigger_allows_exactly_the_transitions_of_the_code(sql: Sql) -> None:
    job_id, allowed = make_id(), set[tuple[JobState, JobState]]()
    refused: dict[tuple[JobState, JobState], str] = {}
    for before, after in itertools.permutations(JobState, 2):
        await put(sql, job_id, before)
        try:
            await sql.rows(f"UPDATE jobs SET {FITTING.format(after)} WHERE id = %s", job_id)
        except psycopg.errors.CheckViolation as error:
            refused[before, after] = str(error)
        else:
            allowed.add((before, after))
    assert allowed == TRANSITIONS
    assert all(f"may not go from {before} to {after}" in said for (before, after), said in refused.items())


@pytest.mark.parametrize("state", list(JobState))
async def test_staying_in_a_state_is_no_transition(sql: Sql, state: JobState) -> None:
    job_id = make_id()
    await put(sql, job_id, state)
    await sql.rows("UPDATE jobs SET state = state, tries = tries + 1 WHERE id = %s", job_id)
    assert (await sql.job(job_id))["tries"] == 1


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("state = 'lost'", "may not go|jobs_state"),
        ("lease_until = now()", "jobs_leased_while_running"),
        ("available_at = now()", "jobs_due_while_waiting"),
        ("finished_at = now()", "jobs_finished_when_terminal"),
        ("state = 'routed'", "jobs_model_chosen"),
        ("state = 'cancelled'", "jobs_finished_when_terminal"),
        ("line = 1", "jobs_line_of_batch"),
        ("batch_id = gen_random_uuid()", "jobs_line_of_batch"),
    ],
)
async def test_a_row_that_contradicts_itself_is_refused(sql: Sql, steps: Steps, change: str, constraint: str) -> None:
    (job,) = await steps.accept(count=1)
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        await sql.rows(f"UPDATE jobs SET {change} WHERE id = %s", job.id)


async def test_a_job_is_never_born_in_a_state_that_nobody_knows(sql: Sql) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="jobs_state"):
        await sql.rows(
            "INSERT INTO jobs (id, tenant_id, endpoint, model, lane, tokens_in, state)"
            " VALUES (gen_random_uuid(), 't', '/', 'm', 1, 1, 'lost')"
        )


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("INSERT INTO job_results SELECT job_id, 9, 'm', 200, '{}', 0, 0 FROM job_results", "job_results_pk"),
        ("INSERT INTO attempts SELECT * FROM attempts", "attempts_pk"),
    ],
)
async def test_a_second_result_or_record_of_a_call_is_refused(
    sql: Sql, steps: Steps, statement: str, constraint: str
) -> None:
    await steps.finish(*[answered(claim) for claim in await steps.running()])
    with pytest.raises(psycopg.errors.UniqueViolation, match=constraint):
        await sql.rows(statement)
