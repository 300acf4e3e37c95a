from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from router_service.cli.client import ApiClient
from router_service.cli.documents import Document
from router_service.cli.summaries import DEFAULT_WINDOW_TOKENS, Order, Summary, part_chars, summarize, window_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Line = dict[str, Any]


class Service:
    """A provider of batches behind the HTTP seam: every line is answered at once by `answer`."""

    def __init__(self, answer: Callable[[Line], Line | None]) -> None:
        self.answer = answer
        self.batches: list[list[Line]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/v1/files":
            lines = re.findall(rb'^\{"custom_id".*$', request.read(), re.MULTILINE)
            self.batches.append([json.loads(line) for line in lines])
            return httpx.Response(200, json={"id": f"file-{len(self.batches) - 1}"})
        if path == "/v1/batches":
            number = json.loads(request.read())["input_file_id"].removeprefix("file-")
            return httpx.Response(200, json={"id": f"batch_{number}"})
        if path.startswith("/v1/batches/"):
            number = path.rpartition("_")[2]
            return httpx.Response(200, json={"id": f"batch_{number}", "output_file_id": f"file-{number}"})
        lines_out = [self.answer(line) for line in self.batches[int(path.split("-")[1].split("/")[0])]]
        content = "\n".join(json.dumps(line) for line in reversed(lines_out) if line is not None)
        return httpx.Response(200, content=content)


def answered(line: Line, text: str) -> Line:
    body = {"model": "m", "choices": [{"message": {"content": text}}]}
    return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def text_of(line: Line) -> str:
    return str(line["body"]["messages"][-1]["content"])


def run(service: Service, texts: Sequence[str], *, window: int = 400) -> list[Summary]:
    documents = [Document(id=f"id{i}", title=f"t{i}", text=text, source=f"s{i}") for i, text in enumerate(texts)]
    with ApiClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(service)) as client:
        return summarize(
            documents,
            client=client,
            order=Order(model_of=lambda _: "auto", max_words=20, window_tokens=window),
            follow=lambda _: None,
        )


def test_summaries_come_in_the_order_of_the_documents() -> None:
    service = Service(lambda line: answered(line, f"about {text_of(line)}"))
    summaries = run(service, ["one", "two", "three"])
    assert [summary.summary for summary in summaries] == ["about one", "about two", "about three"]
    assert [summary.id for summary in summaries] == ["id0", "id1", "id2"]
    assert len(service.batches) == 1


def test_a_long_document_takes_two_batches_and_a_short_one_beside_it_one() -> None:
    service = Service(lambda line: answered(line, text_of(line)[:20]))
    long = "A sentence of some words. " * 60
    summaries = run(service, ["short", long])
    assert [summary.parts > 1 for summary in summaries] == [False, True]
    assert len(service.batches) == 2
    assert len(service.batches[1]) == 1
    limit = part_chars(long, order=Order(model_of=lambda _: "auto", max_words=20, window_tokens=400))
    assert all(len(text_of(line)) <= limit for batch in service.batches for line in batch)


def test_one_lost_part_fails_its_document_and_no_other() -> None:
    service = Service(lambda line: None if line["custom_id"].endswith("p0001") else answered(line, text_of(line)[:20]))
    lost, kept = run(service, ["A sentence of some words. " * 60, "short"])
    assert lost.summary is None
    assert "without an answer" in (lost.error or "")
    assert kept.summary == "short"


def test_a_model_that_does_not_shorten_ends() -> None:
    service = Service(lambda line: answered(line, text_of(line) + " and more"))
    (summary,) = run(service, ["A sentence of some words. " * 60])
    assert "not shorter" in (summary.error or "")


def test_a_refused_line_carries_the_services_reason() -> None:
    error = {"code": "batch_expired", "message": "too late"}
    service = Service(lambda line: {"custom_id": line["custom_id"], "response": None, "error": error})
    assert run(service, ["one"])[0].error == "too late (batch_expired)"


@pytest.mark.parametrize("content", ["", "  \n", None])
def test_an_answer_without_text_is_no_summary(content: str | None) -> None:
    service = Service(lambda line: answered(line, content))  # type: ignore[arg-type]
    assert run(service, ["one"])[0].summary is None


def test_a_blank_document_is_not_sent() -> None:
    service = Service(lambda line: answered(line, "x"))
    assert run(service, [" \n "])[0].error == "the document has no text"
    assert service.batches == []


def test_the_window_is_the_smallest_that_the_request_may_reach() -> None:
    def listed(name: str, window: int | None) -> dict[str, Any]:
        return {"id": name, "waybill": {"deployments": [{"max_input_tokens": window}]}}

    models = [listed("small", 100), listed("large", 900), listed("unknown", None)]
    assert window_tokens(models, model="auto") == 100
    assert window_tokens(models, model="large") == 900
    assert window_tokens(models, model="unknown") == DEFAULT_WINDOW_TOKENS


def test_dense_scripts_get_fewer_characters_into_a_window() -> None:
    order = Order(model_of=lambda _: "auto", max_words=20, window_tokens=1000)
    assert part_chars("漢字", order=order) * 3 == pytest.approx(part_chars("ab", order=order), abs=3)
