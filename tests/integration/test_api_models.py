"""What is on offer and what happens with it, over HTTP; and the line in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router_service.capacity.tallies import Tally
from tests.conftest import client_of, publish, running
from tests.support.catalogs import document, entry

if TYPE_CHECKING:
    import httpx

    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps


async def deployments(settings: Settings, key: str) -> dict[str, dict[str, Any]]:
    async with running(settings) as app, client_of(app, key=key) as api:
        listed = (await api.get("/v1/models")).json()
    return {each["id"]: each for model in listed["data"] for each in model["waybill"]["deployments"]}


async def test_a_deployment_shows_every_limit_of_the_catalog(
    settings: Settings, database: Database, api_key: str
) -> None:
    params = {"max_parallel_requests": 7, "rpm": 60, "itpm": 1000, "otpm": 500}
    await publish(database, document(entry("alpha", params=params), entry("beta")))
    shown = await deployments(settings, api_key)
    wanted: dict[str, float | None] = {"slots": 7, "rpm": 60, "tpm": None, "itpm": 1000, "otpm": 500}
    alpha = shown["alpha"]
    assert {name: alpha[name] for name in wanted} == wanted
    assert {name: alpha[name] for name in ("rpd", "tpd", "limit_group")} == dict.fromkeys(("rpd", "tpd", "limit_group"))


async def test_a_deployment_shows_what_happens_with_it(
    open_workers: OpenWorkers, settings: Settings, api_key: str
) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 600}), entry("beta"))
    tallies = workers.runtime.tallies
    tallies.add(Tally.CALLS, 3, model="alpha")
    tallies.add(Tally.WAIT_SECONDS, 1.5, model="alpha", reason="rpm")
    tallies.add(Tally.WAIT_SECONDS, 0.5, model="alpha", reason="slots")
    tallies.add(Tally.RECOVERED, 2, what="lease")
    await tallies.flush()
    shown = await deployments(settings, api_key)
    alpha, beta = shown["alpha"], shown["beta"]
    live = {
        "in_flight": 0,
        "waiting": 0,
        "held_by": None,
        "paused_s": 0,
        "broken_s": 0,
        "limit_factor": 1,
        "latency_s": None,
        "latency_p95_s": None,
        "error_rate": None,
        "rate_left": 1,
    }
    assert {name: alpha[name] for name in live} == live
    assert alpha["counts"] == beta["counts"] | {"calls": 3, "wait_seconds": {"rpm": 1.5, "slots": 0.5}}
    assert beta["counts"] == {
        "calls": 0,
        "throttled": 0,
        "wait_seconds": {},
        "exchanged": 0,
        "given_back": {},
        "stale_finishes": 0,
        "stale_tickets": 0,
        "duplicate_calls": 0,
    }
    async with running(settings) as app, client_of(app, key=api_key) as api:
        recovered = (await api.get("/v1/models")).json()["waybill"]["recovered"]
    assert recovered == {"lease": 2, "routed": 0, "dead_letter": 0, "counters": 0}


async def test_the_line_is_told_by_the_model_that_was_asked_for(api: httpx.AsyncClient, steps: Steps, sql: Sql) -> None:
    nothing_held = {"queued": 0, "looked_at": 0, "reasons": []}
    empty = {"object": "queue", "queued": 0, "oldest_s": None, "models": [], "held": nothing_held}
    assert (await api.get("/v1/queue")).json() == empty
    await steps.running(count=1)
    await steps.accept(count=2, model="auto")
    await steps.accept(count=1, model="beta")
    await sql.rows("UPDATE jobs SET created_at = now() - interval '90 s' WHERE model = 'auto'")
    await sql.rows("UPDATE jobs SET held_until = now() + interval '1 h' WHERE model = 'beta'")
    line = (await api.get("/v1/queue")).json()
    assert [(each["model"], each["queued"]) for each in line["models"]] == [("auto", 2), ("beta", 1)]
    assert line["queued"] == 3
    assert line["oldest_s"] == line["models"][0]["oldest_s"] >= 90 > line["models"][1]["oldest_s"]


async def test_the_line_tells_what_stands_in_the_way_of_jobs_that_no_model_may_take(
    api: httpx.AsyncClient, steps: Steps, sql: Sql
) -> None:
    await steps.accept(count=2, model="auto", residency="mars")
    await steps.accept(count=1, model="gone-from-the-catalog")
    await steps.accept(count=1, model="auto")
    await sql.rows("UPDATE jobs SET held_until = now() + interval '1 h'")
    held = (await api.get("/v1/queue")).json()["held"]
    assert (held["queued"], held["looked_at"]) == (4, 4)
    assert {each["reason"]: each["queued"] for each in held["reasons"]} == {
        "residency_unknown": 2,
        "unknown_model": 1,
        "to_be_routed": 1,
    }
