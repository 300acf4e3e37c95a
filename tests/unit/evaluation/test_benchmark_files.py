"""What is said of files of labels and outcomes that are wrong: always the whole path, and the line where there is one."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from router_service.errors import InvalidRequestError
from router_service.evaluation.benchmark_files import read_any, read_labels

if TYPE_CHECKING:
    from pathlib import Path

GOOD = '{"text": "one", "outcomes": {"a": 1}}'


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("{no", ":3: not JSON: Expecting property name"),
        ("[]", ":3: expected a JSON object"),
        ('{"outcomes": {"a": 1}}', ":3: has no 'text'"),
        ('{"text": "x", "outcomes": {"a": 1.5}}', ":3: outcomes.a is 1.5, not a number from 0 to 1"),
        ('{"text": "x", "outcomes": {"a": NaN}}', ":3: outcomes.a is nan, not a number from 0 to 1"),
        ('{"text": "x", "outcomes": ["a"]}', ":3: 'outcomes' must be an object of numbers by model id"),
        (
            '{"text": "x", "outcomes": {"a": 1}, "tokens_out": {"a": -1}}',
            ":3: tokens_out.a is -1, not a number from 0 on",
        ),
    ],
)
def test_a_wrong_label_is_told_with_the_whole_path_and_its_line(tmp_path: Path, wrong: str, says: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(f"{GOOD}\n\n{wrong}\n")
    with pytest.raises(InvalidRequestError) as caught:
        read_labels(path)
    assert str(caught.value).startswith(f"{path}{says}")


def test_labels_without_any_outcome_are_told_what_a_line_is(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"text": "x"}\n')
    with pytest.raises(InvalidRequestError, match=r"labels\.jsonl: no outcomes; a line such as"):
        read_labels(path)


@pytest.mark.parametrize(
    ("cell", "says"), [("yes", "a|correct is 'yes', not a number from 0 to 1"), ("2", "a|correct is '2', not a number")]
)
def test_a_wrong_outcome_of_a_folder_is_told_with_its_line(tmp_path: Path, cell: str, says: str) -> None:
    with gzip.open(tmp_path / "questions.jsonl.gz", "wt") as file:
        file.write('{"question_id": "1", "question": "x"}\n{"question_id": "2", "question": "y"}\n')
    path = tmp_path / "outcomes.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(f"question_id,a|correct\n1,1\n2,{cell}\n")
    with pytest.raises(InvalidRequestError) as caught:
        read_any(tmp_path)
    assert str(caught.value).startswith(f"{path}:3: {says}")


def test_a_file_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl.gz"
    path.write_text("no gzip")
    with pytest.raises(InvalidRequestError) as caught:
        read_any(path)
    assert str(caught.value).startswith(f"{path}: cannot be read: ")
