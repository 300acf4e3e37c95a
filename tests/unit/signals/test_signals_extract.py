from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.errors import InvalidRequestError
from router_service.jobs.spec import Modality
from router_service.signals.extract import DEFAULT, Extractor, extract, failures
from router_service.signals.hints import check_hints, known_hints
from router_service.signals.request import Request
from router_service.signals.signals import KINDS, Signals, Task
from tests.support.sentences import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_service.signals.signals import JSON

HINTS = {
    "waybill.language": "pt-BR",
    "waybill.domain": "Law",
    "waybill.task": "summarize",
    "waybill.difficulty": "0.25",
}


def said(text: str, *, metadata: Mapping[str, object] | None = None) -> Request:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}]}
    return Request.of(body, tokens_in=len(text) // 4, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An extractor that says what it is told to."""

    answer: Callable[[Request], Mapping[str, JSON]]
    name: str = "told"
    version: str = "7"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        return [self.answer(request) for request in requests]


def told(**answer: JSON) -> Told:
    return Told(answer=lambda _request: answer)


def one(*extractors: Extractor, **hints: str) -> Signals:
    metadata = {f"waybill.{key}": value for key, value in hints.items()}
    return extract([said("Where is my parcel?", metadata=metadata)], extractors)[0]


shares = st.none() | st.floats(0, 1).map(lambda value: round(value, 4))
words = st.none() | st.text(min_size=1, max_size=20)
some_words = st.lists(st.text(min_size=1, max_size=9), max_size=4).map(lambda each: tuple(sorted(set(each))))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
names = st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3)


@given(
    st.builds(
        Signals,
        language=words,
        language_confidence=shares,
        instruction_language=words,
        modalities=some_words,
        task=words,
        domain=words,
        domain_confidence=shares,
        difficulty=shares,
        tokens_out=st.none() | st.integers(0),
        flags=some_words,
        hinted=some_words,
        extra=st.dictionaries(st.text(max_size=9), values, max_size=3),
        versions=names,
        failed=names,
    )
)
def test_stored_signals_are_read_back_as_they_were(signals: Signals) -> None:
    assert Signals.from_json(signals.as_json()) == signals
    assert Signals.from_json(json.loads(json.dumps(signals.as_json()))) == signals


@given(st.sampled_from([text for texts in SENTENCES.values() for text in texts]), st.text(max_size=200))
def test_extracted_signals_survive_storage_and_are_the_same_alone_and_in_any_batch(text: str, other: str) -> None:
    alone = extract([said(text)])
    assert extract([said(other), said(text), said(text)])[1:] == alone * 2
    assert Signals.from_json(json.loads(json.dumps(alone[0].as_json()))) == alone[0]


def test_a_signal_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ValueError, match="'mood' is not one of language,"):
        Signals.from_json({"mood": "calm"})


def test_every_signal_is_one_that_extractors_may_give_or_that_extract_fills_in() -> None:
    assert {field.name for field in fields(Signals)} - KINDS.keys() == {"hinted", "extra", "versions", "failed"}


def test_a_request_shows_what_it_is_made_of() -> None:
    parts = [
        {"type": "text", "text": SENTENCES["de"][3]},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    request = Request.of({"messages": [{"role": "user", "content": parts}]}, tokens_in=9, features=("vision", "audio"))
    (signals,) = extract([request])
    assert signals.modalities == (Modality.AUDIO, Modality.IMAGE, Modality.TEXT)
    assert signals.language == "de"
    assert signals.versions == {extractor.name: extractor.version for extractor in DEFAULT}
    assert not signals.failed


def test_hints_win_and_are_told() -> None:
    signals = one(
        told(language="en", language_confidence=0.6, domain="tax", task="code", difficulty=0.9),
        **{key.removeprefix("waybill."): value for key, value in HINTS.items()},
    )
    assert (signals.language, signals.language_confidence) == ("pt", 1.0)
    assert (signals.domain, signals.domain_confidence) == ("law", 1.0)
    assert (signals.task, signals.difficulty) == (Task.SUMMARIZE, 0.25)
    assert signals.hinted == ("difficulty", "domain", "language", "task")


def test_the_hinted_task_tells_the_length_of_the_answer() -> None:
    (signals,) = extract([said(SENTENCES["en"][3], metadata={"waybill.task": "classify"})])
    assert (signals.task, signals.tokens_out) == ("classify", 8)


def test_the_earlier_extractor_counts_and_a_confidence_stays_with_its_value() -> None:
    first = told(domain="law")
    second = Told(name="second", answer=lambda _request: {"domain": "tax", "domain_confidence": 0.7, "difficulty": 0.2})
    signals = one(first, second)
    assert (signals.domain, signals.domain_confidence, signals.difficulty) == ("law", None, 0.2)
    swapped = one(second, first)
    assert (swapped.domain, swapped.domain_confidence) == ("tax", 0.7)
    alone = one(told(domain_confidence=0.9), second)
    assert (alone.domain, alone.domain_confidence) == ("tax", 0.7)


def test_flags_of_all_extractors_are_united() -> None:
    signals = one(told(flags=["b", "a"]), Told(name="second", answer=lambda _request: {"flags": ["c", "b"]}))
    assert signals.flags == ("a", "b", "c")


def test_other_names_are_kept_as_the_extractors_own() -> None:
    signals = one(told(mood=("calm", 1), **{"told.tone": {"formal": True}}, unknown=None))
    assert signals.extra == {"told.mood": ["calm", 1], "told.tone": {"formal": True}}


def test_a_request_that_cannot_be_read_is_unknown_and_the_others_are_not() -> None:
    def answer(request: Request) -> Mapping[str, JSON]:
        if "bad" in request.text:
            raise LookupError(request.text)
        return {"difficulty": 0.5}

    signals = extract([said("good"), said("bad secret"), said("good"), said("bad")], [Told(answer=answer)])
    assert [each.difficulty for each in signals] == [0.5, None, 0.5, None]
    assert [each.failed for each in signals] == [{}, {"told": "LookupError"}, {}, {"told": "LookupError"}]
    assert [each.flags for each in signals] == [(), ("unread.told",), (), ("unread.told",)]
    assert failures(signals) == {("told", "LookupError"): 2}
    assert "secret" not in repr(signals)
    assert all(each.versions == {"told": "7"} for each in signals)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"difficulty": 1.5}, "TypeError"),
        ({"difficulty": float("nan")}, "TypeError"),
        ({"difficulty": True}, "TypeError"),
        ({"tokens_out": -1}, "TypeError"),
        ({"tokens_out": 2.5}, "TypeError"),
        ({"language": ""}, "TypeError"),
        ({"flags": "pii.email"}, "TypeError"),
        ({"flags": [1]}, "TypeError"),
        ({"domain": "a\x00"}, "TypeError"),
        ({"own": "a\x00"}, "ValueError"),
        ({"own": ["\ud800"]}, "UnicodeEncodeError"),
        ({"own": float("inf")}, "ValueError"),
        ({"own": {1, 2}}, "TypeError"),
        (["difficulty"], "AttributeError"),
    ],
)
def test_a_value_of_another_kind_is_a_failure_of_its_extractor(answer: Any, error: str) -> None:
    signals = one(Told(answer=lambda _request: answer), Told(name="other", answer=lambda _request: {"task": "math"}))
    assert signals.failed == {"told": error}
    assert signals.task == "math"


def test_an_extractor_with_too_few_answers_fails() -> None:
    class Short(Told):
        def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
            return [{}] * (len(requests) - 1)

    assert one(Short(answer=lambda _request: {})).failed == {"told": "ValueError"}


def test_no_requests_have_no_signals() -> None:
    assert extract([]) == []


def test_hints_are_brought_into_one_form() -> None:
    wanted = {
        "waybill.language": "pt",
        "waybill.domain": "law",
        "waybill.task": "summarize",
        "waybill.difficulty": "0.25",
    }
    assert check_hints(HINTS | {"other": "x", "waybills": "y"}) == known_hints(HINTS) == wanted
    assert check_hints(None) == known_hints(None) == {}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("waybill.language", "german", "must be a language tag such as 'de'"),
        ("waybill.domain", "a|b", "must be a name of 1 to 40"),
        ("waybill.task", "sing", "must be one of summarize, translate"),
        ("waybill.difficulty", "1.5", "must be a number from 0 to 1"),
        ("waybill.difficulty", "nan", "must be a number from 0 to 1"),
        ("waybill.difficulty", 0.5, "must be a number from 0 to 1, as text"),
        ("waybill.mood", "calm", "is no hint; known are waybill.difficulty"),
    ],
)
def test_a_wrong_hint_is_refused_at_the_door_and_left_out_behind_it(key: str, value: object, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said) as refused:
        check_hints({key: value}, path="body.metadata")
    assert refused.value.param == f"body.metadata.{key}"
    assert known_hints({key: value, "waybill.task": "math"} if key != "waybill.task" else {key: value}) in (
        {},
        {"waybill.task": "math"},
    )
