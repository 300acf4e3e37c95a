"""Runs extractors over many requests at once and puts together what they say: `extract(requests) -> [Signals, ...]`."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol, cast

from router_service.signals import hints
from router_service.signals.credentials import Credentials
from router_service.signals.form import Form
from router_service.signals.injection import Injections
from router_service.signals.language import Language
from router_service.signals.lengths import Lengths
from router_service.signals.personal import PersonalData
from router_service.signals.signals import KINDS, Signals
from router_service.signals.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

UNREAD = "unread."  # before the name of an extractor: a flag of what it could not read
HINTED = 1.0  # the confidence of what the caller says
_CONFIDENCES = {"language_confidence": "language", "domain_confidence": "domain"}


class Extractor(Protocol):
    """Reads signals from requests. Pure: the same requests and version give the same signals, in any order and batch.

    `version` changes whenever an answer may. `extract` gives one mapping per request, in their order: names of `Signals` (those
    of `KINDS`), or others of its own, which are kept in `Signals.extra`. A name that is left out, or None, is unknown.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def extract(self, requests: Sequence[Request], /) -> Sequence[Mapping[str, JSON]]: ...


DEFAULT: tuple[Extractor, ...] = (
    Form(),
    Language(),
    Tasks(),
    Lengths(),
    PersonalData(),
    Credentials(),
    Injections(),
)


def extract(requests: Sequence[Request], extractors: Sequence[Extractor] = DEFAULT) -> list[Signals]:
    """The signals of each request. Where two extractors know the same signal, the earlier one counts; flags are united.

    The caller's hints come first, with confidence 1. An extractor that fails on the batch is asked about each request alone, and
    what it cannot read is unknown, with the type of its error in `Signals.failed` and the flag `unread.<extractor>`; `failures`
    counts them.
    """
    seen = [_Seen(request) for request in requests]
    for extractor in extractors:
        for each, answer in zip(seen, _answers(extractor, requests), strict=True):
            if isinstance(answer, Exception):
                each.failed[extractor.name] = type(answer).__name__
            elif answer:
                each.add(answer)
    versions = {extractor.name: extractor.version for extractor in extractors}
    return [each.signals(versions) for each in seen]


def failures(signals: Iterable[Signals]) -> Counter[tuple[str, str]]:
    """How often which extractor failed, by (its name, the type of the error)."""
    return Counter(failed for each in signals for failed in each.failed.items())


def _answers(extractor: Extractor, requests: Sequence[Request]) -> list[Mapping[str, Any] | Exception]:
    """One answer or error for each request. Foreign code: whatever it raises concerns its own signals only."""
    try:
        return [_checked(extractor, answer) for answer in _asked(extractor, requests)]
    except Exception as error:  # noqa: BLE001  # its type is kept in `failed`, its text may quote the request
        if len(requests) == 1:
            return [error]
    return [answer for request in requests for answer in _answers(extractor, [request])]


def _asked(extractor: Extractor, requests: Sequence[Request]) -> Sequence[Mapping[str, JSON]]:
    answers = extractor.extract(requests)
    if len(answers) != len(requests):
        raise ValueError(f"extractor {extractor.name}: {len(answers)} answers to {len(requests)} requests")
    return answers


def _checked(extractor: Extractor, answer: Mapping[str, JSON]) -> dict[str, Any]:
    """The known ones of an answer, in their one form. Raises TypeError or ValueError on a value of another kind."""
    checked: dict[str, Any] = {}
    for name, value in answer.items():
        if value is None:
            continue
        if (kind := KINDS.get(name)) is not None:
            checked[name] = kind(value)
            if checked[name] is None:
                raise TypeError(f"extractor {extractor.name}: {name} has a value of another kind or range")
        else:
            own = name if name.startswith(f"{extractor.name}.") else f"{extractor.name}.{name}"
            checked[own] = _stored(value)
    return checked


def _stored(value: JSON) -> JSON:
    """As it will be read back. Raises ValueError on what the database does not hold: NaN, NUL, half of a surrogate pair."""
    line = json.dumps(value, allow_nan=False, ensure_ascii=False)
    line.encode()
    if "\\u0000" in line:
        raise ValueError("a signal holds the NUL character")
    return cast("JSON", json.loads(line))


class _Seen:
    """What is known of one request so far."""

    def __init__(self, request: Request) -> None:
        self._values, self._hinted = _hinted(request.hints)
        self._flags = set[str]()
        self._extra: dict[str, JSON] = {}
        self.failed: dict[str, str] = {}

    def add(self, answer: Mapping[str, Any]) -> None:
        """A signal that is known already stays. A confidence belongs to the value beside it, and comes or stays away with it."""
        new = {name: value for name, value in answer.items() if name not in self._values}
        for name, value in new.items():
            if name not in KINDS:
                self._extra.setdefault(name, value)
            elif name == "flags":
                self._flags.update(value)
            elif _CONFIDENCES.get(name, name) in new:
                self._values[name] = value

    def signals(self, versions: Mapping[str, str]) -> Signals:
        return Signals(
            **self._values,
            flags=tuple(sorted(self._flags | {f"{UNREAD}{name}" for name in self.failed})),
            hinted=self._hinted,
            extra=self._extra,
            versions=versions,
            failed=self.failed,
        )


def _hinted(given: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    values: dict[str, Any] = {}
    if not given:
        return values, ()
    if hints.LANGUAGE in given:
        values |= {"language": given[hints.LANGUAGE], "language_confidence": HINTED}
    if hints.DOMAIN in given:
        values |= {"domain": given[hints.DOMAIN], "domain_confidence": HINTED}
    if hints.TASK in given:
        values["task"] = given[hints.TASK]
    if hints.DIFFICULTY in given:
        values["difficulty"] = float(given[hints.DIFFICULTY])
    return values, tuple(sorted(key.removeprefix(hints.PREFIX) for key in given))
