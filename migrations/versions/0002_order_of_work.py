"""The order of work: a rank for each job, the chain of fallbacks it follows, a cap for each batch."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _run("0002_order_of_work.sql")


def downgrade() -> None:
    _run("0002_order_of_work_undo.sql")


def _run(name: str) -> None:
    """Without parameters, so that the driver leaves each % alone."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(Path(__file__).with_name(name).read_text())
