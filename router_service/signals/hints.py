"""What a caller says of a job in its metadata: the keys `waybill.*`. No other key of the metadata is ever looked at."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from router_service.catalog.words import language_code
from router_service.errors import InvalidRequestError
from router_service.signals.signals import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "waybill."
LANGUAGE = "waybill.language"
DOMAIN = "waybill.domain"
TASK = "waybill.task"
DIFFICULTY = "waybill.difficulty"

_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{1,8}){0,4}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_. -]{0,38}[a-z0-9_.-])?")


def check_hints(metadata: Mapping[str, object] | None, *, path: str = "metadata") -> dict[str, str]:
    """The hints among `metadata`, in their one form. Raises InvalidRequestError with the key at fault."""
    hints = {}
    for key, value in (metadata or {}).items():
        if not key.startswith(PREFIX):
            continue
        if key not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise InvalidRequestError(f"{path}: {key[:60]!r} is no hint; known are {known}", param=f"{path}.{key[:60]}")
        wanted, read = _READERS[key]
        hint = read(value) if isinstance(value, str) else None
        if hint is None:
            raise InvalidRequestError(f"{path}.{key} must be {wanted}", param=f"{path}.{key}")
        hints[key] = hint
    return hints


def known_hints(metadata: Mapping[str, object] | None) -> dict[str, str]:
    """The hints that are right, without wrong ones: of jobs that were accepted already. At the door `check_hints` refuses."""
    hints = {}
    for key, (_wanted, read) in _READERS.items():
        value = (metadata or {}).get(key)
        hint = read(value) if isinstance(value, str) else None
        if hint is not None:
            hints[key] = hint
    return hints


def _language(text: str) -> str | None:
    match = _TAG.fullmatch(text)
    return language_code(match[1]) if match else None


def _domain(text: str) -> str | None:
    name = text.strip().lower()
    return name if _NAME.fullmatch(name) else None


def _task(text: str) -> str | None:
    name = text.strip().lower()
    return name if name in set(Task) else None


def _difficulty(text: str) -> str | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return repr(round(value, 4)) if math.isfinite(value) and 0 <= value <= 1 else None


_READERS: dict[str, tuple[str, Callable[[str], str | None]]] = {
    LANGUAGE: ("a language tag such as 'de' or 'pt-BR'", _language),
    DOMAIN: ("a name of 1 to 40 of a-z, 0-9, '_', '.', '-' and spaces, such as 'law'", _domain),
    TASK: (f"one of {', '.join(Task)}", _task),
    DIFFICULTY: ("a number from 0 to 1, as text", _difficulty),
}
