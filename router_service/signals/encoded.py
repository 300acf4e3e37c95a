"""Leaves images, sounds and files in base64 out of a request before it is parsed: nobody looks at them, and they are large."""

from __future__ import annotations

import re

LEAST = 1000  # characters of base64 at a stretch: no text has them
_CHARACTERS = r"(?:[A-Za-z0-9+/]|\\/)"
# A string that is a data URL, or the value of one of two keys; to the end of the base64, behind which anything may stand.
_BEGINNING = r"(\"data:[^\",\s]{0,200};base64,|\"(?:data|file_data)\"\s{0,8}:\s{0,8}\")"
_ENCODED = re.compile(rf"{_BEGINNING}(?={_CHARACTERS}{{{LEAST}}})(?:[A-Za-z0-9+/]++(?:\\/)?+|\\/)++={{0,2}}")


def without_encoded(body: str) -> str:
    """`body` without what stands in base64: the same JSON but for the content of those strings."""
    if len(body) <= LEAST:
        return body
    return _ENCODED.sub(r"\1", body)
