"""Dead letters over HTTP: the evidence, the filters, and what is done with many of them at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from router_service.api import dead_letters as routes
from router_service.jobs.states import JobState
from router_service.store import dead_letters
from router_service.store.decisions import Routed
from tests.support.requests import accept_job, jsonl, make_batch, request_line
from tests.support.steps import answered, decision, gone_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx

    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps

    Park = Callable[..., Awaitable[list[str]]]


@pytest.fixture
def park(api: httpx.AsyncClient, steps: Steps, database: Database) -> Park:
    """Jobs that their model gave up on, and every other one too. Their ids."""

    async def accept_and_park(*, count: int = 1, code: str = "provider_error") -> list[str]:
        made = [await accept_job(api) for _ in range(count)]
        await park_queued(steps, database, count=count, code=code)
        return made

    return accept_and_park


async def park_queued(steps: Steps, database: Database, *, count: int, code: str = "provider_error") -> None:
    claims = await steps.run_on(count)
    await steps.finish(*(gone_wrong(claim, JobState.DEAD, error_code=code) for claim in claims))
    async with database.transaction() as session:
        dead = await dead_letters.load(session, [(claim.id, claim.epoch) for claim in claims])
        await dead_letters.settle(session, [(each, Routed(job=each.job, decision=decision(None))) for each in dead])


async def ask(api: httpx.AsyncClient, action: str, **choice: Any) -> dict[str, Any]:
    response = await api.post(f"/v1/dead-letters/{action}", json=choice)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def jobs_of(api: httpx.AsyncClient, **filters: Any) -> list[str]:
    """The jobs of the letters that a list shows."""
    response = await api.get("/v1/dead-letters", params=filters)
    assert response.status_code == 200, response.text
    return [letter["job_id"] for letter in response.json()["data"]]


async def test_a_parked_letter_is_listed_read_and_replayed(api: httpx.AsyncClient, park: Park) -> None:
    (job_id,) = await park()
    (letter,) = (await api.get("/v1/dead-letters")).json()["data"]
    assert letter | {"job_id": job_id, "model": "alpha", "state": "parked", "error_code": "provider_error"} == letter
    assert letter["fallback"] == "general"
    shown = (await api.get(f"/v1/dead-letters/{letter['id']}")).json()
    assert {name: value for name, value in shown.items() if name != "attempts"} == letter
    assert await ask(api, "replay", ids=[letter["id"]]) == {"replayed": 1}
    assert await ask(api, "replay", ids=[letter["id"]]) == {"replayed": 0}
    assert (await api.get(f"/v1/jobs/{job_id}")).json()["status"] == "queued"
    assert (await api.get("/v1/dead-letters", params={"state": "parked"})).json()["data"] == []


async def test_a_letter_has_the_evidence_of_every_call_to_its_model(
    api: httpx.AsyncClient, steps: Steps, database: Database, sql: Sql
) -> None:
    job_id = await accept_job(api)
    (first,) = await steps.run_on()
    await steps.finish(gone_wrong(first, JobState.RETRY_WAIT, error_code="overloaded", status_code=503))
    await sql.rows("UPDATE jobs SET state = 'queued', available_at = NULL")
    (second,) = await steps.run_on()
    failed = gone_wrong(second, JobState.DEAD, tokens_in=7, tokens_out=2, cost_usd=0.25)
    await steps.finish(failed)
    async with database.transaction() as session:
        dead = await dead_letters.load(session, [(second.id, second.epoch)])
        await dead_letters.settle(session, [(each, Routed(job=each.job, decision=decision("beta"))) for each in dead])
    (third,) = await steps.run_on(model_id="beta")
    await steps.finish(answered(third))
    await sql.rows("UPDATE attempts SET started_at = ended_at - interval '1.5 s'")
    (listed,) = (await api.get("/v1/dead-letters", params={"job_id": job_id})).json()["data"]
    calls = (await api.get(f"/v1/dead-letters/{listed['id']}")).json()["attempts"]
    assert [(call["attempt"], call["model"], call["status_code"]) for call in calls] == [
        (1, "alpha", 503),
        (2, "alpha", 500),
    ]
    assert calls[0]["error_code"] == "overloaded"
    assert calls[1]["ended_at"] - calls[1]["started_at"] == pytest.approx(1.5)
    assert {name: value for name, value in calls[1].items() if not name.endswith("_at")} == {
        "attempt": 2,
        "model": "alpha",
        "outcome": "failed",
        "status_code": 500,
        "error_code": "provider_error",
        "error_message": "the provider failed",
        "latency_ms": 1500.0,
        "input_tokens": 7,
        "output_tokens": 2,
        "cost_usd": 0.25,
    }


async def test_letters_are_found_by_model_code_batch_job_state_and_time(
    api: httpx.AsyncClient, steps: Steps, database: Database, sql: Sql, park: Park
) -> None:
    (old,) = await park(code="timeout")
    await sql.rows("UPDATE dead_letters SET created_at = '2026-01-01T00:00:00Z'")
    (other,) = await park()
    batch = await make_batch(api, jsonl(request_line(1)))
    await park_queued(steps, database, count=1)
    (of_batch,) = await jobs_of(api, batch_id=batch["id"])
    assert await jobs_of(api, code="timeout") == await jobs_of(api, job_id=old) == [old]
    assert await jobs_of(api, model="alpha") == await jobs_of(api, state="parked") == [of_batch, other, old]
    assert await jobs_of(api, model="beta") == await jobs_of(api, state="open") == []
    assert await jobs_of(api, until="2026-01-01T00:00:00Z") == []
    assert await jobs_of(api, until="2026-01-01T01:00:00+00:30") == await jobs_of(api, until=1_767_225_601) == [old]
    assert await jobs_of(api, since="2026-01-01T00:00:00.000001Z") == [of_batch, other]
    assert await jobs_of(api, since="2026-01-01T00:00:00Z", code="timeout") == [old]


async def test_a_wrong_filter_is_refused(api: httpx.AsyncClient, sql: Sql) -> None:
    for wrong, status in (
        ({"since": "yesterday"}, 400),
        ({"until": "2026-01-01T00:00:00"}, 400),  # whose midnight?
        ({"state": "lost"}, 400),
        ({"limit": 1001}, 400),
        ({"code": "a\x00b"}, 400),
        ({"job_id": "x"}, 404),
        ({"batch_id": "x"}, 404),
        ({"after": "x"}, 404),
    ):
        response = await api.get("/v1/dead-letters", params=wrong)
        assert response.status_code == status, (wrong, response.text)


async def test_all_that_match_are_discarded(api: httpx.AsyncClient, park: Park) -> None:
    await park(count=3)
    assert await ask(api, "discard", all=True, model="beta") == {"discarded": 0}
    assert await ask(api, "discard", all=True, until=1) == {"discarded": 0}
    assert await ask(api, "discard", all=True, model="alpha", since=1) == {"discarded": 3}
    assert await ask(api, "discard", all=True) == {"discarded": 0}


async def test_a_dry_run_counts_and_touches_nothing(api: httpx.AsyncClient, park: Park, sql: Sql) -> None:
    first, *_others = await park(count=3)
    assert await ask(api, "replay", all=True, dry_run=True) == {"replayed": 0, "would_replay": 3}
    assert await ask(api, "discard", all=True, dry_run=True, job_id=first) == {"discarded": 0, "would_discard": 1}
    assert await ask(api, "discard", ids=[], dry_run=True) == {"discarded": 0, "would_discard": 0}
    assert await sql.value("SELECT count(*) FROM dead_letters WHERE state = 'parked'") == 3


async def test_many_are_replayed_on_another_model_in_small_transactions(
    api: httpx.AsyncClient, park: Park, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await park(count=5)
    monkeypatch.setattr(routes, "CHUNK", 2)
    assert await ask(api, "replay", all=True, to_model="beta") == {"replayed": 5}
    rows = await sql.rows("SELECT count(*) AS letters FROM dead_letters WHERE state = 'replayed' GROUP BY xmin::text")
    assert sorted(row["letters"] for row in rows) == [1, 2, 2]
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'queued' AND model = 'beta'") == 5


async def test_what_takes_long_is_answered_in_between_and_goes_on(
    api: httpx.AsyncClient, park: Park, monkeypatch: pytest.MonkeyPatch
) -> None:
    await park(count=5)
    monkeypatch.setattr(routes, "CHUNK", 2)
    monkeypatch.setattr(routes, "PATIENCE_S", 0.0)
    choice: dict[str, Any] = {"all": True}
    answers = []
    while True:
        answer = await ask(api, "replay", **choice)
        answers.append(answer["replayed"])
        if not answer.get("has_more"):
            break
        choice["until"] = answer["until"]
    assert answers == [2, 2, 1, 0]


async def test_a_replayed_job_that_fails_meanwhile_does_not_come_round_again(
    api: httpx.AsyncClient, steps: Steps, database: Database, park: Park, monkeypatch: pytest.MonkeyPatch
) -> None:
    await park(count=2)
    monkeypatch.setattr(routes, "CHUNK", 1)
    monkeypatch.setattr(routes, "PATIENCE_S", 0.0)
    first = await ask(api, "replay", all=True)
    await park_queued(steps, database, count=1)
    monkeypatch.setattr(routes, "PATIENCE_S", 60.0)
    assert await ask(api, "replay", all=True, until=first["until"]) == {"replayed": 1}
    assert len(await jobs_of(api, state="parked")) == 1


async def test_two_operators_at_once_replay_each_letter_once(
    api: httpx.AsyncClient, park: Park, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await park(count=12)
    monkeypatch.setattr(routes, "CHUNK", 1)
    answers = await asyncio.gather(*(ask(api, "replay", all=True) for _operator in range(3)))
    assert sum(answer["replayed"] for answer in answers) == 12
    assert await sql.value("SELECT max(epoch) FROM jobs") == 2
    assert await sql.value("SELECT count(*) FROM jobs WHERE state = 'queued'") == 12


async def test_letters_are_paged(api: httpx.AsyncClient, park: Park) -> None:
    await park(count=3)
    first = (await api.get("/v1/dead-letters", params={"limit": 2})).json()
    rest = (await api.get("/v1/dead-letters", params={"limit": 2, "after": first["last_id"]})).json()
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert len({letter["id"] for letter in (*first["data"], *rest["data"])}) == 3


async def test_a_wrong_choice_is_refused(api: httpx.AsyncClient, sql: Sql) -> None:
    for wrong, status in (
        ({}, 400),
        ({"ids": [], "all": True}, 400),
        ({"all": False}, 400),
        ({"ids": "dl_x"}, 400),
        ({"ids": ["dl_x"]}, 404),
        ({"all": True, "batch_id": "x"}, 404),
        ({"all": True, "job_id": "x"}, 404),
        ({"all": True, "since": "2026-01-01"}, 400),
        ({"all": True, "until": 1e300}, 400),
        ({"all": True, "dry_run": "perhaps"}, 400),
        ({"all": True, "to_model": "nobody"}, 400),
        ({"all": True, "model": "a\x00b"}, 400),
        ({"all": True, "code": "a\x00b"}, 400),
        ({"all": True, "to_model": "a\x00b"}, 400),
        ({"all": True, "surprise": 1}, 400),
    ):
        response = await api.post("/v1/dead-letters/replay", json=wrong)
        assert response.status_code == status, (wrong, response.text)
