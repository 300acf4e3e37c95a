"""Batches: their counts, their end, and the two files that come back."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from router_service.jobs.states import JobState
from router_service.store import batches, dead_letters, files, jobs, sweeps
from router_service.store.dead_letters import Selection
from router_service.store.decisions import Routed
from tests.support.steps import TENANT, answered, decision, gone_wrong, make_id, new_job

if TYPE_CHECKING:
    from uuid import UUID

    from router_service.store.calls import Claim
    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps


async def get(database: Database, batch_id: UUID) -> Any:
    async with database.transaction() as session:
        return await batches.get(session, batch_id, tenant_id=TENANT)


async def lines_of(database: Database, file_id: UUID | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    async with database.transaction() as session:
        file = await files.get(session, file_id, tenant_id=TENANT)
        content = b"".join([chunk async for chunk in files.chunks(session, file_id)])
    assert file is not None
    assert (file.bytes, file.purpose) == (len(content), "batch_output")
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def line_of(claims: list[Claim], accepted: Any) -> dict[str, Claim]:
    by_id = {claim.id: claim for claim in claims}
    return {job.custom_id: by_id[job.id] for job in accepted}


async def test_each_line_comes_back_exactly_once_in_input_order(steps: Steps, sql: Sql, database: Database) -> None:
    batch_id, accepted = await steps.batch(7)
    by_line = line_of(await steps.run_on(7), accepted)
    error = '{"error":{"message":"too long","code":"bad"}}'
    refused = {"status_code": 400, "body": error, "error_code": "bad"}
    await steps.finish(
        answered(by_line["c5"]),
        answered(by_line["c1"]),
        gone_wrong(by_line["c3"], JobState.FAILED, **refused),
        gone_wrong(by_line["c4"], JobState.FAILED, error_code="no_model", error_message='said "no"\n\u00e9'),
        gone_wrong(by_line["c6"], JobState.RETRY_WAIT, delay_s=99.0),
        gone_wrong(by_line["c7"], JobState.DEAD),
    )
    await sql.rows("UPDATE jobs SET deadline = now() WHERE id = %s", by_line["c6"].id)
    async with database.transaction() as session:
        await sweeps.passed_deadlines(session)
        await jobs.cancel(session, by_line["c7"].id, tenant_id=TENANT)
    assert await steps.end_batch() is None  # c2 still runs
    await steps.finish(answered(by_line["c2"]))
    assert await steps.end_batch() == batch_id
    row = await get(database, batch_id)
    output, errors = await lines_of(database, row.output_file_id), await lines_of(database, row.error_file_id)
    assert [line["custom_id"] for line in output] == ["c1", "c2", "c5"]
    assert [line["custom_id"] for line in errors] == ["c3", "c4", "c6", "c7"]
    assert [(line["response"] or {}).get("status_code") for line in errors] == [400, None, None, None]
    assert errors[0]["response"]["body"] == json.loads(error)
    assert errors[0]["error"] is None
    assert [line["error"]["code"] for line in errors[1:]] == ["no_model", "batch_expired", "batch_cancelled"]
    assert errors[1]["error"]["message"] == 'said "no"\n\u00e9'
    for line in output:
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["body"] == {"choices": [{"message": {"content": "ships"}}]}
    assert all(line["id"].startswith("batch_req_") for line in (*output, *errors))
    assert (row.succeeded, row.failed, row.cancelled, row.expired) == (3, 2, 1, 1)
    assert (row.tokens_in, row.tokens_out) == (21, 9)


async def test_custom_ids_and_answers_that_are_hard_to_quote_make_valid_lines(steps: Steps, database: Database) -> None:
    hard = '"\\ \u2028\u2029 \U0001f6a2 \x01\x7f :id %s \n'
    batch_id, _ = await steps.batch(0)
    async with database.transaction() as session:
        await jobs.accept(session, [new_job(batch_id=batch_id, line=1, custom_id=hard)])
        await batches.counted(session, batch_id, total=1)
    (claim,) = await steps.run_on()
    body = json.dumps({"x": f"\u0000\ud800{hard}"})
    await steps.finish(answered(claim, body=body))
    await steps.end_batch()
    (line,) = await lines_of(database, (await get(database, batch_id)).output_file_id)
    assert line["custom_id"] == hard
    assert line["response"]["body"] == json.loads(body)


async def test_a_file_is_kept_in_chunks_that_join_to_the_whole(steps: Steps, sql: Sql, database: Database) -> None:
    batch_id, _ = await steps.batch(30)
    claims = await steps.run_on(30)
    body = json.dumps({"text": "x" * 250_000})
    await steps.finish(*(answered(claim, body=body) for claim in claims))
    await steps.end_batch()
    row = await get(database, batch_id)
    assert [line["custom_id"] for line in await lines_of(database, row.output_file_id)] == [
        f"c{line}" for line in range(1, 31)
    ]
    chunks = await sql.rows("SELECT seq, octet_length(data) AS size FROM file_chunks ORDER BY seq")
    assert [chunk["seq"] for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) > 5
    assert max(chunk["size"] for chunk in chunks) < 1_300_000


async def test_no_file_is_written_where_there_are_no_such_lines(steps: Steps, sql: Sql, database: Database) -> None:
    batch_id, _ = await steps.batch(2)
    await steps.finish(*(answered(claim) for claim in await steps.run_on(2)))
    await steps.end_batch()
    row = await get(database, batch_id)
    assert row.output_file_id is not None
    assert row.error_file_id is None
    assert await sql.value("SELECT count(*) FROM files") == 1


async def test_counts_are_told_while_the_batch_runs(steps: Steps, database: Database) -> None:
    batch_id, accepted = await steps.batch(4)
    by_line = line_of(await steps.run_on(4), accepted)
    await steps.finish(answered(by_line["c1"]), gone_wrong(by_line["c2"], JobState.FAILED))
    row = await get(database, batch_id)
    assert (row.total, row.n_succeeded, row.n_failed, row.n_cancelled, row.n_expired) == (4, 1, 1, 0, 0)
    async with database.transaction() as session:
        progress = await batches.progress(session, batch_id)
    assert {(each.state, each.model_id): each.jobs for each in progress} == {
        ("succeeded", "alpha"): 1,
        ("failed", "alpha"): 1,
        ("running", "alpha"): 2,
    }
    assert sum(each.cost_usd for each in progress) == 0.5


async def test_two_janitors_at_once_end_a_batch_once(steps: Steps, sql: Sql, database: Database) -> None:
    """The second one looks while the first one writes the files, and neither waits for it nor writes its own."""
    batch_id, _ = await steps.batch(3)
    await steps.finish(*(answered(claim) for claim in await steps.run_on(3)))
    async with database.transaction() as session:
        assert await batches.end_one(session, new_id=make_id) == batch_id
        async with asyncio.timeout(10):
            assert await steps.end_batch() is None
    assert await sql.value("SELECT count(*) FROM files") == 1
    assert await steps.end_batch() is None


async def test_a_janitor_that_dies_while_it_ends_a_batch_leaves_nothing(
    steps: Steps, sql: Sql, database: Database
) -> None:
    batch_id, _ = await steps.batch(1)
    await steps.finish(*(answered(claim) for claim in await steps.run_on()))
    connection = database.transaction()
    session = await connection.__aenter__()
    assert await batches.end_one(session, new_id=make_id) == batch_id
    await connection.__aexit__(LookupError, LookupError(), None)
    assert await sql.value("SELECT count(*) FROM files") == 0
    assert await steps.end_batch() == batch_id


async def test_cancelling_ends_what_is_not_running_and_lets_running_calls_end(
    steps: Steps, sql: Sql, database: Database
) -> None:
    batch_id, accepted = await steps.batch(3)
    tickets = await steps.route()
    (claim,) = await steps.claim(tickets[:1])
    async with database.transaction() as session:
        assert not await batches.cancel(session, batch_id, tenant_id="other")
        assert await batches.cancel(session, batch_id, tenant_id=TENANT)
        moved = await sweeps.cancel_batches(session, batch_id=batch_id)
    assert {each.left for each in moved} == {JobState.ROUTED}
    assert len(moved) == 2
    assert await steps.end_batch() is None
    await steps.finish(answered(claim))
    assert await steps.end_batch() == batch_id
    row = await get(database, batch_id)
    assert (row.succeeded, row.cancelled) == (1, 2)
    assert [line["custom_id"] for line in await lines_of(database, row.output_file_id)] == [
        next(job.custom_id for job in accepted if job.id == claim.id)
    ]
    async with database.transaction() as session:
        assert not await batches.cancel(session, batch_id, tenant_id=TENANT)


async def test_a_refused_batch_is_never_ended(steps: Steps, database: Database) -> None:
    batch_id, _ = await steps.batch(0)
    async with database.transaction() as session:
        await batches.refused(session, batch_id, errors=[{"code": "x", "line": 1}])
    assert await steps.end_batch() is None
    row = await get(database, batch_id)
    assert (row.failed_at is not None, row.errors) == (True, [{"code": "x", "line": 1}])


async def test_a_replay_of_an_ended_batchs_job_leaves_the_batch_ended(
    steps: Steps, sql: Sql, database: Database
) -> None:
    batch_id, _ = await steps.batch(1)
    (claim,) = await steps.run_on()
    await steps.finish(gone_wrong(claim, JobState.DEAD))
    async with database.transaction() as session:
        dead = await dead_letters.load(session, [(claim.id, claim.epoch)])
        await dead_letters.settle(session, [(each, Routed(job=each.job, decision=decision(None))) for each in dead])
    await steps.end_batch()
    before = await sql.one("SELECT * FROM batches")
    async with database.transaction() as session:
        assert await dead_letters.replay(
            session, tenant_id=TENANT, selection=Selection(batch_id=batch_id), to_model=None, most=10
        )
    (again,) = await steps.run_on()
    await steps.finish(answered(again))
    assert await steps.end_batch() is None
    assert await sql.one("SELECT * FROM batches") == before
