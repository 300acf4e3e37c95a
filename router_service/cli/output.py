r"""What the commands print: data to stdout, words and progress to stderr, nothing of a model raw to a terminal.

Text that a model or a stranger wrote may hold escape sequences that retitle, recolour or overwrite a terminal, and
direction marks that make a line read as something else. Both are shown as visible escapes here. JSON keeps its
value: the same characters are written as `\uXXXX`.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# C0 without tab and newline, DEL and C1, marks and overrides of direction, line separators, lone surrogates.
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
IDENTIFIER = re.compile(r"(batch|job|dl)_\w+")
PIPED_WIDTH = 400  # nothing is cut for a reader that is no screen


def safe_text(text: object) -> str:
    """The text with every control character as a visible escape; tabs and newlines stay."""
    return UNSAFE.sub(_visible, str(text))


def safe_line(text: object, *, width: int | None = None) -> str:
    """One line: white space runs become one blank, and what is beyond `width` characters an ellipsis."""
    line = safe_text(" ".join(str(text).split()))
    if width is not None and len(line) > width:
        return line[: width - 1] + "…"
    return line


def as_json(document: object, *, indent: int | None = None) -> str:
    """JSON that reads well and is safe to show: the same value, with control characters escaped."""
    return safe_json_text(json.dumps(document, ensure_ascii=False, indent=indent))


def safe_json_text(text: str) -> str:
    """A JSON text whose control characters are JSON escapes; they can only stand inside of its strings."""
    return UNSAFE.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def print_json(document: object) -> None:
    """One JSON document, indented."""
    sys.stdout.write(as_json(document, indent=2) + "\n")


def print_json_line(document: object) -> None:
    """One line of a JSONL stream, flushed: its reader may be waiting for it."""
    sys.stdout.write(as_json(document) + "\n")
    sys.stdout.flush()


def say(message: str) -> None:
    """A line for the person at the terminal, on stderr so that data stays clean."""
    sys.stderr.write(safe_text(message) + "\n")
    sys.stderr.flush()


def tell(message: str) -> None:
    """A line of a running service for the person who started it, at once."""
    sys.stdout.write(safe_text(message) + "\n")
    sys.stdout.flush()


def out_console() -> Console:
    return _console(stderr=False)


def progress_console() -> Console:
    return _console(stderr=True)


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A table of safe text. A column whose name starts with `#` holds numbers: it stands on the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", highlight=False, show_header=any(columns))
    for index, name in enumerate(columns):
        # An id is there to be copied: other columns give way to it on a narrow screen.
        ids = (len(str(row[index])) for row in rows if IDENTIFIER.fullmatch(str(row[index])))
        justify: Literal["left", "right"] = "right" if name.startswith("#") else "left"
        table.add_column(name.removeprefix("#"), justify=justify, min_width=max(ids, default=None))
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A heading on a line of its own, where there is one, and the table unless it is empty."""
    console = out_console()
    if title is not None:
        console.print(Text(safe_text(title), style="italic"), soft_wrap=True)
    if rows:
        console.print(plain_table(columns, rows))


def usd(amount: float | None) -> str:
    """Dollars with three digits that count, however small the amount is."""
    if amount is None:
        return "-"
    if amount == 0 or abs(amount) >= 1:
        return f"${amount:.2f}"
    places = 2 - math.floor(math.log10(abs(amount)))
    return f"${f'{amount:.{places}f}'.rstrip('0')}"


def clock(unix_s: float | None) -> str:
    """A time of day in UTC."""
    return "-" if unix_s is None else f"{datetime.fromtimestamp(unix_s, tz=UTC):%Y-%m-%d %H:%M:%S}Z"


def duration(seconds: float) -> str:
    """Seconds below two minutes, then minutes, hours, days."""
    for unit_s, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{seconds:.0f} s"


@contextmanager
def output_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when all of it was written; a pipe or device is written directly."""
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
        return
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_line(file: IO[bytes], document: dict[str, Any]) -> None:
    file.write(as_json(document).encode() + b"\n")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else safe_text(value)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console
