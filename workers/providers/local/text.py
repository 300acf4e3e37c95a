# ruff: noqa: RUF001 - punctuation of several scripts is what this module is about
"""Sentences of a document, each with its place, its length and how much it looks like prose.

Splitting follows the usual rule-based scheme (terminator, closing marks, then what must not be a boundary:
abbreviations, initials, ordinals, decimals, a following lower-case letter). It works within one block, so a
heading, a list item or a table is never glued to its neighbours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from workers.providers.local.blocks import prose_blocks
from workers.providers.local.words import content_terms, word_count

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLOSERS: Final = "\"'”’»›)\\]}*_`"
_ENDS: Final = ".!?…؟।۔"
_WIDE_ENDS: Final = "。！？．｡"
_BOUNDARY: Final = re.compile(
    rf"(?<![{_ENDS}])[{_ENDS}]++[{_CLOSERS}]{{0,4}}(?=\s)|[{_WIDE_ENDS}]++[」』）》〉”’\"']{{0,4}}"
)
_ENDED: Final = re.compile(rf"[{_ENDS}{_WIDE_ENDS}][{_CLOSERS}」』）》〉]*$")
_LAST_TOKEN: Final = re.compile(r"[^\s(\[{\"'“‘«]+$")
_OPENERS: Final = " \"'“‘«‹([{*_`¿¡"
_DOTTED: Final = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]$")
_ADDRESS: Final = re.compile(r"(?:https?|ftp)://|www\.|\S@\S+\.\w")
_SYMBOL: Final = re.compile(r"[^\w\s.,;:!?'’\"“”()«»。、！？，；：「」-]")
_LETTER: Final = re.compile(r"[^\W\d_]")
_MAX_SENTENCE_CHARS: Final = 4_000

_ABBREVIATIONS: Final = """
dr mr mrs ms prof sr jr st vs etc cf al fig figs no nos vol vols pp ed eds approx dept est inc ltd co corp sec
ch eq ref refs resp incl esp viz op cit ca jan feb mar apr jun jul aug sep sept oct nov dec
bzw usw evtl ggf inkl exkl vgl abb nr bd hrsg str tel zzgl
env ex mme mlle av art chap
sra srta ud uds pág págs núm ej aprox
sig sigg dott ing avv pag ecc
exmo dra dras
bijv enz blz dhr mevr
"""
_MONTHS: Final = "januar februar märz april mai juni juli august september oktober november dezember jahrhundert"
ABBREVIATIONS: Final = frozenset(_ABBREVIATIONS.split())
MONTHS: Final = frozenset(_MONTHS.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """`text` has single spaces, `position` counts from 0, `prose` is 1 for prose, near 0 for leftovers."""

    text: str
    position: int
    words: int
    terms: tuple[str, ...]
    prose: float


def sentences(text: str) -> tuple[Sentence, ...]:
    """All sentences of all prose blocks, in order, each once."""
    found: dict[str, None] = {}
    for block in prose_blocks(text):
        for sentence in split_block(block):
            if _LETTER.search(sentence):
                found.setdefault(sentence)
    return tuple(
        Sentence(
            text=sentence,
            position=position,
            words=word_count(sentence),
            terms=content_terms(sentence),
            prose=prose_weight(sentence),
        )
        for position, sentence in enumerate(found)
    )


def split_block(block: str) -> Iterator[str]:
    """Cut one paragraph into its sentences; nothing but the space between them is lost."""
    start = 0
    for mark in _BOUNDARY.finditer(block):
        if mark.end() > start and _is_boundary(block, start=start, mark=mark):
            yield from _bounded(block[start : mark.end()].strip())
            start = mark.end()
    yield from _bounded(block[start:].strip())


def _bounded(sentence: str) -> Iterator[str]:
    """A run without any full stop (minified text, a log) is cut so that no later step meets a monster."""
    while len(sentence) > _MAX_SENTENCE_CHARS:
        cut = sentence.rfind(" ", 1, _MAX_SENTENCE_CHARS)
        cut = cut if cut > 0 else _MAX_SENTENCE_CHARS
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    if sentence:
        yield sentence


def _is_boundary(block: str, *, start: int, mark: re.Match[str]) -> bool:
    following = block[mark.end() : mark.end() + 40].lstrip(_OPENERS)
    if not following:
        return True
    if mark.group()[0] in _WIDE_ENDS:
        return True
    if following[0].islower():
        return False
    return mark.group() != "." or not _keeps_its_dot(block[max(start, mark.start() - 40) : mark.start()], following)


def _keeps_its_dot(before: str, following: str) -> bool:
    """Whether the full stop belongs to the word: an abbreviation, an initial, a German ordinal."""
    last = _LAST_TOKEN.search(before)
    if last is None:
        return False
    token = last.group()
    if token.isdigit():
        return len(token) <= 2 and following.split(maxsplit=1)[0].casefold().rstrip(".,") in MONTHS
    is_initial = len(token) == 1 and token.isupper()
    return is_initial or token.casefold() in ABBREVIATIONS or bool(_DOTTED.search(token))


def prose_weight(sentence: str) -> float:
    """How much a line reads as a sentence of its own, 0.02 to 1: a product of small penalties."""
    words = word_count(sentence)
    letters = sum(1 for _ in _LETTER.finditer(sentence))
    symbols = sum(1 for _ in _SYMBOL.finditer(sentence))
    weight = 1.0
    if words < 6:
        weight *= 0.25
    elif words > 60:
        weight *= 0.5
    if not _ENDED.search(sentence):
        weight *= 0.3
    elif sentence.rstrip().endswith("?"):
        weight *= 0.7
    if sentence[0].islower():
        weight *= 0.7
    if _ADDRESS.search(sentence):
        weight *= 0.4
    if letters < 0.6 * len(sentence):
        weight *= 0.4
    return max(0.02, weight * (1.0 - min(0.8, 4.0 * symbols / len(sentence))))
