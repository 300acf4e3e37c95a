from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from router_service.cli import output

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "a\x1b]0;title\x07b\x9bc\u202ed\u2066e\x7ff\ud800g\rh"


def test_control_characters_of_a_model_reach_no_terminal() -> None:
    shown = output.safe_text(HOSTILE)
    assert shown == "a\\x1b]0;title\\x07b\\x9bc\\u202ed\\u2066e\\x7ff\\ud800g\\x0dh"
    assert shown.encode("utf-8")


def test_lines_and_tabs_stay() -> None:
    assert output.safe_text("a\n\tb") == "a\n\tb"


def test_json_keeps_its_value_and_loses_its_danger() -> None:
    text = output.as_json({"text": HOSTILE, "good": "ä 漢"})
    assert json.loads(text) == {"text": HOSTILE, "good": "ä 漢"}
    assert not output.UNSAFE.search(text)
    assert "ä 漢" in text


def test_one_line_is_one_line() -> None:
    assert output.safe_line("a\n b\tc" + "d" * 20, width=8) == "a b cdd…"


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(None, "-"), (0.0, "$0.00"), (12.345, "$12.35"), (0.5, "$0.5"), (1.234e-6, "$0.00000123"), (1e-6, "$0.000001")],
)
def test_small_amounts_are_readable(amount: float | None, shown: str) -> None:
    assert output.usd(amount) == shown


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    with pytest.raises(RuntimeError), output.output_file(target) as file:  # noqa: PT012 the write comes before the fault
        file.write(b"new")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_whole_write_replaces_the_file(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    with output.output_file(target) as file:
        output.write_line(file, {"a": 1})
    assert target.read_text() == '{"a": 1}\n'


def test_an_id_is_never_cut_on_a_narrow_screen() -> None:
    identifier = "batch_01a20a44c8cc7db8bd9544cd15a7b017"
    table = output.plain_table(("batch", "words", "#n"), [(identifier, "many words " * 9, 1), (None, "x", 2)])
    screen = Console(width=60, file=StringIO())
    screen.print(table)
    assert identifier in screen.file.getvalue()  # type: ignore[attr-defined]
