from __future__ import annotations

from typing import Any

from router_service.cli.bench import shape_row

REPORT: dict[str, Any] = {
    "jobs": 1209,
    "makespan_s": 121.5,
    "bound_s": 120.16,
    "bound_by": "rpm",
    "ratio": 1.0112,
    "unpaced_bound_s": 118.16,
    "provider_429s": 0,
    "in_flight": {"rpm": {"most": 3, "cap": 100}},
    "fullest_windows": {"rpm": {"rpm": 0.999, "rpm_in_1_s": 0.4}},
}


def test_the_unpaced_bound_stands_beside_the_ratio() -> None:
    row = shape_row("rpm", REPORT)
    assert row == ("rpm", 1209, "121.50", "120.16", "rpm", "1.011", "118.16", 0, "3/100", "99.9%")


def test_a_shape_without_an_unpaced_bound_shows_none() -> None:
    assert shape_row("models", REPORT | {"unpaced_bound_s": None})[6] == "-"
