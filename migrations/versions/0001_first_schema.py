"""The first schema: keys, catalogs, files, batches, jobs and what is recorded about them."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Without parameters, so that the driver leaves each % alone.
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(
        Path(__file__).with_name("0001_first_schema.sql").read_text()
    )


def downgrade() -> None:
    for table in (
        "dead_letters",
        "decisions",
        "attempts",
        "job_results",
        "job_inputs",
        "jobs",
        "batches",
        "file_chunks",
        "files",
        "catalogs",
        "api_keys",
        "tenants",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_transition()")
