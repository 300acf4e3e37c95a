"""Estimates tokens from characters, without a tokenizer. Where a model names one, its worker counts (`workers/tokenizers.py`).

Measured on English, byte-pair encodings give about four characters a token; on Chinese, Japanese and Korean about one and a
half tokens a character. The estimate leans high: a reservation that is too large is paid back when the answer is settled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Count: TypeAlias = Callable[[str], int]  # the tokens of a text
CHARACTERS_PER_TOKEN = 3.5
TOKENS_PER_WIDE_CHARACTER = 1.5


def estimate_tokens(text: str) -> int:
    """Tokens of `text`, at least 1. A character of three bytes in UTF-8 counts as a wide one, one of two bytes as half of it."""
    if text.isascii():
        return int(len(text) / CHARACTERS_PER_TOKEN) + 1
    wide = (len(text.encode("utf-8", "surrogatepass")) - len(text)) / 2
    narrow = max(len(text) - wide, 0)
    return int(narrow / CHARACTERS_PER_TOKEN + wide * TOKENS_PER_WIDE_CHARACTER) + 1
