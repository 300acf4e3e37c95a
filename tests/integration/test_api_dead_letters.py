from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.jobs.states import JobState
from router_service.store import dead_letters
from tests.support.requests import accept_job
from tests.support.steps import decision, gone_wrong

if TYPE_CHECKING:
    import httpx

    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps


async def park(api: httpx.AsyncClient, steps: Steps, database: Database, *, count: int = 1) -> list[str]:
    made = [await accept_job(api) for _ in range(count)]
    claims = await steps.run_on(count)
    await steps.finish(*(gone_wrong(claim, JobState.DEAD) for claim in claims))
    async with database.transaction() as session:
        dead = await dead_letters.load(session, [(claim.id, claim.epoch) for claim in claims])
        await dead_letters.settle(session, [(each, decision(None)) for each in dead])
    return made


async def test_a_parked_letter_is_listed_read_and_replayed(
    api: httpx.AsyncClient, steps: Steps, database: Database
) -> None:
    (job_id,) = await park(api, steps, database)
    (letter,) = (await api.get("/v1/dead-letters")).json()["data"]
    assert letter | {"job_id": job_id, "model": "alpha", "state": "parked", "error_code": "provider_error"} == letter
    assert (await api.get(f"/v1/dead-letters/{letter['id']}")).json() == letter
    assert (await api.post("/v1/dead-letters/replay", json={"ids": [letter["id"]]})).json() == {"replayed": 1}
    assert (await api.get(f"/v1/jobs/{job_id}")).json()["status"] == "queued"
    assert (await api.get("/v1/dead-letters", params={"state": "parked"})).json()["data"] == []


async def test_all_that_match_are_discarded(api: httpx.AsyncClient, steps: Steps, database: Database) -> None:
    await park(api, steps, database, count=3)
    none = await api.post("/v1/dead-letters/discard", json={"all": True, "model": "beta"})
    assert none.json() == {"discarded": 0}
    all_of_them = await api.post("/v1/dead-letters/discard", json={"all": True, "model": "alpha"})
    assert all_of_them.json() == {"discarded": 3}


async def test_letters_are_paged(api: httpx.AsyncClient, steps: Steps, database: Database) -> None:
    await park(api, steps, database, count=3)
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
        ({"all": True, "to_model": "nobody"}, 400),
        ({"all": True, "model": "a\x00b"}, 400),
        ({"all": True, "code": "a\x00b"}, 400),
        ({"all": True, "to_model": "a\x00b"}, 400),
        ({"all": True, "surprise": 1}, 400),
    ):
        response = await api.post("/v1/dead-letters/replay", json=wrong)
        assert response.status_code == status, (wrong, response.text)
