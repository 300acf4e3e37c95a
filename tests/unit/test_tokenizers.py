"""Prompts counted with a model's tokenizer. Expected counts were made with tiktoken over the same tables."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from router_service.chat.request import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, read_chat
from router_service.store.calls import Claim
from router_service.tickets import Ticket
from tests.support.catalogs import catalog_of, entry
from tests.support.tokenizers import needs_tokenizer
from workers.job import Job
from workers.tokenizers import PIECE, Tokenizers, load, pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from router_service.chat.tokens import Count

ESTIMATE = 1000
COUNTED = catalog_of(entry("alpha", router={"tokenizer": "o200k_base"}), entry("plain")).by_id


@pytest.fixture(scope="module")
def o200k() -> Count:
    return load("o200k_base")


def body(content: object = "one two three") -> str:
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": content}]})


def claimed(text: str, *, model_id: str = "alpha") -> Job:
    job = Job(model_id=model_id, ticket=Ticket(job_id=uuid4(), epoch=1), since=0.0)
    job.claim = Claim(
        id=job.ticket.job_id, tenant_id="acme", batch_id=None, batch_slots=None, epoch=1, attempt=1, tries=0,
        model_id=model_id, tokens_in=ESTIMATE, tokens_out=None, body=text, left_s=None,
    )  # fmt: skip
    return job


def told(job: Job) -> tuple[int, bool]:
    assert job.claim is not None
    return job.claim.tokens_in, job.claim.is_counted


def words(_encoding: str) -> Count:
    """A counter for tests that need no real one."""
    return lambda text: len(text.split())


def breaking(error: BaseException) -> Callable[[str], Count]:
    """A counter that raises what its library might, with the prompt in the error's text."""

    def fail(_text: str) -> int:
        raise error

    return lambda _encoding: fail


class PanicException(BaseException):
    """As pyo3 has it."""


@needs_tokenizer
@pytest.mark.parametrize(
    ("text", "o200k", "cl100k"),
    [
        ("", 0, 0),
        ("A harbour at dawn, and 12 ships.", 10, 10),
        ("春眠不觉晓,处处闻啼鸟。", 13, 20),
        ("Ships 🚢🌊 and 👩\u200d👩\u200d👧\u200d👦!", 18, 27),
        ("def add(a: int, b: int) -> int:\n    return a + b  # sum\n", 22, 22),
        ("<|endoftext|> is text here", 10, 10),
        ("\ud800", 1, 1),
    ],
)
def test_a_text_is_counted_exactly(text: str, o200k: int, cl100k: int) -> None:
    assert (load("o200k_base")(text), load("cl100k_base")(text)) == (o200k, cl100k)


@needs_tokenizer
@pytest.mark.parametrize(
    "special",
    [
        "<|endoftext|>",
        "<|endofprompt|>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|im_start|>",
        "<|im_end|>",
    ],
)
def test_what_looks_like_a_special_token_is_plain_text(special: str, o200k: Count) -> None:
    assert o200k(special) > 2
    assert o200k(f"{special}{special}") > 5


@needs_tokenizer
def test_a_text_of_any_length_is_counted(o200k: Count) -> None:
    sentence = "A harbour at dawn, and 12 ships."
    assert o200k(sentence + f" {sentence}" * 40_000) == 10 * 40_001
    assert o200k("!?" * 600_000) > 200_000
    assert o200k("".join(chr(0x10000 + number) for number in range(2 * PIECE))) > 2 * PIECE


@given(text=st.text(alphabet=" ab\n漢", max_size=60), most=st.integers(2, 10))
def test_pieces_are_the_text_and_none_is_too_long(text: str, most: int) -> None:
    found = list(pieces(text, most=most))
    assert "".join(found) == text
    assert all(len(piece) <= most for piece in found)


def test_pieces_begin_where_words_do() -> None:
    assert list(pieces("one two three four", most=10)) == ["one two", " three", " four"]


def test_only_what_was_written_is_counted_exactly() -> None:
    asked = json.loads(body([{"type": "text", "text": "one two"}, {"type": "image_url", "image_url": {"url": "x"}}]))
    tools = {"tools": [{"type": "function", "function": {"name": "sail"}}]}
    counted = [read_chat(shape, count=lambda _text: 7).tokens_in for shape in (asked, asked | tools)]
    assert counted[0] == 7 + TOKENS_PER_IMAGE + TOKENS_PER_MESSAGE
    estimated = [read_chat(shape).tokens_in for shape in (asked, asked | tools)]
    assert counted[1] - counted[0] == estimated[1] - estimated[0]


@needs_tokenizer
async def test_a_claimed_prompt_is_counted_with_the_tokenizer_of_its_model() -> None:
    jobs = [claimed(body("<|endoftext|> is text here")), claimed(body("A harbour at dawn, and 12 ships."))]
    await Tokenizers().count(jobs, models=COUNTED)
    assert [told(job) for job in jobs] == [(10 + TOKENS_PER_MESSAGE, True)] * 2


async def test_nothing_is_loaded_for_models_that_name_no_tokenizer_or_are_gone() -> None:
    loaded: list[str] = []

    def listening(encoding: str) -> Count:
        loaded.append(encoding)
        return words(encoding)

    jobs = [claimed(body(), model_id="plain"), claimed(body(), model_id="gone")]
    await Tokenizers(load=listening).count(jobs, models=COUNTED)
    assert [told(job) for job in jobs] == [(ESTIMATE, False)] * 2
    assert loaded == []


async def test_desks_that_count_at_once_load_a_tokenizer_once_and_off_the_loop() -> None:
    loaded: list[str] = []
    may_go_on = threading.Event()

    def slow(encoding: str) -> Count:
        loaded.append(encoding)
        assert may_go_on.wait(10)
        return words(encoding)

    tokenizers, jobs = Tokenizers(load=slow), [claimed(body()), claimed(body())]
    counting = [asyncio.create_task(tokenizers.count([job], models=COUNTED)) for job in jobs]
    while not loaded:
        await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.gather(*counting)
    assert loaded == ["o200k_base"]
    assert [told(job) for job in jobs] == [(3 + TOKENS_PER_MESSAGE, True)] * 2


async def test_without_the_package_estimates_stand_and_one_warning_says_what_to_install() -> None:
    def missing(_encoding: str) -> Count:
        raise ModuleNotFoundError("No module named 'bpe_openai'")

    tokenizers, jobs = Tokenizers(load=missing), [claimed(body()), claimed(body())]
    with capture_logs() as lines:
        for job in jobs:
            await tokenizers.count([job], models=COUNTED)
    assert [told(job) for job in jobs] == [(ESTIMATE, False)] * 2
    (line,) = lines
    assert line["log_level"] == "warning"
    assert ".[tokenizer]" in line["event"]


@pytest.mark.parametrize("error", [ValueError("of a secret prompt"), PanicException("of a secret prompt")])
async def test_a_tokenizer_that_breaks_loses_no_job_and_tells_no_prompt(error: BaseException) -> None:
    job = claimed(body())
    with capture_logs() as lines:
        await Tokenizers(load=breaking(error)).count([job], models=COUNTED)
    assert told(job) == (ESTIMATE, False)
    assert [line["error_type"] for line in lines] == [type(error).__name__]
    assert "secret" not in str(lines)


async def test_a_body_that_is_no_chat_keeps_its_estimate() -> None:
    jobs = [claimed("{"), claimed("[]"), claimed(body())]
    await Tokenizers(load=words).count(jobs, models=COUNTED)
    assert [told(job) for job in jobs] == [(ESTIMATE, False), (ESTIMATE, False), (3 + TOKENS_PER_MESSAGE, True)]
