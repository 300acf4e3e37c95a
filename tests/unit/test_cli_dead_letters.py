from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from router_service.cli.client import ApiClient
from router_service.cli.dead_letters import moment
from router_service.cli.exits import ExitCode, UsageProblemError
from router_service.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("90m", "2026-03-01T10:30:00+00:00"),
        ("2d", "2026-02-27T12:00:00+00:00"),
        ("2026-01-31T12:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00+02:00", "2026-01-31T12:00:00+02:00"),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
    ],
)
def test_a_time_is_read_from_a_clock_or_backwards_from_now(text: str, read: str) -> None:
    assert moment(text, now=NOW, option="--since") == read


@pytest.mark.parametrize("text", ["yesterday", "", "1w", "-1h", "99999999d", "2026-13-01"])
def test_a_wrong_time_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(UsageProblemError, match=r"--since .*would be right"):
        moment(text, now=NOW, option="--since")


def test_much_is_done_in_parts_up_to_the_first_ones_time() -> None:
    sent: list[dict[str, Any]] = []
    answers = [{"replayed": 3, "has_more": True, "until": 17.5}, {"replayed": 2, "has_more": True, "until": 17.5}]

    def serve(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.read()))
        return httpx.Response(200, json=answers[len(sent) - 1] if len(sent) < 3 else {"replayed": 0})

    client = ApiClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(serve))
    assert sum(part["replayed"] for part in client.replay({"all": True, "model": "m"})) == 5
    assert sent == [{"all": True, "model": "m"}, *[{"all": True, "model": "m", "until": 17.5}] * 2]


@pytest.mark.parametrize(
    "words",
    [
        ["replay", "--dry-run"],
        ["replay", "--since", "1h"],
        ["replay", "dl_1", "--job", "job_1"],
        ["replay", "--all", "--since", "soon"],
        ["discard", "--all", "--until", "soon"],
        ["list", "--until", "soon"],
    ],
)
def test_a_wrong_choice_is_said_before_anything_is_asked(words: list[str], tmp_path: Path) -> None:
    assert run(["--data-dir", str(tmp_path), "dead-letters", *words]) == ExitCode.USAGE
