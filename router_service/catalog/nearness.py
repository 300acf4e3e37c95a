"""What is near to a word that nobody knows: the end of many a message."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def nearest(word: str, known: Collection[str]) -> str:
    """The end of a message about a word that nobody knows."""
    close = close_to(word, known)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def nearest_of_many(word: str, known: Collection[str], *, most: int = 5) -> str:
    """The same where there may be hundreds: how many are known, and the first of them, where none is near."""
    close = close_to(word, known)
    if close:
        return f"; did you mean {close[0]!r}?"
    first = ", ".join(sorted(known)[:most])
    return f"; {len(known)} are known: {first}{', ...' if len(known) > most else ''}"


def close_to(word: str, known: Collection[str], *, most: int = 1, cutoff: float = 0.5) -> list[str]:
    """The known words that are nearest: those that begin as it does, or that it begins with, then those that look alike.

    `cutoff`: how much alike, from 0 to 1 (difflib's ratio).
    """
    words = sorted(str(each) for each in known)  # of enumerations the values
    begins = [each for each in words if len(word) > 2 and each and (each.startswith(word) or word.startswith(each))]
    alike = difflib.get_close_matches(word, words, n=most, cutoff=cutoff)
    return list(dict.fromkeys([*begins, *alike]))[:most]
