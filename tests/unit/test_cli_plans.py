from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from router_service.cli.client import ApiClient
from router_service.cli.exits import UsageProblemError
from router_service.cli.plans import ask, goal, plan_line
from router_service.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path

QUOTED: dict[str, Any] = {"cost_usd": {"expected": 0.5}, "finish_s": {"expected": 90.0}}
TOLD: dict[str, Any] = {
    "status": "planned",
    "note": None,
    "quoted": QUOTED,
    "actual": {"cost_usd": 0.25, "finish_s": 99.0},
    "errors": None,
}


def test_a_goal_is_what_was_given_and_no_more() -> None:
    assert goal(budget=None, finish_within=None, policy=None) == {}
    assert goal(budget=0.0, finish_within="20m", policy="urgent") == {
        "budget_usd": 0.0,
        "finish_within_s": 1200,
        "router": {"policy": "urgent"},
    }
    with pytest.raises(UsageProblemError, match="--finish-within soon: 90s, 20m, 6h or 2d would be right"):
        goal(budget=None, finish_within="soon", policy=None)


def test_a_plan_is_told_on_one_line_as_far_as_it_has_come() -> None:
    assert plan_line(TOLD) == "$0.5 in 90 s quoted, $0.25 so far"
    ended = TOLD | {"actual": {"cost_usd": 0.51, "finish_s": 99.0}, "errors": {"cost": 0.02, "finish": 0.1}}
    assert plan_line(ended) == "$0.5 in 90 s quoted, came to $0.51 in 99 s (+2% cost, +10% time)"
    assert plan_line(TOLD | {"quoted": None, "status": "awaited"}) == "awaited"
    assert plan_line(TOLD | {"quoted": None, "status": "none"}) is None
    missed = TOLD | {"status": "missed", "note": "budget cannot be kept"}
    assert plan_line(missed) == "missed: budget cannot be kept"


@pytest.mark.parametrize("status", [200, 400])
def test_the_file_of_a_quote_does_not_stay_on_the_server(tmp_path: Path, status: int) -> None:
    file, asked = tmp_path / "requests.jsonl", list[str]()
    file.write_text("{}")

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        if request.url.path == "/v1/batches/quote":
            return httpx.Response(status, json={"status": "possible", "error": {"message": "wrong"}})
        return httpx.Response(200, json={"id": "file-1"})

    with ApiClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(answer)) as client:
        if status == 200:
            assert ask(client, file, {})["status"] == "possible"
        else:
            with pytest.raises(InvalidRequestError, match="wrong"):
                ask(client, file, {})
    assert asked == ["POST /v1/files", "POST /v1/batches/quote", "DELETE /v1/files/file-1"]
