"""A chat request as the extractors see it: its text, what is asked and what it is asked about, and the caller's hints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router_service.signals.beside import beside
from router_service.signals.hints import known_hints

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Characters of all messages that are looked at, of more the first three quarters and the end; so many more of what else is sent.
MOST_TEXT = 200_000
MOST_ASKED = 600  # characters of an instruction
LEAST_MATERIAL = 24
SYSTEM_ROLES = frozenset({"system", "developer"})
CUT = "\n\n"  # stands where the middle was left out

_BREAK = re.compile(r"\n|:\s|：")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What extractors see of one job.

    text: all that the messages say, tool calls included, joined by newlines. Of more than MOST_TEXT characters head and tail are
    kept, and `is_partial` says so: what was not seen is not known.
    sent: all text that the provider gets: `text`, and tools, schemas, names and whatever else stands in the body.
    system: what the system's (or developer's) messages say, cut like `text`; untrusted: what is sent beside that.
    asked: the instruction in the last user message; material: what it is about. The same text where nothing parts them.
    features: names of `Feature` that the request needs. hints: the caller's, see hints.py.
    """

    text: str
    sent: str
    system: str
    untrusted: str
    last_user: str
    asked: str
    material: str
    body: Mapping[str, Any]
    tokens_in: int
    is_partial: bool = False
    features: tuple[str, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        body: Mapping[str, Any],
        *,
        tokens_in: int,
        features: Sequence[str] = (),
        metadata: Mapping[str, object] | None = None,
    ) -> Request:
        """Read a body that `read_chat` has accepted. Raises nothing on others: what cannot be read is left out."""
        said = [(str(message.get("role")), _text_of(message)) for message in messages_of(body)]
        text, is_text_partial = bounded(_joined(said), most=MOST_TEXT)
        others, is_rest_partial = beside(body, most=MOST_TEXT)
        system = _joined([each for each in said if each[0] in SYSTEM_ROLES])
        untrusted = _joined([each for each in said if each[0] not in SYSTEM_ROLES]) if system else text
        untrusted = bounded(untrusted, most=MOST_TEXT)[0]
        users = [each for role, each in said if role == "user" and each]
        last_user = bounded(users[-1] if users else "", most=MOST_TEXT)[0]
        asked, material = part(last_user)
        return cls(
            text=text,
            sent=f"{text}\n{others}" if others else text,
            system=bounded(system, most=MOST_TEXT)[0],
            untrusted=f"{untrusted}\n{others}" if others else untrusted,
            last_user=last_user,
            asked=asked,
            material=material,
            body=body,
            tokens_in=tokens_in,
            is_partial=is_text_partial or is_rest_partial,
            features=tuple(features),
            hints=known_hints(metadata),
        )


def messages_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = body.get("messages")
    return [message for message in messages if isinstance(message, Mapping)] if isinstance(messages, list) else []


def parts_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a message whose content is a list; a plain string is one part of text."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list) else []


def bounded(text: str, *, most: int) -> tuple[str, bool]:
    """At most `most` characters of `text`: its first three quarters and its end. Whether something was left out."""
    if len(text) <= most:
        return text, False
    tail = most // 4
    return text[: most - tail - len(CUT)] + CUT + text[-tail:], True


def part(text: str) -> tuple[str, str]:
    """Part an instruction from what it is about: at a colon or line end near the beginning, or the short last paragraph.

    Returns (asked, material). Where nothing parts them both are the text, `asked` cut to its beginning and end.
    """
    text = text.strip()
    first = _BREAK.search(text, 0, MOST_ASKED)
    if first is not None and len(text) - first.end() >= LEAST_MATERIAL and first.start() > 0:
        head, rest = text[: first.start()], text[first.end() :].strip()
        if len(head) <= len(rest):
            return _with_last_paragraph(head, rest)
    head = text[: MOST_ASKED // 2]
    return (head if len(text) <= len(head) else f"{head}\n{text[-MOST_ASKED // 2 :]}"), text


def _with_last_paragraph(head: str, rest: str) -> tuple[str, str]:
    """A short paragraph after the material is a part of the instruction: 'Answer in one word'."""
    material, found, tail = rest.rpartition("\n\n")
    if found and len(tail) <= MOST_ASKED // 2 and len(material) >= 2 * len(tail):
        return f"{head}\n{tail.strip()}", material.strip()
    return head, rest


def _joined(said: Sequence[tuple[str, str]]) -> str:
    return "\n".join(text for _role, text in said if text)


def _text_of(message: Mapping[str, Any]) -> str:
    """Of a long piece twice what is kept of all, so that no copy of it is made: head and tail of all come out the same."""
    return "\n".join(bounded(piece, most=2 * MOST_TEXT)[0] for piece in _pieces(message))


def _pieces(message: Mapping[str, Any]) -> Iterator[str]:
    for each in parts_of(message):
        yield from (text for key in ("text", "refusal") if isinstance(text := each.get(key), str))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, Mapping) else None
        arguments = function.get("arguments") if isinstance(function, Mapping) else None
        if isinstance(arguments, str):
            yield arguments
