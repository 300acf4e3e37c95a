"""What is read from a text: its form as a few numbers, and its words as two mean vectors.

The text is read in lower case and with its white space and typographic variants made plain, so that what does not change
the question changes little here: choices should survive a paraphrase and a typo.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_service.prediction.embedding import MOST_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from router_service.prediction.embedding import Bag, Embedding

OPTION = re.compile(r"(?:^|\n)\s*\(?[A-Pa-p][.):]\s")
BLANKS = re.compile(r"[^\S\n]+")
COURTESY = re.compile(
    r"\b(?:please|kindly|hello|hi|hey"
    r"|thanks?(?: you)?(?: (?:in advance|very much|so much))?"
    r"|(?:could|can|would) you(?: help me)?)\b[!,.]?"
)
PLAIN = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-", "\u2212": "-"}
)
NUMBER = re.compile(r"\d+")
NEGATION = re.compile(r"\b(?:not|except|never|false|incorrect|least)\b")
OPERATORS = re.compile(r"[=+*/^<>]")
CODE = re.compile(r"\bdef |\breturn\b|\bfor \w+ in\b|\bclass \w+|=>|;\n|\{\n|```")
LATEX = re.compile(r"\\[a-z]+|\$")
STEM_WEIGHT = 0.5  # of the question without its options beside the whole text
FORM = (
    "characters",
    "words",
    "digits",
    "latex",
    "numbers",
    "brackets",
    "word_length",
    "variety",
    "code",
    "options",
    "operators",
    "gaps",
    "negation",
    "statements",
    "option_length",
)


class Reading(NamedTuple):
    """`words` [texts, 2 * embedding.size] and `form` [texts, len(FORM)], before they are centred and scaled; `bags` of words."""

    words: NDArray[np.float32]
    form: NDArray[np.float32]
    bags: list[Bag]


def read(texts: Sequence[str], embedding: Embedding) -> Reading:
    plain = [normalise(text) for text in texts]
    stems = [stem(text) for text in plain]
    bags = [embedding.bag(BLANKS.sub(" ", text)) for text in plain]
    whole = embedding.means(bags)
    differ = [row for row, (text, short) in enumerate(zip(plain, stems, strict=True)) if short is not text]
    parts = whole.copy()
    parts[differ] = embedding.means([embedding.bag(stems[row]) for row in differ])
    form = np.array([_form(text, short) for text, short in zip(plain, stems, strict=True)], np.float32)
    return Reading(np.hstack([whole, parts]), form.reshape(len(plain), len(FORM)), bags)


def normalise(text: str) -> str:
    """Lower case, compatible characters made one (NFKC), no courtesies, single blanks; a long text keeps both ends."""
    if len(text) > MOST_CHARACTERS:
        text = f"{text[: MOST_CHARACTERS * 3 // 4]}\n{text[-MOST_CHARACTERS // 4 :]}"
    plain = COURTESY.sub(" ", unicodedata.normalize("NFKC", text).translate(PLAIN).lower())
    return BLANKS.sub(" ", plain).strip()


def stem(text: str) -> str:
    """What stands before the first of at least two options, or the text itself."""
    found = [match.start() for match in OPTION.finditer(text)]
    return text[: found[0]] if len(found) >= 2 and found[0] > 0 else text


def _form(text: str, bare: str) -> tuple[float, ...]:
    size = len(text) + 1
    words = text.split()
    count = len(words) + 1
    options = max(len(OPTION.findall(text)), 1) if bare is not text else 0
    return (
        np.log1p(len(text)),
        np.log1p(len(bare)),
        sum(map(len, NUMBER.findall(text))) / size,
        np.log1p(len(LATEX.findall(text))),
        len(NUMBER.findall(text)) / count,
        np.log1p(text.count("(") + text.count("[")),
        len(text) / count,
        len(set(words)) / count,
        float(bool(CODE.search(text))),
        options,
        np.log1p(len(OPERATORS.findall(text))),
        float("__" in text),
        float(bool(NEGATION.search(bare))),
        float("statement" in text),
        np.log1p((len(text) - len(bare)) / options) if options else 0.0,
    )
