"""What routing looks up of verdicts: of those whose jobs are there, and beside everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.routing.estimates import EVERYBODY
from tests.conftest import publish
from tests.support.catalogs import document, entry
from tests.support.steps import make_id
from tests.support.threads import calls_in_this_thread
from workers.insights import Insights

if TYPE_CHECKING:
    from router_service.store.session import Database
    from tests.support.steps import Sql

TENANTS = ("acme", "other", "third")
VERDICTS = """
INSERT INTO quality_counts (tenant_id, model_id, domain, score, trials, expected, levels)
SELECT t, 'small', '', 0, 100, 60, 60 FROM unnest(%s::text[]) t"""


def job_of(tenant: str) -> RoutableJob:
    return RoutableJob(id=make_id(), epoch=0, spec=JobSpec(model=AUTO, tokens_in=10), tenant_id=tenant)


async def test_verdicts_are_looked_up_of_those_whose_jobs_are_there(database: Database, sql: Sql) -> None:
    wanted = document(
        entry("small", router={"quality": {"default": 0.6}}), router={"policies": {"default": {"quality_target": 0.9}}}
    )
    catalog, insights = await publish(database, wanted), Insights()
    await sql.rows(VERDICTS, [EVERYBODY, *TENANTS])
    for known in (TENANTS[:1], TENANTS[:2]):  # the second within the time for which the first is known
        job = job_of(known[-1])
        async with database.transaction() as session:
            with calls_in_this_thread() as called:
                told = await insights.read(session, [job], ['{"messages": []}'], catalog=catalog)
        assert {cell.learner for cell in insights._knowledge.shifts} == {EVERYBODY, *known}
        assert (told[job.id].estimates["small"].level or 1) < 0.2
        assert "Insights.read" in called
        assert "shifts_of" not in called
