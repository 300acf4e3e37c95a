"""A failing model's jobs, through its dead-letter queue to a fallback, or parked until an operator replays them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from router_service.store import dead_letters
from router_service.store.dead_letters import Selection
from tests.conftest import publish
from tests.support.catalogs import document, entry
from tests.support.steps import TENANT
from workers.app import queues_of

if TYPE_CHECKING:
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers

FAILING: dict[str, Any] = {"simulated": {"failure_rate": 1.0, "failure": "401"}}


async def test_jobs_of_a_failing_model_finish_on_its_fallback(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", router=FAILING), entry("beta"), fallbacks=[{"alpha": ["beta"]}])
    batch_id, _ = await steps.batch(5)
    await workers.work("alpha", "beta")
    jobs = await sql.rows("SELECT state, model_id, attempt, excluded FROM jobs")
    assert jobs == [{"state": "succeeded", "model_id": "beta", "attempt": 2, "excluded": ["alpha"]}] * 5
    assert {row["state"] for row in await sql.rows("SELECT state FROM dead_letters")} == {"rerouted"}
    reasons = await sql.rows("SELECT DISTINCT epoch, model_id, reason FROM decisions ORDER BY epoch")
    assert [tuple(row.values()) for row in reasons] == [(1, "alpha", "asked_for"), (2, "beta", "fallback")]
    ended = await sql.one("SELECT succeeded, failed, error_file_id FROM batches WHERE id = %s", batch_id)
    assert ended == {"succeeded": 5, "failed": 0, "error_file_id": None}
    assert (await workers.in_flight("alpha"), await workers.in_flight("beta")) == (0, 0)


async def test_a_chain_is_followed_to_its_end(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(
        entry("alpha", router=FAILING),
        entry("beta", router=FAILING),
        entry("gamma"),
        fallbacks=[{"alpha": ["beta", "gamma"]}],
    )
    await steps.accept(count=1)
    await workers.work("alpha", "beta", "gamma")
    assert await sql.one("SELECT state, model_id, excluded FROM jobs") == {
        "state": "succeeded",
        "model_id": "gamma",
        "excluded": ["alpha", "beta"],
    }


async def test_without_a_fallback_the_job_fails_and_is_parked_and_a_replay_finishes_it(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    workers = await open_workers(entry("alpha", router=FAILING), entry("beta"))
    await steps.accept(count=2)
    await workers.work("alpha", "beta")
    assert await sql.rows("SELECT state, error_code FROM jobs") == [{"state": "failed", "error_code": "http_401"}] * 2
    assert {row["state"] for row in await sql.rows("SELECT state FROM dead_letters")} == {"parked"}
    await publish(database, document(entry("alpha")))
    await workers.runtime._follow_catalog()
    async with database.transaction() as session:
        assert await dead_letters.replay(session, tenant_id=TENANT, selection=Selection(), to_model=None, most=10) == 2
    await workers.work("alpha")
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'succeeded'") == 2
    assert {row["state"] for row in await sql.rows("SELECT state FROM dead_letters")} == {"replayed"}


async def test_a_fallback_never_leaves_the_jobs_constraints(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    places = {"data_residency": {"inference": "eu", "storage": "eu"}}
    elsewhere = {"data_residency": {"inference": "us", "storage": "us"}}
    workers = await open_workers(
        entry("alpha", router=FAILING | places),
        entry("beta", router=elsewhere),
        entry("gamma"),
        default_fallbacks=["beta", "gamma"],
    )
    await steps.accept(count=1, residency="eu")
    await workers.work("alpha", "beta", "gamma")
    assert await sql.one("SELECT state, model_id FROM jobs") == {"state": "failed", "model_id": "alpha"}
    candidates = await sql.value("SELECT candidates FROM decisions ORDER BY epoch DESC LIMIT 1")
    assert {each["model"]: each["reason"] for each in candidates} == {
        "alpha": "failed_before",
        "beta": "residency",
        "gamma": "residency_unknown",
    }


async def test_a_doubled_or_forged_dead_letter_does_no_harm(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", router=FAILING), entry("beta"), fallbacks=[{"alpha": ["beta"]}])
    await steps.accept(count=1)
    await workers.route()
    await workers.call()
    (message,) = workers.pull("dlq.alpha")
    for _ in range(3):
        await workers.dead_letter.settle(message)
    assert await sql.one("SELECT state, epoch, excluded FROM jobs") == {
        "state": "queued",
        "epoch": 1,
        "excluded": ["alpha"],
    }
    with pytest.raises(ValueError, match="tickets"):
        await workers.dead_letter.settle("nonsense")


async def test_a_letter_that_was_lost_is_sent_again_by_the_janitor(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", router=FAILING), entry("beta"), fallbacks=[{"alpha": ["beta"]}])
    await steps.accept(count=1)
    await workers.route()
    await workers.call()
    assert len(workers.pull("dlq.alpha")) == 1
    await workers.janitor.resend_dead_letters()
    assert workers.pull("dlq.alpha") == []
    await sql.rows("UPDATE dead_letters SET sent_at = now() - interval '1 min'")
    await workers.janitor.resend_dead_letters()
    assert await workers.settle_dead() == 1
    await workers.work("alpha", "beta")
    assert await sql.value("SELECT state FROM jobs") == "succeeded"


async def test_a_poison_job_is_given_up_after_three_lost_leases_and_parked_where_no_model_is_left(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha"), entry("beta"))
    workers.runtime.settings = workers.runtime.settings.model_copy(update={"lease_s": 1e-6})
    await steps.accept(count=1)
    for _lease in range(3):
        await workers.route()
        ((ticket,),) = workers.pull("model.alpha")
        (claim,) = await steps.claim([(await sql.value("SELECT id FROM jobs"), ticket[1])], lease_s=-1)
        await workers.janitor.take_over_leases()
        await sql.rows(
            "UPDATE jobs SET available_at = now() WHERE state = 'retry_wait'"
        )  # they are spread over seconds
        await workers.janitor.queue_due_retries()
    assert claim.attempt == 3
    assert await sql.value("SELECT state FROM jobs") == "dead"
    await workers.settle_dead()
    assert await sql.one("SELECT state, model_id, lost_leases FROM jobs") == {
        "state": "failed",
        "model_id": "alpha",
        "lost_leases": 3,
    }
    assert await sql.one("SELECT state, error_code FROM dead_letters") == {"state": "parked", "error_code": "poison"}
    assert await workers.in_flight() == 0


async def test_a_model_that_gave_up_is_never_asked_again_for_the_same_job(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    entries = [entry(name, router=FAILING) for name in ("alpha", "beta", "gamma")]
    workers = await open_workers(*entries)
    await steps.accept(count=2, model="auto")
    await workers.work("alpha", "beta", "gamma")
    for job in await sql.rows("SELECT id, state, attempt, excluded FROM jobs"):
        tried = await sql.rows("SELECT model_id FROM attempts WHERE job_id = %s ORDER BY attempt", job["id"])
        assert sorted(row["model_id"] for row in tried) == ["alpha", "beta", "gamma"]
        assert job["excluded"] == [row["model_id"] for row in tried]
        assert (job["state"], job["attempt"]) == ("failed", 3)
    letters = await sql.rows("SELECT state, count(*) AS letters FROM dead_letters GROUP BY 1 ORDER BY 1")
    assert [tuple(row.values()) for row in letters] == [("parked", 2), ("rerouted", 4)]


async def test_the_next_model_gets_all_its_tries(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    broken = {"simulated": {"failure_rate": 1.0, "failure": "500"}}
    workers = await open_workers(
        entry("alpha", router=broken),
        entry("beta", router=broken),
        default_fallbacks=["beta"],
        num_retries=1,
    )
    await steps.accept(count=1)
    for _call in range(4):
        await workers.work("alpha", "beta")
        await sql.rows("UPDATE jobs SET available_at = now() WHERE state = 'retry_wait'")
        await workers.janitor.queue_due_retries()
    tried = await sql.rows("SELECT model_id FROM attempts ORDER BY attempt")
    assert [row["model_id"] for row in tried] == ["alpha", "alpha", "beta", "beta"]
    assert await sql.value("SELECT state FROM jobs") == "failed"


async def test_a_letter_settled_twice_at_once_moves_its_job_once(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    entries = [entry("alpha", router=FAILING), entry("beta")]
    one = await open_workers(*entries, default_fallbacks=["beta"])
    other = await open_workers(*entries, default_fallbacks=["beta"])
    await steps.accept(count=1)
    await one.route()
    await one.call()
    (message,) = one.pull("dlq.alpha")
    doubled = message + message
    await asyncio.gather(*(each.dead_letter.settle(doubled) for each in (one, other, one, other)))
    assert await sql.one("SELECT state, excluded FROM jobs") == {"state": "queued", "excluded": ["alpha"]}
    await one.work("alpha", "beta")
    assert await sql.one("SELECT state, model_id, attempt FROM jobs") == {
        "state": "succeeded",
        "model_id": "beta",
        "attempt": 2,
    }


async def test_a_doubled_letter_of_a_parked_or_replayed_job_changes_nothing(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    workers = await open_workers(entry("alpha", router=FAILING))
    await steps.accept(count=1)
    await workers.route()
    await workers.call()
    (message,) = workers.pull("dlq.alpha")
    await workers.dead_letter.settle(message)
    parked = await sql.one("SELECT * FROM jobs")
    await workers.dead_letter.settle(message)
    assert await sql.one("SELECT * FROM jobs") == parked
    assert parked["state"] == "failed"
    async with database.transaction() as session:
        await dead_letters.replay(session, tenant_id=TENANT, selection=Selection(), to_model=None, most=10)
    replayed = await sql.one("SELECT * FROM jobs")
    await workers.dead_letter.settle(message)
    assert await sql.one("SELECT * FROM jobs") == replayed
    assert (replayed["state"], replayed["id"]) == ("queued", parked["id"])


async def test_a_letter_of_a_model_that_left_the_catalog_is_sent_again_to_a_queue_that_is_consumed(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    workers = await open_workers(entry("alpha", router=FAILING), entry("beta"), default_fallbacks=["beta"])
    await steps.accept(count=1)
    await workers.route()
    await workers.call()
    workers.pull("dlq.alpha")
    await publish(database, document(entry("beta")))
    await workers.runtime._follow_catalog()
    await sql.rows("UPDATE dead_letters SET sent_at = now() - interval '1 min'")
    await workers.janitor.resend_dead_letters()
    # A dead-letter worker that started after the change consumes the queues of this catalog and no others.
    messages = [
        each for queue in queues_of("dead-letter", workers.runtime.offer.catalog) for each in workers.pull(queue)
    ]
    for message in messages:
        await workers.dead_letter.settle(message)
    assert await sql.value("SELECT state FROM jobs") != "dead"
    assert await sql.value("SELECT state FROM dead_letters") != "open"


CHAINS: dict[str, Any] = {
    "fallbacks": [{"alpha": ["beta"]}],
    "context_window_fallbacks": [{"alpha": ["gamma"]}],
    "content_policy_fallbacks": [{"alpha": ["delta", "epsilon"]}],
}


async def given_up(workers: Workers, sql: Sql, *, kind: str, model_id: str = "alpha") -> None:
    """The job fails on its model, and its letter is of that kind."""
    await workers.route()
    await workers.call(model_id)
    await sql.rows("UPDATE dead_letters SET fallback = %s WHERE state = 'open'", kind)
    await workers.settle_dead(model_id)


@pytest.mark.parametrize(
    ("kind", "model_id"), [("general", "beta"), ("context_window", "gamma"), ("content_policy", "delta")]
)
async def test_a_dead_letter_follows_the_chain_of_its_kind(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, kind: str, model_id: str
) -> None:
    names = ("beta", "gamma", "delta", "epsilon")
    workers = await open_workers(entry("alpha", router=FAILING), *map(entry, names), **CHAINS)
    await steps.accept(count=1)
    await given_up(workers, sql, kind=kind)
    assert await sql.one("SELECT state, fallback, excluded FROM jobs") == {
        "state": "queued",
        "fallback": kind,
        "excluded": ["alpha"],
    }
    await workers.work(*names)
    assert await sql.one("SELECT state, model_id FROM jobs") == {"state": "succeeded", "model_id": model_id}
    assert await sql.value("SELECT reason FROM decisions ORDER BY epoch DESC LIMIT 1") == "fallback"


async def test_a_refused_content_stays_on_its_chain_whatever_fails_next_and_a_replay_begins_anew(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, database: Database
) -> None:
    failing = [entry(name, router=FAILING) for name in ("alpha", "delta", "epsilon")]
    workers = await open_workers(*failing, entry("beta"), entry("gamma"), **CHAINS)
    await steps.accept(count=1)
    await given_up(workers, sql, kind="content_policy")
    await given_up(workers, sql, kind="general", model_id="delta")
    assert await sql.one("SELECT state, fallback FROM jobs") == {"state": "queued", "fallback": "content_policy"}
    await given_up(workers, sql, kind="context_window", model_id="epsilon")
    assert await sql.one("SELECT state, fallback, excluded FROM jobs") == {
        "state": "failed",
        "fallback": "content_policy",
        "excluded": ["alpha", "delta", "epsilon"],
    }
    assert {row["state"] for row in await sql.rows("SELECT state FROM dead_letters WHERE model_id = 'epsilon'")} == {
        "parked"
    }
    async with database.transaction() as session:
        assert await dead_letters.replay(session, tenant_id=TENANT, selection=Selection(), to_model=None, most=10) == 1
    assert await sql.one("SELECT fallback, excluded FROM jobs") == {"fallback": "general", "excluded": []}
    await given_up(workers, sql, kind="general")
    await workers.work("beta")
    assert await sql.one("SELECT state, model_id FROM jobs") == {"state": "succeeded", "model_id": "beta"}


async def test_a_refused_content_without_a_chain_of_its_own_is_parked(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(entry("alpha", router=FAILING), entry("beta"), default_fallbacks=["beta"])
    await steps.accept(count=1)
    await given_up(workers, sql, kind="content_policy")
    assert await sql.value("SELECT state FROM jobs") == "failed"
    assert await sql.one("SELECT reason, candidates FROM decisions WHERE model_id IS NULL") == {
        "reason": "no_eligible_model",
        "candidates": [],
    }


async def test_a_fallback_for_length_never_leaves_the_jobs_constraints(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    places = {"data_residency": {"inference": "eu", "storage": "eu"}}
    workers = await open_workers(
        entry("alpha", router=FAILING | places),
        entry("beta", router=places),
        entry("gamma", router={"data_residency": {"inference": "us", "storage": "us"}}),
        entry("delta", router=places, info={"max_input_tokens": 1}),
        context_window_fallbacks=[{"alpha": ["gamma", "delta"]}],
        default_fallbacks=["beta"],
    )
    await steps.accept(count=1, residency="eu")
    await given_up(workers, sql, kind="context_window")
    assert await sql.value("SELECT state FROM jobs") == "failed"
    candidates = await sql.value("SELECT candidates FROM decisions ORDER BY epoch DESC LIMIT 1")
    assert {each["model"]: each["reason"] for each in candidates} == {"gamma": "residency", "delta": "context_window"}


async def test_a_content_that_is_refused_with_an_error_fails_with_the_providers_words_and_no_letter(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    refusing = {"simulated": {"failure_rate": 1.0, "failure": "content_policy"}}
    workers = await open_workers(entry("alpha", router=refusing), entry("beta"), default_fallbacks=["beta"])
    await steps.accept(count=1)
    await workers.work("alpha", "beta")
    assert await sql.one("SELECT state, error_code, attempt FROM jobs") == {
        "state": "failed",
        "error_code": "content_policy_violation",
        "attempt": 1,
    }
    assert "content_policy_violation" in await sql.value("SELECT body FROM job_results")
    assert await sql.rows("SELECT id FROM dead_letters") == []
