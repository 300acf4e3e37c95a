"""The signals of one job: what was seen in its request, by which extractors. Stored in the Decision, for its replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

JSON: TypeAlias = "str | int | float | bool | Sequence[JSON] | Mapping[str, JSON] | None"
DECIMALS = 4


class Task(StrEnum):
    """What is to be done with the material, as the request's own words say it."""

    SUMMARIZE = "summarize"
    TRANSLATE = "translate"
    EXTRACT = "extract"  # facts out of the material
    CLASSIFY = "classify"  # one label of some
    REWRITE = "rewrite"  # the same in other words, corrected, shorter
    CODE = "code"  # write, explain or mend a program
    MATH = "math"
    WRITE = "write"  # a new text: a letter, a story
    QUESTION = "question"
    CHAT = "chat"  # a turn of a conversation that is none of these


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """None is unknown. Confidences and difficulty are 0 to 1, with 4 decimals; `tokens_out` counts all choices of the answer.

    language: of the material, an ISO 639 tag without region; instruction_language: of what is said about it.
    hinted: the names of signals that the caller gave. extra: signals of plugins, by `<extractor>.<name>`.
    versions: extractor to version, of all that ran; failed: extractor to the type of error, of those that could not read it.
    """

    language: str | None = None
    language_confidence: float | None = None
    instruction_language: str | None = None
    modalities: tuple[str, ...] = ()
    task: str | None = None
    domain: str | None = None
    domain_confidence: float | None = None
    difficulty: float | None = None
    tokens_out: int | None = None
    flags: tuple[str, ...] = ()
    hinted: tuple[str, ...] = ()
    extra: Mapping[str, JSON] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """What is known, for storage. `from_json` gives the same Signals back, also through json.dumps and json.loads."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value is not None and value not in ((), {})
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Signals:
        """Raises ValueError on a name that is no signal: it was stored by a newer version."""
        unknown = sorted(stored.keys() - KINDS.keys() - _OWN)
        if unknown:
            raise ValueError(
                f"signals: {unknown[0][:40]!r} is not one of {', '.join(field.name for field in fields(cls))}"
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()
        }
        return cls(**values)


def _share(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return round(float(value), DECIMALS) if is_number and 0 <= value <= 1 else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable() else None


def _words(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return None
    if not value:
        return ()
    return tuple(sorted({str(each) for each in value})) if all(_word(each) for each in value) else None


_OWN = frozenset({"hinted", "extra", "versions", "failed"})  # not for extractors to give

# What an extractor may give, and how it is brought into its one form; None where it has not the right one.
KINDS: dict[str, Callable[[Any], Any]] = {
    "language": _word,
    "language_confidence": _share,
    "instruction_language": _word,
    "modalities": _words,
    "task": _word,
    "domain": _word,
    "domain_confidence": _share,
    "difficulty": _share,
    "tokens_out": _count,
    "flags": _words,
}
