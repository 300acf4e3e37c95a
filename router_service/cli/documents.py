"""Documents for `waybill summarize`: files, folders, standard input and installed packages, read one at a time.

Markup becomes plain text in `markup`. What cannot be read is an InvalidRequestError that names the file and, where
there is one, the line or byte; nothing is skipped in silence except hidden entries and unknown suffixes in a folder.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from router_service.cli.markup import Markup, plain_text
from router_service.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SUFFIXES: Final[Mapping[str, Markup]] = {
    ".txt": Markup.PLAIN,
    ".text": Markup.PLAIN,
    ".md": Markup.MARKDOWN,
    ".markdown": Markup.MARKDOWN,
    ".rst": Markup.RST,
    ".html": Markup.HTML,
    ".htm": Markup.HTML,
    ".xhtml": Markup.HTML,
}
LINES_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
_CONTENT_TYPES: Final[Mapping[str, Markup]] = {
    "text/markdown": Markup.MARKDOWN,
    "text/x-rst": Markup.RST,
    "text/plain": Markup.PLAIN,
}
_STDIN: Final = "-"
_MIN_DESCRIPTION_CHARS: Final = 200
_PARAGRAPH_END: Final = re.compile(r"\S(?=\n\s*\n)")
_SENTENCE_END: Final = re.compile(r"[.!?…](?=\s)|[。！？]")  # noqa: RUF001 - full-width punctuation is meant
_SPACE: Final = re.compile(r"\s")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`text` is plain and never blank; `source` is what to show: a path, path:line, <stdin> or a package."""

    id: str
    title: str
    text: str
    source: str


def read_documents(paths: Sequence[str], *, stdin: IO[bytes], text_field: str = "text") -> Iterator[Document]:
    """The documents of all paths, in order; `-` is stdin. Raises InvalidRequestError(param=path) on the first bad."""
    for path in paths:
        if path == _STDIN:
            yield from _from_stdin(stdin, text_field=text_field)
            continue
        found = list(_files(Path(path)))
        if not found:
            known = ", ".join(sorted({*SUFFIXES, *LINES_SUFFIXES}))
            raise InvalidRequestError(f"{path}: no document in this folder; known are {known}", param=path)
        for file in found:
            yield from _from_file(file, text_field=text_field)


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the known, visible files below a folder in the order of their paths."""
    if not path.exists():
        raise InvalidRequestError(f"{path}: no such file or folder", param=str(path))
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        is_hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        is_known = file.suffix.lower() in SUFFIXES or file.suffix.lower() in LINES_SUFFIXES
        if is_known and not is_hidden and file.is_file():
            yield file


def _from_file(file: Path, *, text_field: str) -> Iterator[Document]:
    source = str(file)
    try:
        with file.open("rb") as stream:
            if file.suffix.lower() in LINES_SUFFIXES:
                yield from _from_lines(stream, source=source, text_field=text_field)
                return
            raw = stream.read()
    except OSError as error:
        raise InvalidRequestError(f"{source}: {error.strerror or error}", param=source) from error
    markup = SUFFIXES.get(file.suffix.lower(), Markup.PLAIN)
    yield _document(_decode(raw, source=source), source=source, name=file.stem, markup=markup)


def _from_stdin(stdin: IO[bytes], *, text_field: str) -> Iterator[Document]:
    """JSON lines where the first line is a JSON object with the text field, else one text."""
    raw = stdin.read()
    if _looks_like_lines(raw, text_field=text_field):
        yield from _from_lines(iter(raw.splitlines(keepends=True)), source="<stdin>", text_field=text_field)
    else:
        text = _decode(raw, source="<stdin>")
        yield _document(text, source="<stdin>", name="stdin", markup=Markup.PLAIN)


def _looks_like_lines(raw: bytes, *, text_field: str) -> bool:
    first = raw.removeprefix(_BOM).lstrip().split(b"\n", 1)[0]
    if not first.startswith(b"{"):
        return False
    try:
        record = json.loads(first)
    except ValueError:
        return False
    return isinstance(record, dict) and text_field in record


def _document(text: str, *, source: str, name: str, markup: Markup) -> Document:
    plain, title = plain_text(text, markup=markup)
    if not plain.strip():
        raise InvalidRequestError(f"{source}: the document is empty", param=source, code="empty_document")
    return Document(id=name, title=title or name, text=plain, source=source)


def _decode(raw: bytes, *, source: str, offset: int = 0) -> str:
    """UTF-8, with or without a byte order mark; `offset` is where raw stands in the file."""
    where = raw.find(b"\x00")
    if where >= 0:
        raise InvalidRequestError(
            f"{source}: binary, not text (a NUL at byte {offset + where})", param=source, code="binary_document"
        )
    bare = raw.removeprefix(_BOM) if offset == 0 else raw
    try:
        return bare.decode("utf-8")
    except UnicodeDecodeError as error:
        at = offset + len(raw) - len(bare) + error.start
        raise InvalidRequestError(
            f"{source}: not UTF-8 at byte {at} (0x{bare[error.start]:02x}); convert it, e.g. iconv -t utf-8",
            param=source,
            code="invalid_encoding",
        ) from error


def _from_lines(lines: Iterator[bytes] | IO[bytes], *, source: str, text_field: str) -> Iterator[Document]:
    offset, seen = 0, False
    for number, raw in enumerate(lines, start=1):
        line = _decode(raw, source=source, offset=offset)
        offset += len(raw)
        if line.strip():
            seen = True
            yield _from_record(line, source=source, number=number, text_field=text_field)
    if not seen:
        raise InvalidRequestError(f"{source}: the document is empty", param=source, code="empty_document")


def _from_record(line: str, *, source: str, number: int, text_field: str) -> Document:
    where = f"{source}:{number}"
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{where}: not a JSON object: {error}", param=source) from error
    if not isinstance(record, dict):
        raise InvalidRequestError(f"{where}: a JSON object is needed, not {type(record).__name__}", param=source)
    text = record.get(text_field)
    if not isinstance(text, str):
        fields = ", ".join(sorted(record)) or "none"
        raise InvalidRequestError(
            f"{where}: no string in the field {text_field!r}; fields there: {fields}", param=source
        )
    if not text.strip():
        raise InvalidRequestError(f"{where}: the field {text_field!r} is empty", param=source, code="empty_document")
    name = str(record.get("id") or f"{Path(source).stem}:{number}")
    return Document(id=name, title=str(record.get("title") or name), text=text, source=where)


def installed_packages() -> Iterator[Document]:
    """The long descriptions of the installed distributions, by name: real documents that are always at hand."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution)
    for name, distribution in sorted(found.items()):
        about: Any = distribution.metadata  # an email.message.Message, though typed as a narrower protocol
        kind = (about.get("Description-Content-Type") or "text/x-rst").split(";")[0].strip().lower()
        markup = _CONTENT_TYPES.get(kind, Markup.PLAIN)
        description = about.get("Description") or str(about.get_payload() or "")
        plain, _ = plain_text(description, markup=markup)
        if len(plain.strip()) > _MIN_DESCRIPTION_CHARS:
            title = f"{about['Name']} {distribution.version}"
            yield Document(id=name, title=title, text=plain, source=f"package {title}")


def split_text(text: str, *, max_chars: int) -> list[str]:
    """Pieces of at most max_chars, cut at paragraphs, else sentences, else words, else anywhere; no word is lost."""
    if max_chars < 1:
        raise ValueError(f"max_chars is {max_chars}; at least 1 is needed")
    pieces: list[str] = []
    rest = text.strip()
    while len(rest) > max_chars:
        cut = _cut(rest, max_chars=max_chars)
        pieces.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*pieces, rest] if rest else pieces


def _cut(text: str, *, max_chars: int) -> int:
    """Where the first piece ends: at the last paragraph or sentence of its second half, or at the last space."""
    window = text[: max_chars + 1]
    for boundary in (_PARAGRAPH_END, _SENTENCE_END):
        ends = [end for match in boundary.finditer(window) if (end := match.start() + 1) <= max_chars]
        if ends and ends[-1] * 2 > max_chars:
            return ends[-1]
    spaces = [match.start() for match in _SPACE.finditer(window) if match.start() > 0]
    return spaces[-1] if spaces else max_chars
