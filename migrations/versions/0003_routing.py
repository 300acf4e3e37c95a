"""Routing: what jobs wish for, their signals, the inputs of each decision, what was learned of models, plans of batches."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _run("0003_routing.sql")


def downgrade() -> None:
    _run("0003_routing_undo.sql")


def _run(name: str) -> None:
    """Without parameters, so that the driver leaves each % alone."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(Path(__file__).with_name(name).read_text())
