"""Says what is wrong with a catalog file: where, what, and the nearest thing that would be right."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from router_service.catalog.dialect import CatalogFile
from router_service.catalog.nearness import close_to, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

VERY_NEAR = 0.65  # of a key that may as well be meant as the same one of another place
WRONG_SHAPES = frozenset({"dict_type", "model_type", "model_attributes_type", "list_type", "tuple_type"})


def explain(problem: Mapping[str, Any], *, root: type[BaseModel] = CatalogFile) -> str:
    """One line for a problem of Pydantic's: its path in a document of the shape `root`, and what would be right."""
    location = _location(problem)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "(file)"
    return f"{path}: {what_is_wrong(problem, root=root)}"


def what_is_wrong(problem: Mapping[str, Any], *, root: type[BaseModel] = CatalogFile) -> str:
    """The line without its path."""
    location = _location(problem)
    if problem["type"] == "extra_forbidden":
        return unknown_key(location, root)
    message = str(problem["msg"]).removeprefix("Value error, ")
    # An acronym such as URL keeps its capitals.
    said = message if message[:2].isupper() else message[:1].lower() + message[1:]
    example = _example_at(location, root) if problem["type"] in WRONG_SHAPES else None
    return said if example is None else f"{said}, such as {example}"


def _location(problem: Mapping[str, Any]) -> tuple[str | int, ...]:
    return tuple(part for part in problem["loc"] if part != "[key]")


def unknown_key(location: Sequence[str | int], root: type[BaseModel]) -> str:
    """What is said of a key: one of that place that is near, else where this very key belongs, else what is known there."""
    word, known = str(location[-1]), _keys_at(location[:-1], root)
    if close_to(word, known, cutoff=VERY_NEAR):
        return f"unknown key{nearest(word, known)}"
    here = [each for each in _all_keys(root) if each[1] == word]
    if here:
        place, _key, example = min(here, key=lambda each: (each[0].count("."), each[0]))
        return f"unknown key; it belongs to {place or 'the top of the file'}" + (
            f", such as {word}: {example}" if example else ""
        )
    return f"unknown key{nearest(word, known)}"


def _all_keys(root: type[BaseModel], path: str = "") -> Iterator[tuple[str, str, str | None]]:
    """The path of a section (`*` for a name of the operator's own), a key of it, and an example of its value."""
    for name, field in root.model_fields.items():
        yield path, name, _example_at((name,), root)
        for section in _sections(field.annotation):
            kind = get_origin(_bare(field.annotation))
            inner = f"{name}[]" if kind is list else f"{name}.*" if kind is dict else name
            yield from _all_keys(section, f"{path}.{inner}".lstrip("."))


def _bare(annotation: Any) -> Any:
    """Without `| None` and Annotated."""
    arguments = [each for each in get_args(annotation) if each is not types.NoneType]
    if get_origin(annotation) in (types.UnionType, Union) and len(arguments) == 1:
        return _bare(arguments[0])
    return _bare(arguments[0]) if get_origin(annotation) is Annotated else annotation


def _example_at(location: Sequence[str | int], root: type[BaseModel]) -> str | None:
    """What the shape gives as an example of the value at a place."""
    section = _section_at(location[:-1], root) if location else None
    field = section.model_fields.get(str(location[-1])) if section is not None else None
    example = field.examples[0] if field is not None and field.examples else None
    return example if isinstance(example, str) else None


def _keys_at(location: Sequence[str | int], root: type[BaseModel]) -> set[str]:
    """The keys that are known at a place of the document."""
    section = _section_at(location, root)
    return set(section.model_fields) if section else set()


def _section_at(location: Sequence[str | int], root: type[BaseModel]) -> type[BaseModel] | None:
    annotation: Any = root
    for part in location:
        section = next(_sections(annotation), None)
        if section is None:
            return None
        # A place in a list, or a name of the operator's own, leads to the section that stands there.
        if isinstance(part, int) or get_origin(annotation) is dict:
            annotation = section
        elif part in section.model_fields:
            annotation = section.model_fields[part].annotation
        else:
            return None
    return next(_sections(annotation), None)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _sections(argument)
