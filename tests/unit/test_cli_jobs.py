from __future__ import annotations

from typing import Any

from router_service.cli.jobs import _margin, known_lines

KNOWN: dict[str, Any] = {
    "is_read": True,
    "unknown": ["domain", "task"],
    "rules": [
        {"number": 1, "name": "german", "applied": True, "unknown": []},
        {"number": 3, "name": "law\x1b[2J", "applied": False, "unknown": ["domain", "flag"]},
    ],
}


def test_what_was_not_known_and_the_rules_that_hung_on_it_are_told() -> None:
    assert list(known_lines(KNOWN)) == [
        "not known: domain, task",
        "rule 1 (german) applied",
        r"rule 3 (law\x1b[2J) not applied: domain and flag unknown",
    ]


def test_a_request_that_was_not_read_is_told_so_and_an_old_decision_tells_nothing() -> None:
    assert list(known_lines({"is_read": False, "unknown": ["domain"], "rules": []})) == [
        "not read: nothing in force asks for what the request says"
    ]
    assert list(known_lines({"is_read": True, "unknown": [], "rules": []})) == []
    assert list(known_lines(None)) == []


def test_a_margin_is_told_where_scores_decided_and_not_where_a_preferred_place_did() -> None:
    close = [
        {"model": "a", "eligible": True, "rank": 0, "score": 0.2},
        {"model": "b", "eligible": True, "rank": 0, "score": 0.5},
    ]
    assert _margin({"model": "a", "candidates": close}) == "margin: 0.3 over b"
    apart = [close[0], close[1] | {"place": 2, "score": 0.1}]
    assert _margin({"model": "a", "candidates": apart}) is None
