# ruff: noqa: RUF001 - the apostrophe of books and screens is one of the things looked for
"""Words: how many a reader counts, and which of them say what a sentence is about."""

from __future__ import annotations

import re
from typing import Final

from workers.providers.local.stop_words import STOP_WORDS

_CJK: Final = "\u3040-\u9fff\U00020000-\U0002fa1f"  # kana and ideographs
_UNIT: Final = re.compile(rf"[{_CJK}][^\w\s]*|[^\s{_CJK}]+")
_TERM: Final = re.compile(rf"(?P<cjk>[{_CJK}]+)|[^\W_{_CJK}]+(?:['’][^\W_{_CJK}]+)?")
_STEM_LENGTH: Final = 7


def word_count(text: str) -> int:
    """What spaces separate, and each ideograph or kana. Never below `len(text.split())`."""
    return sum(1 for _ in _UNIT.finditer(text))


def first_words(text: str, *, max_words: int) -> str:
    """The longest prefix of at most max_words words (see word_count), cut behind a word."""
    end = 0
    for count, unit in enumerate(_UNIT.finditer(text)):
        if count == max_words:
            return text[:end]
        end = unit.end()
    return text


def content_terms(text: str) -> tuple[str, ...]:
    """Case-folded stems in order, without stop words, numbers and single letters.

    Ideographs come as overlapping pairs, since nothing separates words there. A stem is a prefix of fixed
    length, which serves seven languages without a stemmer each (McNamee & Mayfield 2004, n-grams as stems).
    """
    terms: list[str] = []
    for match in _TERM.finditer(text):
        word = match.group().casefold()
        if match.lastgroup:
            terms.extend(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        elif len(word) > 1 and word not in STOP_WORDS and not word.isdigit():
            terms.append(_stem(word))
    return tuple(terms)


def _stem(word: str) -> str:
    return word[:_STEM_LENGTH] if len(word) > _STEM_LENGTH else word.rstrip("s") or word
