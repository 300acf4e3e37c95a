"""`waybill bench limits` on a small scale: its numbers are whole and possible. How good they are is no business of a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from router_service.evaluation import waits

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def plot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "use.svg"


@pytest.fixture(scope="module")
def shapes(plot: Path) -> dict[str, Any]:
    """Two tenants for three seconds, with two routers and single jobs beside them."""
    words = ["--shape", "tenants", "--seconds", "3", "--routers", "2", "--interactive", "--json", "--plot"]
    done = subprocess.run(
        [sys.executable, "-m", "router_service.cli.main", "bench", "limits", *words, str(plot)],
        env={name: value for name, value in os.environ.items() if not name.startswith("WAYBILL_")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["shapes"]
    return found


def test_every_job_is_called_once_and_none_is_refused(shapes: dict[str, Any]) -> None:
    told = shapes["tenants"]
    assert (told["jobs_without_call"], told["calls_repeated"], told["provider_429s"]) == (0, 0, 0)
    assert told["interactive"]["sent"] > 0
    assert told["interactive"]["not_arrived"] == 0


def test_nothing_is_faster_than_the_bound(shapes: dict[str, Any]) -> None:
    assert shapes["tenants"]["ratio"] > 0.99
    for told in ("cpu_ms_per_job_by_process", "memory_mb_by_process"):
        assert set(shapes["tenants"][told]) >= {"api", "router", "router-2", "provider-1", "postgres"}
    assert all(memory_mb > 1 for memory_mb in shapes["tenants"]["memory_mb_by_process"].values())


def test_the_tenants_service_and_the_use_over_time_are_told_and_drawn(shapes: dict[str, Any], plot: Path) -> None:
    told = shapes["tenants"]
    assert 0.5 <= told["jain"]["index"] <= 1
    assert sum(told["utilisation"]["tenants"]["rpm"]) / 6 == pytest.approx(told["jobs"] / 60, rel=0.6)
    assert plot.read_text().startswith("<svg")


@pytest.fixture(scope="module")
def beside() -> dict[str, Any]:
    """The stack beside a small backlog, each phase for two seconds."""
    return waits.run(jobs=2000, seconds=2)


def test_waits_beside_a_backlog_are_told_for_both_models(beside: dict[str, Any]) -> None:
    assert [row["model"] for row in beside["interactive"]] == ["free", "shared"]
    for row in beside["interactive"]:
        assert row["sent"] >= 5
        assert row["not_arrived"] == 0
        assert row["added_wait_ms_p99"] >= row["added_wait_ms_p50"]
    assert beside["in_flight"]["shared"]["most"] <= 40
    assert beside["provider_429s"] == 0


def test_polls_and_a_small_tenant_are_served_beside_a_backlog(beside: dict[str, Any]) -> None:
    assert [row["polled"] for row in beside["polls"]] == ["job", "batch"]
    assert all(row["count"] > 0 and row["ms_p50"] <= row["ms_p99"] for row in beside["polls"])
    assert set(beside["jain"]["tokens"]) == {"big", "small"}
    assert 0.5 < beside["jain"]["index"] <= 1


def test_cpu_and_memory_of_every_process_are_told_and_the_line_is_not_drained(beside: dict[str, Any]) -> None:
    by_name = {row["process"]: row for row in beside["processes"]}
    assert set(by_name) >= {"api", "router", "provider-1", "dead-letter", "janitor", "postgres", "valkey"}
    for row in by_name.values():
        assert all(row[f"memory_mb_{moment}"] > 0 for moment in ("before", "accepted", "loaded", "end", "peak"))
    assert by_name["postgres"]["shared_memory_mb_end"] > 0
    assert beside["cpu_ms_per_job"] > 0
    assert 0 < beside["backlog_left"] < beside["jobs"]
