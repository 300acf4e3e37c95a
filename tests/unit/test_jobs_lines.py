from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.errors import TooLargeError
from router_service.jobs.lines import BOM, LineCutter

if TYPE_CHECKING:
    from collections.abc import Iterable

Lines = list[tuple[int, bytes]]


def cut(chunks: Iterable[bytes], *, most_bytes: int = 1000, most_lines: int = 1000) -> Lines:
    cutter = LineCutter(most_bytes=most_bytes, most_lines=most_lines)
    lines = [line for chunk in chunks for line in cutter.feed(chunk)]
    return [*lines, *cutter.rest()]


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b" ", b"{}", BOM]), max_size=30), st.data())
def test_the_chunks_do_not_matter(pieces: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(pieces)
    places = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]
    assert cut(chunks) == cut([whole])


@given(st.lists(st.text("ab{}\u00e9\u2028 \t\r", max_size=9), max_size=20))
def test_each_line_with_content_comes_once_with_its_number(texts: list[str]) -> None:
    whole = "\n".join(texts).encode()
    stripped = ((number, text.encode().strip(b" \t\r")) for number, text in enumerate(texts, start=1))
    assert cut([whole]) == [(number, line) for number, line in stripped if line]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a", [(1, b"a")]),
        (b"a\n", [(1, b"a")]),
        (b"a\r\nb\r\n", [(1, b"a"), (2, b"b")]),
        (b"\n \t\r\na", [(3, b"a")]),
        (BOM + b"a\n" + BOM + b"b", [(1, b"a"), (2, BOM + b"b")]),
        (BOM, []),
        (b"a\x0bb\x0cc\x85d", [(1, b"a\x0bb\x0cc\x85d")]),
        ("a\u2028b\n".encode(), [(1, "a\u2028b".encode())]),
    ],
)
def test_lines_end_at_line_feeds_and_white_space_is_no_content(content: bytes, lines: Lines) -> None:
    assert cut([content]) == lines


def test_a_line_that_is_too_long_is_named() -> None:
    with pytest.raises(TooLargeError, match="line 2 is over 4 bytes") as caught:
        cut([b"ok\nfar ", b"too long"], most_bytes=4)
    assert caught.value.param == "line 2"


def test_a_line_of_just_the_limit_is_taken() -> None:
    assert cut([b"ab", b"cd\n", b"efgh"], most_bytes=4) == [(1, b"abcd"), (2, b"efgh")]


def test_a_line_that_is_too_long_is_refused_before_its_end_has_come() -> None:
    cutter = LineCutter(most_bytes=4, most_lines=1)
    with pytest.raises(TooLargeError):
        list(cutter.feed(b"12345"))


def test_blank_lines_are_counted_as_well() -> None:
    assert cut([b"\n\n", b"a"], most_lines=3) == [(3, b"a")]
    with pytest.raises(TooLargeError, match="more than 3 lines, blank ones included") as caught:
        cut([b"\n\n\n \n"], most_lines=3)
    assert caught.value.code == "too_many_lines"
