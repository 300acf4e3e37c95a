from __future__ import annotations

from typing import Any

import pytest

from router_service.signals.extract import extract
from router_service.signals.lengths import Lengths
from router_service.signals.request import Request
from router_service.signals.signals import Task
from router_service.signals.tasks import Tasks
from tests.support.sentences import SENTENCES

DOCUMENT = "The harbour was quiet this morning, and the fishermen had already brought in their nets. " * 10

ASKED = {
    Task.SUMMARIZE: (
        "Please summarize the following article",
        "Give me a short summary of this",
        "TL;DR",
        "Fasse den folgenden Text zusammen",
        "Erstelle eine Zusammenfassung",
        "Résume le texte suivant",
        "Fais un résumé de cet article",
        "Resume el siguiente texto",
        "Haz un resumen de este artículo",
        "Riassumi il testo seguente",
        "Faça um resumo do texto",
        "Vat de volgende tekst samen",
        "Geef een samenvatting",
        "Podsumuj poniższy tekst",
        "Streść ten artykuł",
        "Суммируй следующий текст",
        "Кратко изложи содержание",
        "请总结下面的文章",
        "次の文章を要約してください",
    ),
    Task.TRANSLATE: (
        "Translate to French",
        "Übersetze ins Englische",
        "Traduis en anglais",
        "Traduce al inglés",
        "Traduci in inglese",
        "Traduza para o inglês",
        "Vertaal naar het Engels",
        "Przetłumacz na angielski",
        "Переведи на английский",
        "把下面的话翻译成英文",
        "次の文を英語に翻訳してください",
    ),
    Task.EXTRACT: (
        "Extract all names and dates",
        "Extrahiere alle Namen",
        "Extrais les noms",
        "Extrae los nombres",
        "Estrai i nomi",
        "Extraia os nomes",
        "Extraheer alle namen",
        "Wypisz wszystkie nazwiska",
        "Извлеки все имена",
        "提取所有人名",
        "名前をすべて抽出してください",
    ),
    Task.CLASSIFY: (
        "Classify the sentiment of this review",
        "Klassifiziere die folgende Mail",
        "Classifie cette critique",
        "Clasifica esta reseña",
        "Classifica questa recensione",
        "Classifique esta avaliação",
        "Classificeer deze recensie",
        "Sklasyfikuj tę opinię",
        "Классифицируй отзыв",
        "将下列评论分类",
        "次のレビューを分類してください",
    ),
    Task.REWRITE: (
        "Rewrite this more politely",
        "Make this sound more formal",
        "Formuliere den Text um",
        "Schreibe den Satz höflicher um",
        "Reformule ce message",
        "润色这段文字",
    ),
    Task.MATH: ("Solve the equation", "What is 17 * 23?", "Berechne die Summe", "Calcule la somme", "计算总和"),
    Task.WRITE: ("Write an email to my landlord", "Schreibe einen Brief", "Napisz list"),
    Task.CODE: ("Write a Python function that sorts a list", "Explain this code to me"),
    Task.QUESTION: (
        "Where is my parcel?",
        "Wo ist mein Paket?",
        "為什麼？",
        "how do I cook rice",
        "Please explain photosynthesis",
    ),
}


def said(text: str, **fields: Any) -> Request:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
    features = ("json_schema",) if "response_format" in fields else ()
    return Request.of(body, tokens_in=len(text) // 4, features=features)


def task(text: str) -> str | None:
    return extract([said(text)], [Tasks()])[0].task


def tokens_out(text: str, **fields: Any) -> int | None:
    return extract([said(text, **fields)], [Lengths()])[0].tokens_out


@pytest.mark.parametrize(("wanted", "text"), [(wanted, text) for wanted, texts in ASKED.items() for text in texts])
def test_the_task_is_what_the_instruction_says(wanted: Task, text: str) -> None:
    assert task(text) == wanted


def test_the_first_cue_counts() -> None:
    assert task("Summarize the text and then translate it into German") == Task.SUMMARIZE
    assert task("Translate the summary into German") == Task.TRANSLATE
    assert task("翻译并总结") == Task.TRANSLATE


@pytest.mark.parametrize(
    "text", ["Schreibe eine Zusammenfassung", "Napisz krótkie podsumowanie", "写一个摘要", "Write a summary"]
)
def test_to_write_a_summary_is_to_summarize(text: str) -> None:
    assert task(text) == Task.SUMMARIZE


def test_words_of_the_material_are_no_cues() -> None:
    material = "They translate, classify and summarize whatever comes to their office in the harbour. " * 8
    assert task(f"Extract the verbs:\n\n{material}") == Task.EXTRACT


@pytest.mark.parametrize("text", ["Thanks a lot.", DOCUMENT, "", *(texts[3] for texts in SENTENCES.values())])
def test_a_text_that_asks_for_nothing_has_no_task(text: str) -> None:
    assert task(text) is None


def test_the_system_text_tells_the_task_where_the_user_only_sends_material() -> None:
    messages = [{"role": "system", "content": "You are a translator."}, {"role": "user", "content": SENTENCES["en"][4]}]
    (signals,) = extract([Request.of({"messages": messages}, tokens_in=9)], [Tasks()])
    assert signals.task == Task.TRANSLATE


def test_a_turn_of_a_conversation_is_chat_where_it_asks_for_nothing() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Nice."},
    ]
    (signals,) = extract([Request.of({"messages": messages}, tokens_in=9)], [Tasks()])
    assert signals.task == Task.CHAT


def test_only_code_has_a_domain_without_doubt() -> None:
    fenced, asked, prose = extract(
        [said("Look at this:\n```python\nx = 1\n```"), said("Write a SQL query"), said("What does the law say?")],
        [Tasks()],
    )
    assert (fenced.domain, fenced.domain_confidence, fenced.task) == ("code", 1.0, Task.CODE)
    assert asked.domain == "code"
    assert (prose.domain, prose.domain_confidence) == (None, None)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("Summarize in 3 sentences", 60, 110),
        ("Summarize in at most 60 words", 70, 100),
        ("Summarize in 100 to 150 words", 180, 240),
        ("Give me a summary (max. 50 words)", 60, 80),
        ("Fasse das in drei kurzen Sätzen zusammen", 60, 110),
        ("Fasse das in höchstens 50 Wörtern zusammen", 60, 80),
        ("Résume en deux phrases", 40, 80),
        ("Resume el texto en no más de 50 palabras", 60, 80),
        ("Riassumi in una frase", 20, 40),
        ("Resuma em cinco frases", 100, 160),
        ("Vat samen in vijf zinnen", 100, 160),
        ("Podsumuj w trzech zdaniach", 60, 110),
        ("Изложи кратко в двух предложениях", 40, 80),
        ("用三句话总结", 60, 110),
        ("100字以内で要約してください", 100, 140),
        ("List them in 5 bullet points", 100, 150),
        ("Describe it in one word", 1, 8),
        ("Is it a boat? Answer yes or no.", 1, 8),
        ("Ist es ein Boot? Ja oder nein?", 1, 8),
    ],
)
def test_a_length_that_is_asked_for_is_taken_at_its_word(text: str, least: int, most: int) -> None:
    expected = tokens_out(f"{text}\n\n{DOCUMENT}")
    assert expected is not None
    assert least <= expected <= most


@pytest.mark.parametrize(
    "text", ["He read a book of 300 pages.", "Why are the 3 points above wrong?", "I bought 12 words."]
)
def test_a_number_of_pages_that_is_told_is_no_length_of_the_answer(text: str) -> None:
    assert tokens_out(text) in {None, 120}


def test_without_a_stated_length_it_follows_from_the_task_and_the_material() -> None:
    material = len(DOCUMENT) / 3.5
    assert 60 <= (tokens_out(f"Summarize this:\n\n{DOCUMENT}") or 0) <= material / 2
    assert material <= (tokens_out(f"Translate to French:\n\n{DOCUMENT}") or 0) <= 1.3 * material
    assert (tokens_out(f"Classify this:\n\n{DOCUMENT}") or 0) <= 16
    assert tokens_out(DOCUMENT) is None


def test_it_is_never_above_what_the_caller_allows_and_counts_all_choices() -> None:
    asked = f"Translate to French:\n\n{DOCUMENT}"
    assert tokens_out(asked, max_tokens=20) == 20
    assert tokens_out(asked, max_completion_tokens=30, max_tokens=20) == 30
    assert tokens_out(asked, max_tokens=20, n=3) == 60
    assert tokens_out(f"Answer in one word.\n\n{DOCUMENT}", max_tokens=500) == 4


def test_a_schema_tells_the_length_of_an_answer() -> None:
    def schema(**properties: Any) -> dict[str, Any]:
        return {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": properties}}}

    small = tokens_out("Describe it.", response_format=schema(name={"type": "string"}))
    large = tokens_out("Describe it.", response_format=schema(**{f"f{n}": {"type": "string"} for n in range(10)}))
    listed = tokens_out(
        "Describe it.", response_format=schema(all={"type": "array", "items": {"properties": {"a": {}, "b": {}}}})
    )
    assert (small, large, listed) == (24, 120, 72)
    summary = tokens_out(f"Summarize in 3 sentences:\n\n{DOCUMENT}", response_format=schema(summary={"type": "string"}))
    assert summary == 24 + 84
    labelled = tokens_out(f"Classify this:\n\n{DOCUMENT}", response_format=schema(label={"type": "string"}))
    assert labelled == 24


def test_a_schema_that_holds_itself_is_cut_off() -> None:
    loop: dict[str, Any] = {}
    loop["properties"] = {"left": loop, "right": loop}
    expected = tokens_out("x", response_format={"type": "json_schema", "json_schema": {"schema": loop}})
    assert expected == 12 * 2**8
