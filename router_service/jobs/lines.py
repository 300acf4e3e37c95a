"""Cuts a stream of bytes into the lines of a JSONL file, whatever the chunks. CRLF, a BOM and blank lines are no content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.errors import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

BOM = b"\xef\xbb\xbf"


class LineCutter:
    """Feed it chunks, take (line number from 1, line) pairs; `rest` gives the last line where no newline ends it."""

    def __init__(self, *, most_bytes: int, most_lines: int) -> None:
        self._most_bytes = most_bytes
        self._most_lines = most_lines
        self._parts: list[bytes] = []
        self._held = 0
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Works as it is read. Raises TooLargeError where a line is too long, or one too many, blank ones included."""
        first, *others = chunk.split(b"\n")
        self._hold(first)
        for piece in others:
            yield from self._take()
            self._hold(piece)

    def rest(self) -> Iterator[tuple[int, bytes]]:
        yield from self._take()

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._held > self._most_bytes:
            raise TooLargeError(
                f"line {self._number + 1} is over {self._most_bytes} bytes", param=f"line {self._number + 1}"
            )
        self._parts.append(piece)

    def _take(self) -> Iterator[tuple[int, bytes]]:
        line = b"".join(self._parts)
        self._parts, self._held = [], 0
        self._number += 1
        if self._number > self._most_lines:
            raise TooLargeError(
                f"there are more than {self._most_lines} lines, blank ones included",
                param="file",
                code="too_many_lines",
            )
        if self._number == 1:
            line = line.removeprefix(BOM)
        line = line.strip(b" \t\r")
        if line:
            yield self._number, line
