"""The commands against the real stack: Postgres, Redis, API and workers as `waybill up` starts them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from router_service.cli.demo import CATALOG, running_stack
from router_service.cli.exits import ExitCode
from router_service.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Waybill = Callable[..., str]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stack")
    catalog = folder / "catalog.yaml"
    catalog.write_text(CATALOG)
    with running_stack(folder, catalog=catalog):
        yield folder


@pytest.fixture
def waybill(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Waybill:
    """Run a command line, check its exit code, and return what it wrote to stdout."""

    def command(*words: str, code: ExitCode = ExitCode.OK) -> str:
        found = run(["--data-dir", str(data_dir), *words])
        printed = capsys.readouterr()
        assert found == code, printed.err
        return printed.out

    return command


def requests(count: int, *, model: str) -> str:
    lines = [
        {
            "custom_id": f"c{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": f"Ship {number} sails. It is blue."}]},
        }
        for number in range(count)
    ]
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_is_submitted_watched_and_its_results_are_read_in_order(waybill: Waybill, tmp_path: Path) -> None:
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text(requests(20, model="auto"))
    batch = waybill("submit", str(file), "--watch").strip()
    assert json.loads(waybill("status", batch, "--json"))["status"] == "completed"
    waybill("results", batch, "--out", str(out))
    wanted = [f"c{number}" for number in range(20)]
    assert [line["custom_id"] for line in documents(out.read_text())] == wanted
    assert [line["custom_id"] for line in documents(waybill("results", batch))] == wanted
    assert batch in [one["id"] for one in json.loads(waybill("status", "--json"))["batches"]]
    assert documents(waybill("watch", batch, "--json"))[-1]["counts"]["succeeded"] == 20
    assert batch in waybill("status")


def test_a_failing_models_job_is_explained_from_its_first_decision_to_its_fallback(
    waybill: Waybill, tmp_path: Path
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(requests(1, model="flaky"))
    batch = waybill("submit", str(file), "--watch").strip()
    (letter,) = documents(waybill("dead-letters", "list", "--batch", batch, "--json"))
    assert letter["model"] == "flaky"
    told = json.loads(waybill("explain", letter["job_id"], "--json"))
    assert [attempt["model"] for attempt in told["attempts"]] == ["flaky", "flaky", "local-lexrank"]
    table = waybill("explain", letter["job_id"])
    assert "local-lexrank" in table
    assert letter["id"] in table
    assert letter["id"] in waybill("dead-letters", "show", letter["id"])
    assert json.loads(waybill("results", letter["job_id"]))["object"] == "chat.completion"


@pytest.mark.parametrize("words", [(), ("--watch",)])
def test_a_broken_line_fails_the_batch_with_its_number(
    waybill: Waybill, tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(requests(1, model="auto") + "broken\n")
    batch = waybill("submit", str(file), *words, code=ExitCode.FAILED).strip()
    assert json.loads(waybill("status", batch, "--json"))["errors"]["data"][0]["line"] == 2


def test_documents_become_summaries(waybill: Waybill, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The harbour opened in 1900. Ships came from all over. " * 5)
    (tmp_path / "b.txt").write_text("Rain fell for a week. The river rose and took the bridge. " * 2000)
    short, long = documents(waybill("summarize", str(tmp_path), "--json", "--max-words", "20"))
    assert short["parts"] == 1
    assert long["parts"] > 1
    assert short["summary"]
    assert long["summary"]


def test_a_key_is_made_used_and_revoked(waybill: Waybill) -> None:
    key = waybill("keys", "create", "mine").strip()
    waybill("models", "--json", "--key", key)
    prefix = next(one["prefix"] for one in json.loads(waybill("keys", "list", "--json")) if one["name"] == "mine")
    waybill("keys", "revoke", prefix)
    waybill("keys", "revoke", prefix, code=ExitCode.NOT_FOUND)
    waybill("status", "--key", "wb_000000000000_wrong", code=ExitCode.UNREACHABLE)


def test_a_wrong_catalog_is_refused_and_the_one_in_force_stays(waybill: Waybill, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("model_list: [{model_name: a, litellm_params: {modle: local/lead}}]")
    waybill("reload", "--config", str(wrong), code=ExitCode.USAGE)
    names = [model["id"] for model in json.loads(waybill("models", "--json"))["data"]]
    assert "flaky" in names
    assert "local-lexrank" in waybill("models")


def test_what_does_not_exist_is_not_found(waybill: Waybill) -> None:
    for words in (["status", "job_x"], ["status", "batch_x"], ["explain", "job_x"], ["cancel", "job_x"]):
        waybill(*words, code=ExitCode.NOT_FOUND)


def test_the_doctor_finds_a_running_stack_well(waybill: Waybill) -> None:
    findings = json.loads(waybill("doctor", "--json"))
    assert {"database", "schema", "clock", "redis eviction", "api"} <= {finding["check"] for finding in findings}
    assert [finding for finding in findings if finding["level"] == "fail"] == []
