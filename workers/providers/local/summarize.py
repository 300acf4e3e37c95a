"""An extractive summary: the sentences that matter, in document order, in their own words."""

from __future__ import annotations

import re
from typing import Final

from workers.providers.local.ranking import Tier, pick, score
from workers.providers.local.text import sentences
from workers.providers.local.words import first_words, word_count

_NOVELTY: Final = {Tier.LEAD: 0.0, Tier.FREQUENCY: 0.7, Tier.LEXRANK: 0.7}
_LETTER: Final = re.compile(r"[^\W_]")
_DANGLING: Final = ",;:-\u2013\u2014 "
ELLIPSIS: Final = "\u2026"


def summarize(text: str, *, tier: Tier, max_words: int) -> str:
    """At most max_words words (see words.word_count); empty only for a blank text. Needs max_words >= 1."""
    if max_words < 1:
        raise ValueError(f"max_words is {max_words}; at least 1 is needed")
    found = sentences(text)
    chosen = pick(found, score(found, tier=tier), max_words=max_words, novelty=_NOVELTY[tier])
    whole = " ".join(found[i].text for i in chosen) if chosen else _from_first_letter(text)
    return shorten(whole, max_words=max_words)


def _from_first_letter(text: str) -> str:
    """The plain text, for a document in which nothing is a sentence."""
    flat = " ".join(text.split())
    letter = _LETTER.search(flat)
    return flat[letter.start() :] if letter else flat


def shorten(text: str, *, max_words: int) -> str:
    """The text itself if it fits, else its first words and an ellipsis."""
    if word_count(text) <= max_words:
        return text
    return first_words(text, max_words=max_words).rstrip(_DANGLING) + ELLIPSIS
