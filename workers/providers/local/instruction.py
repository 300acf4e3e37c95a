"""What a chat request asks of a summarizer: which text, and how long the summary may be.

A `local/` model reads no instructions, yet clients send the prompts they send to every model: "Summarize
the following document in at most 60 words: ...". The request for a summary is told from the document by its
imperative in seven languages, and its length is read from it. Nothing is ever lost: if all looks like an
instruction, all is the document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

DEFAULT_WORDS: Final = 120
WORDS_PER_TOKEN: Final = 0.75  # OpenAI's rule of thumb for English
WORDS_PER_SENTENCE: Final = 22
WORDS_PER_PARAGRAPH: Final = 90
_MAX_WORDS: Final = 10_000
_MAX_INSTRUCTION_CHARS: Final = 400

_VERB: Final = (
    r"(?:summari[sz]e|sum up|condense|shorten|tl;?dr|fass(?:e|en sie|t)?|kürze|resum(?:e|a|ir|ez|elo|en)"
    r"|résum(?:e|ez|er)|sintetiz(?:a|e|ar)|synthétise[rz]?|riassum(?:i|a|ere|ete)|sintetizza|vat|samenvatten|"
    r"condens(?:e|ez|a)|haz|faça|fais|faites|fai|maak|erstelle?n?|schreibe?n?|write|give|provide|create|produce|make|"
    r"generate|donne[rz]?|écri(?:s|vez)|rédige[rz]?|escribe|escriba|escreva|scrivi|schrijf|geef|gib|fornisci|dame|dê)"
)
_NOUN: Final = (
    r"(?:summar(?:y|ies)|abstract|tl;?dr|zusammenfassung|kurzfassung|zusammen|résumé|synthèse|resum[eo]n?|síntesis|síntese|"
    r"riassunto|sintesi|samenvatting|samen)"
)
_PLAIN_VERB: Final = (
    r"(?:summari[sz]e|sum up|condense|tl;?dr|résum(?:e|ez|er)|resum(?:a|ir|ez|elo|ám)|resume"
    r"|sintetiz(?:a|e|ar)|synthétise[rz]?|riassum(?:i|a|ere|ete)|sintetizza)"
)
_POLITE: Final = (
    r"(?:please|kindly|bitte|por favor|per favore|s'il (?:te|vous) pla[iî]t|veuillez|alsjeblieft|alstublieft"
    r"|task|instruction|aufgabe|(?:can|could|would|will) you|you (?:should|must|will)|your task is to"
    r"|i want you to|kannst du|können sie|peux-tu|pouvez-vous|puedes|puede|pode|puoi|può|kun je)"
)
_START: Final = rf"\W*(?:{_POLITE}[\s,:]+){{0,3}}"
_IMPERATIVE: Final = re.compile(
    rf"{_START}(?:{_PLAIN_VERB}\b(?!\s*(?:is|are|was|est|es|é|è)\b)|{_VERB}\b[^\n]{{0,300}}?\b{_NOUN}\b)",
    re.IGNORECASE,
)
_REQUESTED: Final = re.compile(
    rf"{_START}(?:an?|the|eine?|une?|un|una|uma|een)?\s*(?:[\w-]+\s+){{0,3}}{_NOUN}\b[^\n:]{{3,200}}[:.]?\s*$",
    re.IGNORECASE,
)
_DELIMITER: Final = re.compile(
    r"\s*(?:[\"'`~*=#-]{3,}|</?\w+>|(?:the )?(?:document|text|article|input|content|dokument|artikel"
    r"|texte|documento|testo|texto|tekst)\s*:)\s*$",
    re.IGNORECASE,
)
_SENTENCE_END: Final = re.compile(r"[.!?:]\s+")

_SMALL_NUMBERS: Final = {
    word: value
    for value, words in enumerate(
        (
            "one single a an ein eine einem einer einen un une una uno um uma een één",
            "two zwei deux dos due dois duas twee",
            "three drei trois tres tre três drie",
            "four vier quatre cuatro quattro quatro",
            "five fünf cinq cinco cinque vijf",
            "six sechs seis sei zes",
            "seven sieben sept siete sette sete zeven",
            "eight acht huit ocho otto oito",
            "nine neun neuf nueve nove negen",
            "ten zehn dix diez dieci dez tien",
        ),
        start=1,
    )
    for word in words.split()
}
_NUMBER: Final = rf"(?<![\w.])(\d{{1,5}}|{'|'.join(sorted(_SMALL_NUMBERS, key=len, reverse=True))})"
_WORDS: Final = r"words?|wörtern?|worten?|wort|mots?|palabras?|palavras?|parol[ae]|woord(?:en)?"
_SENTENCES: Final = (
    r"sentences?|sätzen?|satz(?:es)?|phrases?|frases?|oración|oraciones|fras[ei]|orações|zin(?:nen)?"
    r"|bullets?|bullet points?|stichpunkten?"
)
_PARAGRAPHS: Final = r"paragraphs?|absätzen?|absatz|paragraphes?|párrafos?|paragraf[oi]|parágrafos?|alinea'?s?"
_UNITS: Final = ((1, _WORDS), (WORDS_PER_SENTENCE, _SENTENCES), (WORDS_PER_PARAGRAPH, _PARAGRAPHS))
_LENGTHS: Final = tuple(
    (
        words,
        re.compile(
            rf"{_NUMBER}(?:[\s-]+(?:short|brief|concise|kurzen?|single|simple|full))?[\s-]+(?:{unit})\b",
            re.IGNORECASE,
        ),
    )
    for words, unit in _UNITS
)


def document_and_length(messages: Sequence[Mapping[str, Any]], *, max_tokens: int | None = None) -> tuple[str, int]:
    """The user's text without the request for a summary, and the most words wanted (1..10,000).

    `max_tokens` is max_completion_tokens or max_tokens of the request: the length where no instruction names
    one, and a limit where one does.
    """
    instructions: list[str] = [_content(m) for m in messages if m.get("role") in {"system", "developer"}]
    said = [text for m in messages if m.get("role") == "user" and (text := _content(m)).strip()]
    documents: list[str] = []
    for text in said:
        instruction, document = split_instruction(text)
        instructions.append(instruction)
        documents.append(document)
    document = "\n\n".join(part for part in documents if part.strip()) or "\n\n".join(said)
    return document, _limit(wanted_words("\n".join(instructions)), max_tokens=max_tokens)


def _limit(wanted: int | None, *, max_tokens: int | None) -> int:
    affordable = _MAX_WORDS if max_tokens is None else int(max_tokens * WORDS_PER_TOKEN)
    fallback = DEFAULT_WORDS if max_tokens is None else affordable
    return max(1, min(fallback if wanted is None else wanted, affordable, _MAX_WORDS))


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    texts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
    return "\n\n".join(text for text in texts if isinstance(text, str))


def split_instruction(text: str) -> tuple[str, str]:
    """(instruction, document); the instruction is empty where the text begins with none."""
    body = text.lstrip()
    cut = _instruction_end(body)
    instruction, document = body[:cut], body[cut:]
    if cut:
        document = _without_delimiters(document)
    return (instruction.strip(), document) if cut else ("", text)


def _instruction_end(body: str) -> int:
    """Where the document begins in a text without leading space; 0 for a text that is all document."""
    line = body.split("\n", 1)[0]
    has_more = bool(body[len(line) :].strip())
    if _IMPERATIVE.match(line):
        first = _SENTENCE_END.search(line, 0, _MAX_INSTRUCTION_CHARS)
        rest = line[first.end() :] if first else ""
        if first and rest.strip() and not _is_request_too(rest, after=first.group()[0], has_more=has_more):
            return first.end()
        return len(line) if len(line) <= _MAX_INSTRUCTION_CHARS else 0
    asks = len(line) <= _MAX_INSTRUCTION_CHARS and (_REQUESTED.match(line) or _asks_later(line))
    return len(line) if asks and has_more else 0


def _is_request_too(rest: str, *, after: str, has_more: bool) -> bool:
    """Whether what follows the first sentence of the request goes on with it: "Use at most 60 words."."""
    if after == ":" and not has_more:
        return False
    return len(rest.split()) <= 30 and (has_more or wanted_words(rest) is not None)


def _asks_later(line: str) -> bool:
    """Whether a request follows what sets a role: "You are an assistant. Summarize this:"."""
    return any(_IMPERATIVE.match(part) for part in _SENTENCE_END.split(line)[1:])


def _without_delimiters(document: str) -> str:
    """Drop quotes, tags and labels that stand alone around the document."""
    lines = document.strip("\n").split("\n")
    while lines and (not lines[0].strip() or _DELIMITER.match(lines[0])):
        lines.pop(0)
    while lines and (not lines[-1].strip() or _DELIMITER.match(lines[-1])):
        lines.pop()
    return "\n".join(lines)


def wanted_words(instruction: str) -> int | None:
    """The last length named, in words; sentences and paragraphs count as their usual number of words."""
    for words, pattern in _LENGTHS:
        found = pattern.findall(instruction)
        if found:
            number = found[-1]
            return words * (int(number) if number.isdecimal() else _SMALL_NUMBERS[number.casefold()])
    return None
