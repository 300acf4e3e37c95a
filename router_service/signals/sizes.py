"""The length that an instruction asks for: "in at most 60 words", "in drei Sätzen", "100字以内", "yes or no".

A number and a unit count only behind a word that makes them a size of the answer: a text may have 300 pages itself.
Tokens of a unit are those of a byte-pair encoding for English, a sentence of 20 words, a page of 430.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_TOKENS = 32_000  # no answer is expected to be longer
LEAST_TOKENS = 4
CHOICE_TOKENS = 6
STEM = 3  # units are found by so many of their first letters

_NUMBER_WORDS = (
    "one single ein einem einen einer eine un une uno una um uma een één jednym jednej jedno одном одной одно 一",
    "two zwei deux dos due dois duas twee dwóch dwa двух две два 二 两 兩",
    "three drei trois tres tre três drie trzech trzy трёх трех три 三",
    "four vier quatre cuatro quattro quatro czterech cztery четырёх четырех четыре 四",
    "five fünf cinq cinco cinque vijf pięciu pięć пяти пять 五",
    "six sechs seis sei zes sześciu sześć шести шесть 六",
    "seven sieben sept siete sette sete zeven siedmiu siedem семи семь 七",
    "eight acht huit ocho otto oito ośmiu osiem восьми восемь 八",
    "nine neun neuf nueve nove negen dziewięciu dziewięć девяти девять 九",
    "ten zehn dix diez dieci dez tien dziesięciu dziesięć десяти десять 十",
)
_NUMBERS = {word: number for number, words in enumerate(_NUMBER_WORDS, start=1) for word in words.split()}

# The tokens of one, and how the words for it begin; those with a full stop are whole.
_UNITS: tuple[tuple[float, str], ...] = (
    (1.4, "word wort wört mot. mots. palabra parol palavra woord słow słów слов"),
    (28, "sentence satz sätz phrase frase frasi zin. zinnen. zdani zdań предложени"),
    (25, "bullet stichpunkt aufzählung punkt point punto punti ponto punten пункт"),
    (18, "line. lines. zeile ligne línea riga righe linha regel linij строк"),
    (110, "paragraph absatz absätz párrafo paragraf parágrafo alinea akapit абзац"),
    (0.3, "character zeichen caractère carácter caracter caratter znak символ"),
    (600, "page seite página pagin stron страниц"),
    (1, "token"),
)
_WIDE_UNITS: tuple[tuple[float, str], ...] = (
    (1.2, "字 文字 글자"),
    (2, "单词 単語 단어"),
    (28, "句 文 문장"),
    (25, "要点 点"),
    (18, "行"),
    (110, "段 段落 문단"),
)
_BEFORE_WORDS = """
    in into within under below most than maximum max to about around exactly approximately least use using write give or
    als auf höchstens maximal mit etwa circa ca genau unter bis oder en dans environ exactement à y o máximo unas unos
    aproximadamente exactamente massimo esattamente em até exatamente hoogstens maximaal ongeveer precies tot
    w do maksymalnie około dokładnie lub в до около ровно примерно или
"""
_BEFORE = frozenset(_BEFORE_WORDS.split())
_BEFORE_PAIRS = frozenset(
    {"plus de", "moins de", "más de", "menos de", "mais de", "cerca de", "più di", "не более", "не больше", "meer dan"}
)
_FORM_WORDS = "single short brief full simple clear kurzen kurze courtes cortas brevi curtas korte krótkich коротких"
_FORMS = frozenset(_FORM_WORDS.split())
_CHOICES = (
    *(
        "yes or no",
        "yes/no",
        "true or false",
        "only the label",
        "only with the label",
        "only the letter",
        "only with the letter",
    ),
    *(
        "only the category",
        "only the number",
        "only the final answer",
        "ja oder nein",
        "nur mit dem buchstaben",
        "oui ou non",
    ),
    *(
        "sí o no",
        "sì o no",
        "sim ou não",
        "ja of nee",
        "tak lub nie",
        "да или нет",
        "是或否",
        "是还是否",
        "はいかいいえ",
    ),
)
_WORD = re.compile(r"\w+")


def stated_length(asked: str) -> int | None:
    """Tokens of the answer that `asked` wants, of the first size it names. None where it names none."""
    folded = asked.casefold()
    if any(choice in folded for choice in _CHOICES):
        return CHOICE_TOKENS
    tokens = _sized(_WORD.findall(folded))
    if tokens is None and not folded.isascii():
        match = _WIDE_LENGTH.search(folded)
        tokens = _number_of(match[1]) * _WIDE_TOKENS[match[2]] if match else None
    return None if tokens is None else max(LEAST_TOKENS, min(round(tokens), MOST_TOKENS))


def _sized(words: Sequence[str]) -> float | None:
    for place, word in enumerate(words[:-1]):
        if word not in _NUMBERS and not word.isdecimal():
            continue
        behind = words[place + 1]
        if behind in _FORMS and place + 2 < len(words):
            behind = words[place + 2]
        unit = _unit_of(behind)
        number = _number_of(word)
        if unit is not None and number and _is_a_size(words, place):
            return number * unit
    return None


def _is_a_size(words: Sequence[str], place: int) -> bool:
    """It comes first, or one of `_BEFORE` stands before it; or another number, of which it is the upper end."""
    if place == 0:
        return True
    before = words[place - 1]
    if before in _BEFORE or (place > 1 and f"{words[place - 2]} {before}" in _BEFORE_PAIRS):
        return True
    return before.isdecimal() and _is_a_size(words, place - 1)


def _number_of(word: str) -> int:
    """0 of what is no number, or too large to be a size."""
    return _NUMBERS.get(word) or (int(word) if word.isdecimal() and len(word) <= 5 else 0)


def _unit_of(word: str) -> float | None:
    for stem, tokens in _TOKENS.get(word[:STEM], ()):
        if word == stem[:-1] if stem.endswith(".") else word.startswith(stem):
            return tokens
    return None


def _by_stem(units: Iterable[tuple[float, str]]) -> Mapping[str, tuple[tuple[str, float], ...]]:
    found: dict[str, tuple[tuple[str, float], ...]] = {}
    for tokens, words in units:
        for word in words.split():
            found[word[:STEM]] = (*found.get(word[:STEM], ()), (word, tokens))
    return found


_TOKENS = _by_stem(_UNITS)
_WIDE_TOKENS = {word: tokens for tokens, words in _WIDE_UNITS for word in words.split()}
_WIDE_LENGTH = re.compile(
    rf"([一二两兩三四五六七八九十]|\d{{1,5}}) ?(?:个|個|つの|개의 ?)?({'|'.join(sorted(_WIDE_TOKENS, key=len, reverse=True))})"
    r"(?=以内|以下|で|に|话|話|总|概|来|说|之内|左右|程度|로|으로|요|이내|，|。|$)"
)
