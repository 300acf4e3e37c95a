"""Rows that decisions name, each once under a hash, say when they were last in use: they may be deleted by age."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.store import decisions, plans
from router_service.store.plans import StoredPlan

if TYPE_CHECKING:
    from router_service.store.session import Database
    from tests.support.steps import Sql, Steps

STAMPS = "SELECT taken_at > now() - interval '1 minute' AS is_new FROM snapshots ORDER BY hash"


async def test_a_snapshot_that_is_seen_again_has_a_new_stamp_once_a_day(database: Database, sql: Sql) -> None:
    async with database.transaction() as session:
        await decisions.store_snapshots(session, {"a": {}, "b": {}})
    for name, age in (("a", "2 days"), ("b", "2 hours")):
        await sql.rows("UPDATE snapshots SET taken_at = now() - CAST(%s AS interval) WHERE hash = %s", age, name)
    async with database.transaction() as session:
        await decisions.store_snapshots(session, {"b": {}, "a": {}})
    assert [row["is_new"] for row in await sql.rows(STAMPS)] == [True, False]


async def test_a_plan_that_is_made_or_kept_once_more_has_a_new_stamp(
    database: Database, steps: Steps, sql: Sql
) -> None:
    await steps.batch(3, model="auto", plan_wait_s=60.0)
    plan = StoredPlan(hash="p", document={}, quoted=None, note=None)
    for keeps in (False, False, True):
        await sql.rows("UPDATE plans SET made_at = now() - interval '2 days'")
        await sql.rows("UPDATE batches SET plan_due_at = now()")
        async with database.transaction() as session:
            due = await plans.claim(session, catalog="c", again_s=60.0)
            assert due is not None
            done = (
                plans.keep(session, due, note=None, again_s=60.0)
                if keeps
                else plans.store(session, due, plan, again_s=60.0)
            )
            assert await done
        assert await sql.value("SELECT made_at > now() - interval '1 minute' FROM plans")
