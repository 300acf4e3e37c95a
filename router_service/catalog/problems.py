"""Says what is wrong with a catalog file: where, what, and the nearest thing that would be right."""

from __future__ import annotations

import difflib
import types
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from router_service.catalog.dialect import CatalogFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def explain(problem: Mapping[str, Any], *, root: type[BaseModel] = CatalogFile) -> str:
    """One line for a problem of Pydantic's: its path in a document of the shape `root`, and what would be right."""
    location = _location(problem)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "(file)"
    return f"{path}: {what_is_wrong(problem, root=root)}"


def what_is_wrong(problem: Mapping[str, Any], *, root: type[BaseModel] = CatalogFile) -> str:
    """The line without its path."""
    location = _location(problem)
    if problem["type"] == "extra_forbidden":
        return f"unknown key{nearest(str(location[-1]), _keys_at(location[:-1], root))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    # An acronym such as URL keeps its capitals.
    return message if message[:2].isupper() else message[:1].lower() + message[1:]


def _location(problem: Mapping[str, Any]) -> tuple[str | int, ...]:
    return tuple(part for part in problem["loc"] if part != "[key]")


def nearest(word: str, known: set[str]) -> str:
    """The end of a message about a word that nobody knows."""
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _keys_at(location: Sequence[str | int], root: type[BaseModel]) -> set[str]:
    """The keys that are known at a place of the document."""
    annotation: Any = root
    for part in location:
        section = next(_sections(annotation), None)
        if section is None:
            return set()
        # A place in a list, or a name of the operator's own, leads to the section that stands there.
        named = not isinstance(part, int) and get_origin(annotation) is not dict
        annotation = section.model_fields[str(part)].annotation if named else section
    section = next(_sections(annotation), None)
    return set(section.model_fields) if section else set()


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _sections(argument)
