"""What is said of answers: kept once for each source, counted for those who may learn from it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from router_service.routing.estimates import Cell, Count
from router_service.store import learned
from router_service.store.learned import MOST_DOMAINS, MOST_SOURCES
from tests.conftest import client_of, publish, running
from tests.support.catalogs import document, entry
from tests.support.requests import accept_job
from tests.support.steps import answered

if TYPE_CHECKING:
    import httpx

    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps

COUNTS = "SELECT tenant_id, model_id, domain, round(score::numeric, 3)::float8 AS score, trials FROM quality_counts ORDER BY 1"


async def finished(api: httpx.AsyncClient, steps: Steps, *, domain: str | None = None, sql: Sql) -> str:
    job_id = await accept_job(api)
    (claim,) = await steps.run_on()
    if domain:
        await sql.rows("INSERT INTO job_signals VALUES (%s, json_build_object('domain', %s::text))", claim.id, domain)
    await steps.finish(answered(claim))
    return job_id


async def say(api: httpx.AsyncClient, job_id: str, **verdict: Any) -> httpx.Response:
    return await api.post(f"/v1/jobs/{job_id}/feedback", json=verdict)


async def test_a_verdict_counts_once_for_each_source_and_may_be_changed(
    api: httpx.AsyncClient, steps: Steps, sql: Sql
) -> None:
    job_id = await finished(api, steps, domain="law", sql=sql)
    first = await say(api, job_id, score=1)
    assert first.status_code == 200
    assert first.json() == {
        "object": "job.feedback",
        "job_id": job_id,
        "model": "alpha",
        "score": 1,
        "source": "user",
        "learned_by": "your own routing",
    }
    await say(api, job_id, score=1)
    await say(api, job_id, score=0.25)
    await say(api, job_id, score=0.5, source="judge")
    (row,) = await sql.rows(COUNTS)
    assert row == {"tenant_id": "acme", "model_id": "alpha", "domain": "law", "score": 0.75, "trials": pytest.approx(2)}
    assert await sql.value("SELECT expected FROM quality_counts") == pytest.approx(
        1.0
    )  # nothing is declared of it: 0.5 each


async def test_verdicts_at_the_same_time_count_once(api: httpx.AsyncClient, steps: Steps, sql: Sql) -> None:
    job_id = await finished(api, steps, sql=sql)
    await asyncio.gather(*(say(api, job_id, score=1) for _ in range(8)))
    (row,) = await sql.rows(COUNTS)
    assert (row["domain"], row["score"], row["trials"]) == ("", 1.0, pytest.approx(1))


async def test_a_verdict_that_is_changed_later_changes_what_is_left_of_it(
    api: httpx.AsyncClient, steps: Steps, sql: Sql
) -> None:
    first, second = await finished(api, steps, sql=sql), await finished(api, steps, sql=sql)
    for job_id in (first, second):
        await say(api, job_id, score=1)
    await sql.rows("UPDATE quality_counts SET changed_at = now() - interval '30 days'")
    await sql.rows("UPDATE feedback SET given_at = now() - interval '30 days'")
    await say(api, first, score=0)
    (row,) = await sql.rows(COUNTS)
    assert (row["score"], row["trials"]) == (0.5, pytest.approx(1))


async def test_a_change_reaches_only_those_who_learned_from_the_first_verdict(
    settings: Settings, database: Database, api_key: str, steps: Steps, sql: Sql
) -> None:
    async with running(settings) as app, client_of(app, key=api_key) as api:
        await publish(database, document())
        await app.state.waybill.refresh_catalog()
        job_id = await finished(api, steps, domain="law", sql=sql)
        await say(api, job_id, score=1)
        await publish(database, document(router={"tenants": {"acme": {"learn": "shared"}}}))
        await app.state.waybill.refresh_catalog()
        await say(api, job_id, score=0)
    assert [(row["tenant_id"], row["score"]) for row in await sql.rows(COUNTS)] == [("acme", 0.0)]


async def test_old_counts_fade(api: httpx.AsyncClient, steps: Steps, sql: Sql) -> None:
    await say(api, await finished(api, steps, sql=sql), score=1)
    await sql.rows("UPDATE quality_counts SET changed_at = now() - interval '30 days'")
    await say(api, await finished(api, steps, sql=sql), score=0)
    (row,) = await sql.rows(COUNTS)
    assert (row["score"], row["trials"]) == (0.5, pytest.approx(1.5))


async def test_counts_fade_by_their_age_not_only_when_another_verdict_comes(
    api: httpx.AsyncClient, steps: Steps, sql: Sql, database: Database
) -> None:
    cell = Cell("acme", "alpha", "")
    job_id = await finished(api, steps, sql=sql)
    await say(api, job_id, score=1)
    await sql.rows("UPDATE quality_counts SET changed_at = now() - interval '60 days'")
    async with database.transaction() as session:
        assert (await learned.counts(session, ["acme"]))[cell] == pytest.approx(
            Count(0.25, 0.25, 0.125, 0.125), rel=1e-3
        )
    await sql.rows("UPDATE quality_counts SET changed_at = now() - interval '200 years'")
    async with database.transaction() as session:
        assert await learned.counts(session, ["acme"]) == {}


async def test_what_was_expected_of_the_answer_and_of_its_model_is_summed_apart(
    settings: Settings, database: Database, api_key: str, steps: Steps, sql: Sql
) -> None:
    await publish(database, document(entry("alpha", router={"quality": {"default": 0.7}})))
    foretold = {"predictor.hardness": 1.0, "predictor.familiarity": 1.0, "predictor.p_correct": {"alpha": 0.2}}
    async with running(settings) as app, client_of(app, key=api_key) as api:
        job_id = await accept_job(api)
        (claim,) = await steps.run_on()
        await sql.rows("INSERT INTO job_signals VALUES (%s, %s)", claim.id, json.dumps({"extra": foretold}))
        await steps.finish(answered(claim))
        await say(api, job_id, score=0)
    async with database.transaction() as session:
        (count,) = (await learned.counts(session, ["acme"])).values()
    assert count == pytest.approx(Count(0.0, 1.0, 0.2, 0.7), abs=1e-4)


@pytest.mark.parametrize(("learn", "learners"), [("own", ["acme"]), ("shared", ["", "acme"]), ("no", [])])
async def test_only_who_may_learn_learns(
    settings: Settings, database: Database, api_key: str, steps: Steps, sql: Sql, learn: str, learners: list[str]
) -> None:
    await publish(database, document(router={"tenants": {"acme": {"learn": learn}}}))
    async with running(settings) as app, client_of(app, key=api_key) as api:
        assert (await say(api, await finished(api, steps, sql=sql), score=1)).status_code == 200
    assert [row["tenant_id"] for row in await sql.rows(COUNTS)] == learners
    assert await sql.value("SELECT count(*) FROM feedback") == int(learn != "no")


async def test_a_score_that_is_next_to_nothing_is_nothing(api: httpx.AsyncClient, steps: Steps, sql: Sql) -> None:
    assert (await say(api, await finished(api, steps, sql=sql), score=1e-320)).status_code == 200
    assert (await sql.rows(COUNTS))[0]["score"] == 0.0


async def test_an_answer_has_a_bounded_number_of_judges_who_may_change_their_minds(
    api: httpx.AsyncClient, steps: Steps, sql: Sql
) -> None:
    job_id = await finished(api, steps, sql=sql)
    answers = [await say(api, job_id, score=0, source=f"judge-{n}") for n in range(MOST_SOURCES + 1)]
    assert [each.status_code for each in answers] == [200] * MOST_SOURCES + [409]
    assert answers[-1].json()["error"]["param"] == "source"
    assert (await say(api, job_id, score=1, source="judge-0")).status_code == 200
    (row,) = await sql.rows(COUNTS)
    assert (row["score"], row["trials"]) == (1.0, pytest.approx(MOST_SOURCES))


async def test_domains_of_a_tenants_own_do_not_multiply_without_end(
    api: httpx.AsyncClient, steps: Steps, sql: Sql
) -> None:
    await sql.rows(
        "INSERT INTO quality_counts (tenant_id, model_id, domain, score, trials, expected)"
        " SELECT 'acme', 'alpha', 'd' || n, 1, 1, 1 FROM generate_series(1, %s) n",
        MOST_DOMAINS,
    )
    for domain in ("d1", "one-more", "another"):
        assert (await say(api, await finished(api, steps, domain=domain, sql=sql), score=1)).status_code == 200
    counted = {row["domain"]: row["trials"] for row in await sql.rows(COUNTS)}
    assert len(counted) == MOST_DOMAINS + 1
    assert (counted["d1"], counted[""]) == (pytest.approx(2), pytest.approx(2))


async def test_what_all_learn_stands_under_domains_that_all_know(
    settings: Settings, database: Database, api_key: str, steps: Steps, sql: Sql
) -> None:
    named = {"model_info": {"router": {"quality": {"default": 0.5, "law": 0.6}}}}
    await publish(database, document(entry("alpha") | named, router={"tenants": {"acme": {"learn": "shared"}}}))
    async with running(settings) as app, client_of(app, key=api_key) as api:
        for domain in ("law", "my-own"):
            job_id = await accept_job(api, router={"domain": domain})
            (claim,) = await steps.run_on()
            await steps.finish(answered(claim))
            assert (await say(api, job_id, score=1)).status_code == 200
    domains = await sql.rows("SELECT tenant_id, domain FROM quality_counts ORDER BY 1, 2")
    assert [tuple(row.values()) for row in domains] == [("", ""), ("", "law"), ("acme", ""), ("acme", "law")]


async def test_what_cannot_be_judged_is_refused(api: httpx.AsyncClient, steps: Steps, sql: Sql) -> None:
    queued = await accept_job(api)
    assert (await say(api, queued, score=1)).status_code == 409
    assert (await say(api, "job_" + "0" * 32, score=1)).status_code == 404
    for wrong in ({}, {"score": 1.5}, {"score": 1, "source": "A B"}, {"score": 1, "text": "good"}):
        assert (await say(api, queued, **wrong)).status_code in {400, 422}
    assert await sql.rows(COUNTS) == []
