"""A batch from upload to download with the official client, over real workers in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai as openai_package
import pytest
from openai.types.chat import ChatCompletion

from tests.support.catalogs import entry
from tests.support.requests import jsonl, request_line

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from tests.conftest import OpenWorkers

REFUSING: dict[str, Any] = {"simulated": {"failure_rate": 1.0, "failure": "400"}}
UNFIT: dict[str, Any] = {"simulated": {"failure_rate": 1.0, "failure": "401"}}


async def lines_of(client: AsyncOpenAI, file_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await client.files.content(file_id)).text.splitlines()]


async def test_every_line_comes_back_once_as_an_answer_or_as_an_error(
    openai: AsyncOpenAI, open_workers: OpenWorkers
) -> None:
    # The catalog that the API has read offers both names already.
    workers = await open_workers(entry("alpha"), entry("beta", router=REFUSING))
    content = jsonl(*(request_line(number, model="beta" if number % 3 == 0 else "alpha") for number in range(12)))
    file = await openai.files.create(file=("in.jsonl", content), purpose="batch")
    batch = await openai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    await workers.work("alpha", "beta")
    done = await openai.batches.retrieve(batch.id)
    assert done.status == "completed"
    assert done.completed_at is not None
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (12, 8, 4)
    assert done.usage is not None
    assert done.usage.output_tokens == 8 * 16
    assert done.output_file_id is not None
    assert done.error_file_id is not None
    output, errors = await lines_of(openai, done.output_file_id), await lines_of(openai, done.error_file_id)
    assert [line["custom_id"] for line in output] == [f"c{number}" for number in range(12) if number % 3]
    assert [line["custom_id"] for line in errors] == [f"c{number}" for number in range(12) if not number % 3]
    for line in output:
        assert line["error"] is None
        answer = ChatCompletion.model_validate(line["response"]["body"])
        assert answer.choices[0].message.content
    for line in errors:
        assert line["error"] is None
        assert line["response"]["status_code"] == 400
        assert line["response"]["body"]["error"]["type"] == "invalid_request_error"
    listed = [each.id async for each in openai.files.list(purpose="batch_output")]
    assert sorted(listed) == sorted([done.output_file_id, done.error_file_id])


async def test_a_line_that_no_model_could_do_has_its_error_and_no_response(
    openai: AsyncOpenAI, open_workers: OpenWorkers
) -> None:
    workers = await open_workers(entry("alpha", router=UNFIT), entry("beta"))
    file = await openai.files.create(file=("in.jsonl", jsonl(request_line(1))), purpose="batch")
    batch = await openai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    await workers.work("alpha", "beta")
    done = await openai.batches.retrieve(batch.id)
    assert (done.status, done.output_file_id) == ("completed", None)
    assert done.error_file_id is not None
    (line,) = await lines_of(openai, done.error_file_id)
    assert (line["response"], line["error"]["code"]) == (None, "http_401")
    with pytest.raises(openai_package.BadRequestError, match="completed already"):
        await openai.batches.cancel(batch.id)


async def test_a_batch_cancelled_halfway_keeps_its_finished_lines(
    openai: AsyncOpenAI, open_workers: OpenWorkers
) -> None:
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 3}), entry("beta"))
    content = jsonl(*(request_line(number) for number in range(20)))
    file = await openai.files.create(file=("in.jsonl", content), purpose="batch")
    batch = await openai.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    await workers.route()
    await workers.call()
    await openai.batches.cancel(batch.id)
    await workers.janitor.end_batches()
    ended = await openai.batches.retrieve(batch.id)
    assert ended.status == "cancelled"
    assert ended.output_file_id is not None
    assert ended.error_file_id is not None
    output, errors = await lines_of(openai, ended.output_file_id), await lines_of(openai, ended.error_file_id)
    assert len(output) == 6  # as many as had a slot, and as many again in the model's queue
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}
    assert {line["custom_id"] for line in (*output, *errors)} == {f"c{number}" for number in range(20)}
    assert len(output) + len(errors) == 20


async def test_a_client_that_may_retry_is_served_with_its_own_defaults(openai: AsyncOpenAI) -> None:
    patient = openai.with_options(max_retries=2, timeout=10)
    assert [file async for file in patient.files.list()] == []
    with pytest.raises(openai_package.NotFoundError) as raised:
        await patient.batches.retrieve("batch_" + "0" * 32)
    assert raised.value.request_id is not None
    assert raised.value.body is not None
