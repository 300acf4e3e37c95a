"""The measurement of a growing backlog runs end to end, on a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.evaluation import backlog

if TYPE_CHECKING:
    import pytest

STEPS = ("accept", "route", "claim_and_finish", "poll_job", "poll_batch", "progress", "list_jobs", "list_batches")


def test_the_curve_has_a_row_of_costs_for_each_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "LOOKS_S", 0.02)
    monkeypatch.setattr(backlog, "ROUTED", 150)
    report = backlog.run(sizes=[400, 200])
    assert [row["queued"] for row in report["curve"]] == [200, 400]
    for row in report["curve"]:
        assert all(row[name] > 0 for name in STEPS)
        assert {"depths", "oldest"} < row.keys()
    assert {f"growth.{name}" for name in STEPS} < report.keys()
