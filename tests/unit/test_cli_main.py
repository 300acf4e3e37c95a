from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from router_service.cli.client import ApiClient
from router_service.cli.dead_letters import select
from router_service.cli.exits import ExitCode, UsageProblemError
from router_service.cli.main import globals_first, run
from router_service.cli.progress import all_succeeded, polled
from router_service.cli.session import checked_url, stored_key
from router_service.errors import AuthenticationError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path


def test_global_options_may_stand_after_the_command() -> None:
    assert globals_first(["status", "--url", "U", "job_1", "--key=K"]) == ["--url", "U", "--key=K", "status", "job_1"]


def test_words_after_two_dashes_are_left_alone() -> None:
    assert globals_first(["summarize", "--", "--url", "x"]) == ["summarize", "--", "--url", "x"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["no-such-command"], ExitCode.USAGE),
        (["status", "--no-such-option"], ExitCode.USAGE),
        (["submit"], ExitCode.USAGE),
        (["status", "--url", "ftp://x", "--key", "k"], ExitCode.USAGE),
        (["dead-letters", "replay"], ExitCode.USAGE),
        (["down"], ExitCode.NOT_FOUND),
        (["--help"], ExitCode.OK),
    ],
)
def test_exit_codes_are_as_documented(words: list[str], code: ExitCode, tmp_path: Path) -> None:
    assert run(["--data-dir", str(tmp_path), *words]) == code


def test_no_stack_is_one_line_that_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--data-dir", str(tmp_path), "status"]) == ExitCode.UNREACHABLE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "waybill up" in printed.err


def test_the_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    assert "130 interrupted" in " ".join(capsys.readouterr().out.split())


def test_a_client_command_loads_neither_the_servers_nor_the_settings() -> None:
    heavy = "{'sqlalchemy', 'fastapi', 'celery', 'alembic', 'redis', 'docutils', 'pydantic_settings', 'router_service.settings'}"
    code = f"import sys, router_service.cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_stored_key_is_for_this_machine_only(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("secret\n")
    (tmp_path / "api-key").chmod(0o600)
    assert stored_key(tmp_path, url="http://127.0.0.1:8080") == "secret"
    with pytest.raises(AuthenticationError, match="no key for"):
        stored_key(tmp_path, url="https://router.example")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("secret\n")
    (tmp_path / "api-key").chmod(0o644)
    with pytest.raises(AuthenticationError, match="chmod 600"):
        stored_key(tmp_path, url="http://127.0.0.1:8080")


@pytest.mark.parametrize("url", ["router.example", "ftp://x", "http://", "http://user:word@x"])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(UsageProblemError):
        checked_url(url)


def test_dead_letters_are_named_or_all_and_never_both() -> None:
    assert select(["dl_1"], everything=False, filters={}) == {"ids": ["dl_1"]}
    assert select([], everything=True, filters={"model": "m"}) == {"all": True, "model": "m"}
    for ids, everything, filters in (
        (["dl_1"], True, {}),
        (["dl_1"], False, {"model": "m"}),
        ([], False, {"model": "m"}),
    ):
        with pytest.raises(UsageProblemError):
            select(ids, everything=everything, filters=filters)


def test_watching_outlives_a_restart_of_the_service_and_not_its_end() -> None:
    answers = iter([None, {"status": "in_progress"}, None, {"status": "completed"}])

    def serve(request: httpx.Request) -> httpx.Response:
        answer = next(answers, None)
        if answer is None:
            raise httpx.ConnectError("down", request=request)
        return httpx.Response(200, json=answer)

    client = ApiClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(serve))
    seen = polled(client, "batch_1", sleep=lambda _: None, now=lambda: 0.0)
    assert [progress["status"] for progress in seen] == ["in_progress", "completed"]
    moments = iter(range(0, 1000, 40))
    with pytest.raises(UnavailableError):
        list(polled(client, "batch_1", sleep=lambda _: None, now=lambda: float(next(moments))))


def test_a_completed_batch_with_failures_has_not_succeeded() -> None:
    assert all_succeeded({"status": "completed", "total": 2, "counts": {"succeeded": 2}})
    assert not all_succeeded({"status": "completed", "total": 2, "counts": {"succeeded": 1, "failed": 1}})
    assert not all_succeeded({"status": "cancelled", "total": 0, "counts": {}})
