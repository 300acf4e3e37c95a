from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.cli.documents import Document, installed_packages, read_documents, split_text
from router_service.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path


def read(*paths: Path | str, stdin: bytes = b"", text_field: str = "text") -> list[Document]:
    return list(read_documents([str(path) for path in paths], stdin=io.BytesIO(stdin), text_field=text_field))


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_markdown_becomes_its_prose(tmp_path: Path) -> None:
    source = "# Title\n\nSome *bold* `code`\nand [a link](https://x.y).\n\n```\nx = 1\n```\n\n- item\n"
    source += "\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    (document,) = read(written(tmp_path, "a.md", source))
    assert document.title == "Title"
    assert document.text == "Some bold code and a link.\n\nitem"


def test_restructured_text_becomes_its_prose(tmp_path: Path) -> None:
    source = "Title\n=====\n\nSee :pep:`8` and ``x``.\n\n.. note:: Mind it.\n"
    source += "\n.. code-block:: python\n\n   x = 1\n\n* item\n"
    (document,) = read(written(tmp_path, "a.rst", source))
    assert document.title == "Title"
    assert document.text == "See PEP 8 and x.\n\nMind it.\n\nitem"


def test_restructured_text_may_not_read_other_files(tmp_path: Path) -> None:
    secret = written(tmp_path, "secret.txt", "the secret words")
    source = f"Before.\n\n.. include:: {secret}\n\n.. raw:: html\n   :file: {secret}\n"
    source += f"\n.. csv-table::\n   :file: {secret}\n\nAfter."
    (document,) = read(written(tmp_path, "a.rst", source))
    assert "secret words" not in document.text
    assert "After." in document.text


def test_broken_restructured_text_keeps_its_words(tmp_path: Path) -> None:
    (document,) = read(written(tmp_path, "a.rst", "Title\n==\n\nSome *broken text and `more.\n\n   - odd\n indent"))
    assert "broken text" in document.text


def test_html_keeps_blocks_and_drops_scripts_and_navigation(tmp_path: Path) -> None:
    source = (
        "<html><head><title>T &amp; U</title><style>p{}</style></head><body><nav><a>Home</a></nav>"
        "<p>One <b>bold</b> word.</p><script>alert(1)</script><div>Two.<br>Three.</div></body></html>"
    )
    (document,) = read(written(tmp_path, "a.html", source))
    assert document.title == "T & U"
    assert document.text == "One bold word.\n\nTwo.\n\nThree."


def test_each_line_of_a_jsonl_file_is_a_document(tmp_path: Path) -> None:
    lines = [{"id": 7, "title": "Seven", "body": "One."}, {"body": "Two."}]
    path = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    first, second = read(path, text_field="body")
    assert first == Document(id="7", title="Seven", text="One.", source=f"{path}:1")
    assert (second.id, second.title, second.source) == ("a:2", "a:2", f"{path}:2")


def test_a_folder_gives_its_known_and_visible_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", ".hidden.txt", ".git/x.txt", "c.png"):
        written(tmp_path, name, "Words.")
    assert [document.id for document in read(tmp_path)] == ["z", "b"]


def test_stdin_is_one_text_or_json_lines() -> None:
    assert [document.text for document in read("-", stdin=b"Plain.")] == ["Plain."]
    assert [document.text for document in read("-", stdin=b'{"text": "One."}\n{"text": "Two."}\n')] == ["One.", "Two."]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert read(written(tmp_path, "a.txt", b"\xef\xbb\xbfWords."))[0].text == "Words."


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"good \xff bad", r"a\.txt: not UTF-8 at byte 5 \(0xff\)"),
        ("a.txt", b"\xef\xbb\xbfab\xff", "not UTF-8 at byte 5"),
        ("a.jsonl", b'{"text": "ok"}\n{"text": "\xff"}\n', "not UTF-8 at byte 25"),
        ("a.txt", b"PK\x00\x01", r"a\.txt: binary, not text \(a NUL at byte 2\)"),
        ("a.txt", b" \n", r"a\.txt: the document is empty"),
        ("a.jsonl", b"\n", r"a\.jsonl: the document is empty"),
        ("a.jsonl", b'{"text": "ok"}\nnope\n', r"a\.jsonl:2: not a JSON object"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: a JSON object is needed, not list"),
        ("a.jsonl", b'{"body": "x"}\n', r"a\.jsonl:1: no string in the field 'text'; fields there: body"),
        ("a.jsonl", b'{"text": " "}\n', r"a\.jsonl:1: the field 'text' is empty"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(InvalidRequestError, match=message) as raised:
        read(path)
    assert raised.value.param == str(path)


def test_a_missing_file_and_a_folder_without_documents_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="no such file"):
        read(tmp_path / "none.txt")
    with pytest.raises(InvalidRequestError, match="no document in this folder"):
        read(tmp_path)


def test_installed_packages_come_once_each_in_order_with_real_text() -> None:
    documents = list(installed_packages())
    names = [document.id for document in documents]
    assert "pytest" in names
    assert names == sorted(set(names))
    assert all(len(document.text) > 200 for document in documents)


@given(text=st.text(alphabet="ab. \n!x", max_size=300), max_chars=st.integers(min_value=1, max_value=80))
def test_a_split_loses_no_character_that_is_not_space(text: str, max_chars: int) -> None:
    pieces = split_text(text, max_chars=max_chars)
    assert all(0 < len(piece) <= max_chars for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(words=st.lists(st.text(alphabet="abc", min_size=1, max_size=10), max_size=60))
def test_a_split_cuts_no_word_that_fits(words: list[str]) -> None:
    assert " ".join(split_text(" ".join(words), max_chars=20)).split() == words


def test_a_split_prefers_paragraphs_then_sentences() -> None:
    assert split_text("One two.\n\nThree four.", max_chars=15) == ["One two.", "Three four."]
    assert split_text("One two three. Four five.", max_chars=20) == ["One two three.", "Four five."]
