"""Taking work and sweeping read partial indexes: they do not slow down with finished rows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from router_service.store.session import statement

if TYPE_CHECKING:
    from tests.support.steps import Sql

FINISHED = 20_000
ID = "018bcfe5-6800-7000-8000-000000000001"
TICKETS = f"'{json.dumps([{'id': ID, 'epoch': 1, 'attempt': 1}])}'"

TAKE = {
    "most": "500",
    "blocked": "'{}'",
    "first_lane": "NULL",
    "lanes": "256",
    "typical_out": "512",
    "only_urgent": "false",
}
WAITING = {"most": "20000", "most_lanes": "10000"}
QUEUED = 100_000
TENANTS = 50

# Each statement with one set of values, and the indexes of which it must use one.
PLANS: list[tuple[str, dict[str, str], set[str]]] = [
    ("job_take", TAKE, {"jobs_queued"}),
    ("job_take", TAKE, {"jobs_held"}),
    ("job_release", {"most": "1000"}, {"jobs_held"}),
    ("job_return", {"tickets": TICKETS}, {"jobs_pk", "jobs_routed"}),
    ("job_expire", {"rows": TICKETS}, {"jobs_pk"}),
    ("job_get", {"id": f"'{ID}'", "tenant_id": "'t'"}, {"jobs_pk", "jobs_listed"}),
    ("job_state", {"id": f"'{ID}'", "tenant_id": "'t'"}, {"jobs_pk", "jobs_listed"}),
    (
        "job_list",
        {"tenant_id": "'t'", "most": "20", "before": "NULL", "state": "NULL", "batch_id": "NULL", "model": "NULL"},
        {"jobs_listed"},
    ),
    ("job_claim", {"tickets": TICKETS, "worker": "'w'", "lease_s": "20"}, {"jobs_pk"}),
    ("job_renew", {"rows": TICKETS, "lease_s": "20"}, {"jobs_pk"}),
    ("sweep_leases", {"lease_s": "0", "most": "1000", "poison": "3"}, {"jobs_running"}),
    ("sweep_routed", {"stale_s": "30", "most": "1000"}, {"jobs_routed"}),
    ("sweep_due", {"most": "1000"}, {"jobs_retry_wait"}),
    ("sweep_deadlines", {"most": "1000"}, {"jobs_deadline"}),
    ("sweep_unticketed", {}, {"jobs_routed"}),
    ("held_calls", {"lease_s": "20"}, {"jobs_running"}),
    ("held_calls", {"lease_s": "20"}, {"attempts_abandoned"}),
    ("given_of_late", {"within_s": "60", "grain_s": "1"}, {"jobs_running"}),
    ("given_of_late", {"within_s": "60", "grain_s": "1"}, {"attempts_abandoned"}),
    ("throttled_models", {}, {"jobs_retry_wait"}),
    ("batch_ready", {}, {"jobs_batch_live"}),
    ("batch_get", {"id": f"'{ID}'", "tenant_id": "'t'"}, {"jobs_batch_live"}),
    ("batch_get", {"id": f"'{ID}'", "tenant_id": "'t'"}, {"jobs_batch_wrong"}),
    ("queue_waiting", WAITING, {"jobs_queued"}),
    ("queue_waiting", WAITING, {"jobs_held"}),
    ("dead_load", {"tickets": TICKETS}, {"jobs_pk", "jobs_dead"}),
    ("plan_others", {"id": f"'{ID}'"}, {"jobs_routed"}),
    ("plan_others", {"id": "NULL"}, {"jobs_running"}),
]


async def fill(sql: Sql) -> None:
    await sql.rows(
        "INSERT INTO jobs (id, tenant_id, batch_id, line, endpoint, model, lane, state, tokens_in, model_id, deadline,"
        " finished_at) SELECT gen_random_uuid(), 't', CAST(%s AS uuid), n, '/', 'alpha', n %% 7, 'succeeded', 1,"
        " 'alpha', now(), now() FROM generate_series(1, %s) n",
        ID,
        FINISHED,
    )
    for state, filler in (
        ("queued", "NULL, NULL, NULL"),
        ("routed", "NULL, NULL, now()"),
        ("running", "now(), NULL, now()"),
        ("retry_wait", "NULL, now(), now()"),
        ("dead", "NULL, NULL, now()"),
    ):
        await sql.rows(
            "INSERT INTO jobs (id, tenant_id, endpoint, model, lane, state, tokens_in, model_id, deadline, lease_until,"
            f" available_at, routed_at) SELECT gen_random_uuid(), 't', '/', 'alpha', n %% 7, '{state}', 1, 'alpha',"
            f" now() + interval '1 h', {filler} FROM generate_series(1, %s) n",
            30,
        )
    await sql.rows(
        "INSERT INTO attempts (job_id, attempt, epoch, model_id, worker, started_at, ended_at, outcome)"
        " SELECT id, 1, 1, 'alpha', 'w', now() - interval '1 d', now() - interval '1 d', 'answered'"
        " FROM jobs WHERE state = 'succeeded'"
    )
    await sql.rows("INSERT INTO tenants VALUES ('t')")
    await sql.rows(
        "INSERT INTO batches (id, tenant_id, endpoint, input_file_id, completion_window, expires_at)"
        " VALUES (%s, 't', '/', gen_random_uuid(), '1h', now())",
        ID,
    )
    await sql.rows("ANALYZE")


def literal(name: str, values: dict[str, str]) -> str:
    """The statement with its parameters written out, so that it can be explained."""
    text = str(statement(name))
    return re.sub(r"(?<!:):(\w+)", lambda match: values[match[1]], text)


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


async def test_work_is_found_by_partial_indexes_among_many_finished_rows(sql: Sql) -> None:
    await fill(sql)
    wrong = []
    for name, values, indexes in PLANS:
        (row,) = await sql.rows(f"EXPLAIN (FORMAT JSON) {literal(name, values).replace('%', '%%')}")
        found = nodes(row["QUERY PLAN"][0]["Plan"])
        scanned = [node for node in found if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "jobs"]
        used = {node["Index Name"] for node in found if "Index Name" in node}
        if scanned or not indexes & used:
            wrong.append((name, used, "Seq Scan on jobs" if scanned else "index missing"))
    assert wrong == []


async def test_depths_for_the_metrics_are_counted_by_the_partial_index_of_each_state(sql: Sql) -> None:
    await fill(sql)
    (row,) = await sql.rows(f"EXPLAIN (FORMAT JSON) {literal('queue_depths', {})}")
    found = nodes(row["QUERY PLAN"][0]["Plan"])
    assert not [node for node in found if node["Node Type"] == "Seq Scan"]
    used = {node["Index Name"] for node in found if "Index Name" in node}
    assert used == {"jobs_routed", "jobs_running", "jobs_retry_wait", "jobs_dead"}


async def test_a_look_at_a_long_line_reads_no_more_than_it_takes(sql: Sql) -> None:
    """Also before Postgres has any statistics, and with rows at the head that a former look took."""
    await sql.rows(
        "INSERT INTO jobs (id, tenant_id, endpoint, model, lane, tokens_in, rank)"
        " SELECT gen_random_uuid(), 't' || n %% %s, '/', 'alpha', n %% %s, 1, n FROM generate_series(1, %s) n",
        TENANTS,
        TENANTS,
        QUEUED,
    )
    for analyzed in (False, True):
        if analyzed:
            await sql.rows("ANALYZE jobs")
        for name, values, most in (("job_take", TAKE, 5_000), ("queue_waiting", WAITING, 45_000)):
            explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {literal(name, values).replace('%', '%%')}"
            (row,) = await sql.rows(explain)
            plan = row["QUERY PLAN"][0]["Plan"]
            assert {node["Index Name"] for node in nodes(plan) if "Index Name" in node} >= {"jobs_queued"}
            assert not [
                node for node in nodes(plan) if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "jobs"
            ]
            assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < most


@pytest.mark.parametrize(
    "index",
    ["jobs_queued", "jobs_held", "jobs_routed", "jobs_running", "jobs_retry_wait", "jobs_dead", "jobs_deadline"],
)
async def test_what_work_is_found_by_holds_no_finished_row(sql: Sql, index: str) -> None:
    where = await sql.value("SELECT indexdef FROM pg_indexes WHERE indexname = %s", index)
    predicate = where.partition(" WHERE ")[2]
    assert "state" in predicate
    assert not any(state in predicate for state in ("succeeded", "failed", "cancelled", "expired"))
