"""What a crash leaves behind, and that one pass of the janitor mends it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from router_service.api.batches import status_of
from router_service.jobs.states import JobState
from router_service.policy.outcomes import Answered
from router_service.store import batches, files
from tests.support.catalogs import entry
from tests.support.polling import until
from tests.support.steps import ANSWER, TENANT, answered, gone_wrong
from tests.support.workers import ScriptedProvider

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    import redis

    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers


async def test_a_ticket_that_nobody_took_is_issued_anew_and_the_old_one_is_stale(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=1)
    await workers.route()
    (old,) = workers.pull("model.alpha")
    await sql.rows("UPDATE jobs SET routed_at = now() - interval '1 h'")
    await workers.janitor.reissue_tickets()
    await workers.route()
    (new,) = workers.pull("model.alpha")
    assert (old[0][1], new[0][1]) == (1, 3)
    await workers.provider.call(old, "alpha")
    assert await sql.value("SELECT state FROM jobs") == "routed"
    await workers.provider.call(new, "alpha")
    assert await sql.value("SELECT state FROM jobs") == "succeeded"


async def test_a_dead_workers_call_is_taken_over(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=1)
    await workers.route()
    ((ticket,),) = workers.pull("model.alpha")
    await steps.claim([(await sql.value("SELECT id FROM jobs"), ticket[1])], lease_s=-1)
    usual = workers.runtime.settings
    workers.runtime.settings = usual.model_copy(update={"lease_s": 1e-6})  # Postgres has run for longer than that
    await workers.janitor.take_over_leases()
    workers.runtime.settings = usual
    await workers.janitor.queue_due_retries()
    await workers.work("alpha")
    assert await sql.one("SELECT state, attempt FROM jobs") == {"state": "succeeded", "attempt": 2}


async def test_a_deadline_expires_a_waiting_job_before_it_is_called(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.accept(count=1)
    await workers.route()
    await sql.rows("UPDATE jobs SET deadline = now()")
    await workers.janitor.expire()
    assert await sql.value("SELECT state FROM jobs") == "expired"
    assert await workers.in_flight() == 0
    await workers.call()
    assert await sql.value("SELECT count(*) FROM attempts") == 0


async def test_a_cancelled_batch_is_swept_and_ends(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 2}))
    batch_id, _ = await steps.batch(5)
    await workers.route()
    await sql.rows("UPDATE batches SET cancelling_at = now()")
    await workers.janitor.cancel()
    await workers.janitor.end_batches()
    assert await workers.in_flight() == 0
    ended = await sql.one("SELECT cancelled, ended_at IS NOT NULL AS ended FROM batches WHERE id = %s", batch_id)
    assert ended == {"cancelled": 5, "ended": True}


async def test_every_batch_that_is_done_ends_in_one_pass(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha"))
    for _batch in range(3):
        await steps.batch(2)
    claims = await steps.run_on(6)
    await steps.finish(*(answered(claim) for claim in claims[:5]), gone_wrong(claims[5], JobState.FAILED))
    await workers.janitor.end_batches()
    assert await sql.value("SELECT count(*) FROM batches WHERE ended_at IS NOT NULL") == 3
    assert await sql.value("SELECT count(*) FROM files") == 4


async def test_every_sweep_does_nothing_on_an_empty_house(open_workers: OpenWorkers) -> None:
    workers = await open_workers(entry("alpha"))
    janitor = workers.janitor
    for step in (
        janitor.mend_counters,
        janitor.take_over_leases,
        janitor.reissue_tickets,
        janitor.queue_due_retries,
        janitor.resend_dead_letters,
        janitor.expire,
        janitor.cancel,
        janitor.end_batches,
    ):
        await step()


def repeated(step: Callable[[], Awaitable[None]], sql: Sql, fact: str) -> Callable[[], Awaitable[bool]]:
    """Run a sweep as its loop would, and look whether `fact` is true by now."""

    async def sweep_and_look() -> bool:
        await step()
        return bool(await sql.value(f"SELECT {fact}"))

    return sweep_and_look


def slots_free(workers: Workers) -> Callable[[], Awaitable[bool]]:
    """A slot that nobody settles expires by itself, a lease after it was reserved."""

    async def look() -> bool:
        return await workers.in_flight() == 0

    return look


async def test_the_lease_of_a_worker_that_froze_runs_out_and_its_late_answer_is_left_aside(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    thawed = asyncio.Event()

    async def freeze_at_first(_model: Model, attempt: int) -> Outcome:
        if attempt == 1:
            await thawed.wait()
        return Answered(body=ANSWER, tokens_in=attempt, tokens_out=1)

    workers = await open_workers(entry("alpha"), adapter=ScriptedProvider(freeze_at_first))
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 0.3})
    await steps.accept(count=1)
    await workers.route()
    frozen = asyncio.create_task(workers.call())
    await until(repeated(workers.janitor.queue_due_retries, sql, "state = 'running' FROM jobs"))
    await until(repeated(workers.janitor.take_over_leases, sql, "state = 'retry_wait' FROM jobs"))
    await until(slots_free(workers))
    await workers.janitor.queue_due_retries()
    await workers.work("alpha")
    thawed.set()
    await frozen
    assert await sql.one("SELECT state, attempt, lost_leases FROM jobs") == {
        "state": "succeeded",
        "attempt": 2,
        "lost_leases": 1,
    }
    assert await sql.one("SELECT attempt, tokens_in FROM job_results") == {"attempt": 2, "tokens_in": 2}
    assert await workers.in_flight() == 0


async def test_a_lease_that_is_renewed_is_not_taken_over(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha"))
    (claim,) = await steps.running()
    await workers.janitor.take_over_leases()
    assert await sql.one("SELECT state, attempt FROM jobs") == {"state": "running", "attempt": claim.attempt}


async def test_a_job_is_tried_again_when_its_wait_is_over_and_not_before(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    soon, later = await steps.running(count=2)
    await steps.finish(
        gone_wrong(soon, JobState.RETRY_WAIT, delay_s=0.1), gone_wrong(later, JobState.RETRY_WAIT, delay_s=60.0)
    )
    await until(repeated(workers.janitor.queue_due_retries, sql, "count(*) = 1 FROM jobs WHERE state = 'queued'"))
    assert [await sql.state(each.id) for each in (soon, later)] == ["queued", "retry_wait"]
    assert await sql.value("SELECT min(available_at) > now() FROM jobs")


async def lines_of(database: Database, file_id: UUID | None) -> list[dict[str, Any]]:
    if file_id is None:
        return []
    async with database.transaction() as session:
        content = b"".join([chunk async for chunk in files.chunks(session, file_id)])
    return [json.loads(line) for line in content.splitlines()]


async def test_a_cancelled_batch_ends_cancelled_with_every_line_once(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    workers = await open_workers(entry("alpha"))
    batch_id, _ = await steps.batch(8)
    one, two, three, four, five = list(await steps.claim((await steps.route())[:5]))
    await steps.finish(
        answered(one),
        gone_wrong(two, JobState.RETRY_WAIT, delay_s=60.0),
        gone_wrong(three, JobState.DEAD),
        gone_wrong(four, JobState.FAILED, status_code=400, body="{}"),
    )
    async with database.transaction() as session:
        assert await batches.cancel(session, batch_id, tenant_id=TENANT)
    await workers.janitor.cancel()
    await workers.janitor.end_batches()
    assert await sql.value("SELECT ended_at FROM batches") is None  # one call is still under way
    await steps.finish(answered(five))
    await workers.janitor.end_batches()
    async with database.transaction() as session:
        batch = await batches.get(session, batch_id, tenant_id=TENANT)
    assert batch is not None
    assert status_of(batch) == "cancelled"
    assert (batch.succeeded, batch.failed, batch.cancelled) == (2, 1, 5)
    output, errors = await lines_of(database, batch.output_file_id), await lines_of(database, batch.error_file_id)
    assert sorted(line["custom_id"] for line in (*output, *errors)) == [f"c{line}" for line in range(1, 9)]
    assert len(output) == 2
    assert sorted((line["error"] or {}).get("code", "") for line in errors) == ["", *["batch_cancelled"] * 5]


async def test_files_whose_time_is_over_are_deleted_with_their_content(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"))
    await steps.batch(2)
    one, other = await steps.run_on(2)
    await steps.finish(answered(one), gone_wrong(other, JobState.FAILED))
    await workers.janitor.end_batches()
    await sql.rows("UPDATE files SET expires_at = now() WHERE filename LIKE '%error%'")
    await workers.janitor.delete_files()
    assert [row["filename"][-12:] for row in await sql.rows("SELECT filename FROM files")] == ["output.jsonl"]
    assert await sql.value("SELECT count(*) FROM file_chunks") == 1


async def test_two_janitors_at_once_mend_everything_once(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    pair: list[Workers] = [await open_workers(entry("alpha")) for _janitor in range(2)]
    for workers in pair:
        workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 1e-6})
    await steps.accept(count=2)
    await pair[0].route()
    await sql.rows("UPDATE jobs SET routed_at = now() - interval '1 h' WHERE state = 'routed'")
    lost = await steps.running(count=3, lease_s=-1)
    poison = await steps.running(count=2, lease_s=-1)
    await sql.rows("UPDATE jobs SET lost_leases = 2 WHERE id = ANY (%s)", [each.id for each in poison])
    late = await steps.accept(count=2)
    await sql.rows("UPDATE jobs SET deadline = now() WHERE id = ANY (%s)", [job.id for job in late])
    batch_id, _ = await steps.batch(3)
    async with database.transaction() as session:
        await batches.cancel(session, batch_id, tenant_id=TENANT)
    for step in ("take_over_leases", "reissue_tickets", "expire", "cancel", "end_batches", "queue_due_retries"):
        await asyncio.gather(*(getattr(workers.janitor, step)() for workers in pair for _twice in range(2)))
    rows = await sql.rows("SELECT state, count(*) AS jobs FROM jobs GROUP BY 1")
    assert {row["state"]: row["jobs"] for row in rows} == {
        "queued": 2 + len(lost),
        "dead": 2,
        "expired": 2,
        "cancelled": 3,
    }
    assert await sql.value("SELECT max(epoch) FROM jobs WHERE lost_leases = 0 AND state = 'queued'") == 2
    assert await sql.value("SELECT max(lost_leases) FROM jobs WHERE state = 'queued'") == 1
    assert await sql.value("SELECT count(*) FROM dead_letters") == len(pair[0].pull("dlq.alpha")) == len(poison)
    assert await sql.one("SELECT cancelled, output_file_id FROM batches") == {"cancelled": 3, "output_file_id": None}
    assert await sql.value("SELECT count(*) FROM files") == 1
    assert await pair[0].in_flight() == 0


async def test_what_is_mended_is_counted_once(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha"))
    janitor, tallies = workers.janitor, workers.runtime.tallies
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 1e-6})
    poison, *_lost = await steps.running(count=3, lease_s=-1)
    await sql.rows("UPDATE jobs SET lost_leases = 2 WHERE id = %s", poison.id)
    await janitor.take_over_leases()
    await sql.rows("UPDATE dead_letters SET sent_at = now() - interval '1 h'")
    await janitor.resend_dead_letters()
    await steps.accept(count=1)
    await steps.route()
    await sql.rows("UPDATE jobs SET routed_at = now() - interval '1 h' WHERE state = 'routed'")
    await janitor.reissue_tickets()
    admin_redis.flushall()
    await janitor.mend_counters()
    for sweep in (
        janitor.take_over_leases,
        janitor.resend_dead_letters,
        janitor.reissue_tickets,
        janitor.mend_counters,
    ):
        await sweep()
    await tallies.flush()
    assert await tallies.read() == {
        ("recovered", (("what", "lease"),)): 3,
        ("duplicate_calls", (("model", "alpha"),)): 2,
        ("recovered", (("what", "dead_letter"),)): 1,
        ("recovered", (("what", "routed"),)): 1,
        ("recovered", (("what", "counters"),)): 1,
    }
