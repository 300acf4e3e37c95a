"""What is to be done, by rule: the first cue in the instruction. Domain only where there is no doubt. Nothing is guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from router_service.signals.cues import CHARACTERS, POLITE_WORDS, QUESTION_WORDS, WORDS
from router_service.signals.request import messages_of
from router_service.signals.signals import Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

STEM = 3  # cues are found by so many of their first letters
MOST_SYSTEM = 400  # characters of the system's text that are searched where the user's has no cue
FENCE = "```"
CODE_DOMAIN = "code"
LONGEST_QUESTION = 600  # characters
MOST_BEFORE = 60  # characters in which the first word of a question stands
LONGEST_SUM = 200
WRITTEN = frozenset({Task.SUMMARIZE, Task.TRANSLATE})  # what is asked for by a word for writing, too

_WORD = re.compile(r"\w+(?:[-;']\w+)*")
_FORMULA = re.compile(r"\\(?:frac|sqrt|int|sum|begin\{equation|mathbb|cdot)\b|\$\$")
_SUM = re.compile(r"[0-9] ?[+*×÷] ?[0-9]")
_POLITE_WORDS = frozenset(POLITE_WORDS.split())
_ASKS = ("?", "？", "؟")
_QUESTION_WORDS = frozenset(QUESTION_WORDS.split())
_QUESTION_STEMS = tuple(word.rstrip("*") for word in _QUESTION_WORDS if word.endswith("*"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """One cue, by its first word; `others` have to stand somewhere besides. Each is a word, and whether it may go on."""

    task: Task
    word: str
    is_stem: bool
    others: tuple[tuple[str, bool], ...] = ()


class Tasks:
    """`task`, and `domain` for code."""

    name = "task"
    version = "1"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        cues: dict[str, Task | None] = {}  # the lines of a batch often have the same instruction
        return [_read(request, cues) for request in requests]


def _read(request: Request, cues: dict[str, Task | None]) -> Mapping[str, JSON]:
    task = task_of(request, cues)
    if task is Task.CODE or has_code(request):
        return {"task": task, "domain": CODE_DOMAIN, "domain_confidence": 1.0}
    return {"task": task}


def has_code(request: Request) -> bool:
    return FENCE in request.text


def task_of(request: Request, cues: dict[str, Task | None]) -> Task | None:
    """The user's own words first, then the system's, then what the form of the request tells.

    `cues` remembers the cues of instructions, for the next request of a batch.
    """
    is_code = has_code(request)
    task = None
    for asked in (request.asked, request.system[:MOST_SYSTEM]):
        if asked not in cues:
            cues[asked] = first_cue(asked)
        task = task or cues[asked]
    if task is not None:
        return Task.CODE if task is Task.WRITE and is_code else task
    if is_code:
        return Task.CODE
    if _FORMULA.search(request.last_user[:LONGEST_QUESTION]) or _SUM.search(request.last_user[:LONGEST_SUM]):
        return Task.MATH
    if _is_question(request.asked):
        return Task.QUESTION
    if any(message.get("role") == "assistant" for message in messages_of(request.body)):
        return Task.CHAT
    return None


def first_cue(text: str) -> Task | None:
    """The task of the cue that stands first in `text`, which is an instruction and short. 'Write a summary' is no writing."""
    found = _found(text.casefold())
    first = next(found, None)
    if first is Task.WRITE:
        return next((task for task in found if task in WRITTEN), first)
    return first


def _found(folded: str) -> Iterator[Task]:
    """The tasks of the cues in their order: those without an alphabet first, which stand in texts of their own."""
    if not folded.isascii():
        places = [(folded.index(each), task) for task, cues in CHARACTERS.items() for each in cues if each in folded]
        yield from (task for _place, task in sorted(places))
    words = _WORD.findall(folded)
    by_stem = _cues()
    for word in words:
        for cue in by_stem.get(word[:STEM], ()):
            if _fits(word, cue.word, is_stem=cue.is_stem) and _has_others(cue, words):
                yield cue.task


def _has_others(cue: Cue, words: Sequence[str]) -> bool:
    return all(any(_fits(word, other, is_stem=is_stem) for word in words) for other, is_stem in cue.others)


def _fits(word: str, cue: str, *, is_stem: bool) -> bool:
    return word.startswith(cue) if is_stem else word == cue


def _is_question(asked: str) -> bool:
    if len(asked) > LONGEST_QUESTION + 1:
        return False
    if asked.rstrip().endswith(_ASKS):
        return True
    first = next((word for word in _WORD.findall(asked[:MOST_BEFORE].casefold()) if word not in _POLITE_WORDS), "")
    return first in _QUESTION_WORDS or first.startswith(_QUESTION_STEMS)


@cache
def _cues() -> dict[str, tuple[Cue, ...]]:
    cues: dict[str, tuple[Cue, ...]] = {}
    for cue in _read_cues():
        cues[cue.word[:STEM]] = (*cues.get(cue.word[:STEM], ()), cue)
    return cues


def _read_cues() -> Iterator[Cue]:
    for task, lines in WORDS.items():
        for entry in lines.casefold().split():
            if entry == "|":
                continue
            (word, is_stem), *others = [(part.rstrip("*"), part.endswith("*")) for part in entry.split("+")]
            yield Cue(task=task, word=word, is_stem=is_stem, others=tuple(others))
