"""The text of a request that goes to the provider beside what its messages say: tools, schemas, names, metadata, addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from router_service.chat.request import ROUTING_FIELDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

NOT_SENT = frozenset({"model", *ROUTING_FIELDS})
DATA, BASE64, HEAD = "data:", ";base64,", 100  # how an address that holds an image begins, within so many characters
ENCODED = frozenset({"input_audio", "file_data"})  # keys under which sounds and files stand in base64
# What `Request.text` has already, where it is a string: of a message, of a part of one, of a call of a tool.
OF_MESSAGE, OF_PART, OF_CALL = frozenset({"role", "content"}), frozenset({"type", "text", "refusal"}), {"arguments"}


def beside(body: Mapping[str, Any], *, most: int) -> tuple[str, bool]:
    """Every key, string and whole number, in lines, in their order. At most `most` characters; whether something was left out.

    Images, sounds and files in base64 are not looked at.
    """
    lines, left = list[str](), most
    for line in _lines(body):
        if len(line) >= left:
            return "\n".join((*lines, line[:left])), True
        if line:
            lines.append(line)
        left -= len(line) + 1  # an empty one counts: what holds itself, or nothing but lists, comes to an end too
    return "\n".join(lines), False


def _lines(body: Mapping[str, Any]) -> Iterator[str]:
    for key, value in body.items():
        if key == "messages":
            for message in value if isinstance(value, list) else ():
                yield from _of_message(message)
        elif key not in NOT_SENT and isinstance(value, (str, list, Mapping)):
            yield from _strings(key, value)


def _of_message(message: object) -> Iterator[str]:
    if not isinstance(message, Mapping):
        return
    for key, value in message.items():
        if key == "content" and isinstance(value, list):
            for part in value:
                yield from _strings("", part, read=OF_PART)
        elif key not in OF_MESSAGE and value is not None:
            yield from _strings(key, value, read=OF_CALL if key == "tool_calls" else ())


def _strings(key: str, value: object, *, read: Collection[str] = ()) -> Iterator[str]:
    """At any depth, without recursion. `read`: keys whose strings are left out."""
    left: list[tuple[str, object]] = [(key, value)]
    while left:
        name, each = left.pop()
        if isinstance(each, str):
            if not (each.startswith(DATA) and BASE64 in each[:HEAD]):
                yield f"{name}: {each}" if name else each
            continue
        is_number = isinstance(each, int) and not isinstance(each, bool)
        yield f"{name}: {each}" if is_number else name
        if isinstance(each, Mapping):
            left += [
                (str(inner), part)
                for inner, part in reversed(list(each.items()))
                if inner not in ENCODED and not (inner in read and isinstance(part, str))
            ]
        elif isinstance(each, list):
            left += [("", part) for part in reversed(each)]
