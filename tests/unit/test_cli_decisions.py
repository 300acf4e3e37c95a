"""What the commands about decisions print, and what they say of a policy file that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from router_service.cli.decisions import print_comparison
from router_service.cli.exits import ExitCode
from router_service.cli.main import run
from router_service.routing.comparison import Comparison, Expected

if TYPE_CHECKING:
    from pathlib import Path

PLACES = {"a": "eu"}


def told(*pairs: tuple[Expected, Expected]) -> dict[str, Any]:
    comparison = Comparison()
    for before, after in pairs:
        comparison.add(before, after, places=PLACES)
    return comparison.as_json()


def test_jobs_without_a_model_are_counted_apart_and_are_in_no_mean(capsys: pytest.CaptureFixture[str]) -> None:
    good, poor, none = Expected("a", 2.0, 0.9, 1.0), Expected("b", 1.0, 0.5, 3.0), Expected(None)
    compared = told((good, none), (poor, none), (none, good), (good, poor))
    assert compared["decisions"] == 4
    assert compared["before"] == {
        "models": {"a": 2, "b": 1},
        "places": {"eu": 2, "(not known)": 1},
        "cost_usd": 5.0,
        "placed": 3,
        "unplaced": 1,
        "unpriced": 0,
        "quality": pytest.approx(2.3 / 3),
        "latency_s": pytest.approx(5 / 3),
    }
    print_comparison(compared)
    shown = capsys.readouterr().out
    assert [line.split() for line in shown.splitlines() if "without" in line] == [
        ["jobs", "without", "a", "model", "1", "2"]
    ]
    assert "cost and means are of the jobs that have a model: 3 as it was, 2 under this policy" in shown
    assert "1 from (none) to a" in shown


def test_where_every_job_has_a_model_nothing_is_said_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(told((Expected("a", 1.0), Expected("b", 2.0))))
    assert "model:" not in (shown := capsys.readouterr().out)
    assert "without" not in shown


def test_decisions_on_requests_that_nobody_read_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = Comparison()
    for is_blind in (True, False, True):
        comparison.add(Expected("a"), Expected("a"), places=PLACES, is_blind=is_blind)
    print_comparison(comparison.as_json())
    assert "2 of the requests were not read" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["- a list", "just words", "router_settings: {router: {policies: {a: {}}}}", "policies: {a: {}}"]
)
def test_a_file_that_is_no_policy_is_told_what_one_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(content)
    assert run(["what-if", "--policy", str(file)]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert str(file) in said
    assert "one policy, a mapping such as `quality_target: 0.95`" in said
    assert "model_list" not in said
