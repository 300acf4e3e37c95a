"""What the official OpenAI client asks of a server: Files, Batches, errors, paging."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, Final

import openai as openai_package
import pytest

from router_service.api.state import make_id
from router_service.store import batches

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from router_service.store.session import Database

CHAT: Final = "/v1/chat/completions"


def jsonl(*custom_ids: str, model: str = "alpha", **body: Any) -> bytes:
    lines = [
        {
            "custom_id": custom_id,
            "method": "POST",
            "url": CHAT,
            "body": {"model": model, "messages": [{"role": "user", "content": "Hello"}], **body},
        }
        for custom_id in custom_ids
    ]
    return "\n".join(map(json.dumps, lines)).encode()


async def uploaded(client: AsyncOpenAI, content: bytes, name: str = "input.jsonl") -> str:
    return (await client.files.create(file=(name, content), purpose="batch")).id


async def started(client: AsyncOpenAI, content: bytes, **given: Any) -> Any:
    return await client.batches.create(
        input_file_id=await uploaded(client, content), endpoint=CHAT, completion_window="24h", **given
    )


async def test_a_file_comes_back_as_it_was_sent(openai: AsyncOpenAI) -> None:
    content = jsonl("a", "b")
    file = await openai.files.create(file=("my requests.jsonl", content), purpose="batch")
    assert (file.object, file.purpose, file.bytes, file.status) == ("file", "batch", len(content), "processed")
    assert file.filename == "my requests.jsonl"
    assert (await openai.files.retrieve(file.id)).id == file.id
    assert (await openai.files.content(file.id)).content == content


async def test_a_bare_bytes_io_is_taken(openai: AsyncOpenAI) -> None:
    file = await openai.files.create(file=io.BytesIO(jsonl("a")), purpose="batch")
    assert file.filename == "upload"


async def test_a_deleted_file_is_gone(openai: AsyncOpenAI) -> None:
    file_id = await uploaded(openai, jsonl("a"))
    deleted = await openai.files.delete(file_id)
    assert (deleted.id, deleted.deleted, deleted.object) == (file_id, True, "file")
    with pytest.raises(openai_package.NotFoundError):
        await openai.files.retrieve(file_id)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_paging_over_files_meets_each_file_once(openai: AsyncOpenAI, order: Any) -> None:
    sent = [await uploaded(openai, jsonl("a"), name=f"{number}.jsonl") for number in range(5)]
    met = [file.id async for file in openai.files.list(limit=2, order=order)]
    assert met == (sent if order == "asc" else sent[::-1])


async def test_a_batch_has_the_fields_that_the_client_reads(openai: AsyncOpenAI) -> None:
    batch = await started(openai, jsonl("a", "b", "c"), metadata={"project": "harbour"})
    assert (batch.object, batch.endpoint, batch.status) == ("batch", CHAT, "in_progress")
    assert batch.expires_at - batch.created_at == 24 * 3600
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (3, 0, 0)
    assert batch.metadata == {"project": "harbour"}
    assert (batch.output_file_id, batch.error_file_id, batch.errors) == (None, None, None)
    assert (await openai.batches.retrieve(batch.id)).id == batch.id


async def test_paging_over_batches_is_newest_first_and_ends(openai: AsyncOpenAI) -> None:
    made = [(await started(openai, jsonl("a"))).id for _ in range(5)]
    assert [batch.id async for batch in openai.batches.list(limit=2)] == made[::-1]


async def test_a_broken_line_fails_the_batch_with_its_number_before_anything_is_stored(openai: AsyncOpenAI) -> None:
    batch = await started(openai, jsonl("a") + b"\nnot json\n" + jsonl("a"))
    assert batch.status == "failed"
    assert batch.failed_at is not None
    assert [(error.line, error.code) for error in batch.errors.data] == [
        (2, "invalid_json"),
        (3, "duplicate_custom_id"),
    ]
    assert batch.request_counts.total == 0
    assert batch.output_file_id is None


async def test_an_unknown_model_fails_the_batch(openai: AsyncOpenAI) -> None:
    batch = await started(openai, jsonl("a", model="nobody"))
    assert batch.status == "failed"
    assert batch.errors.data[0].code == "model_not_found"


async def test_a_cancelled_batch_ends_with_every_line_in_the_error_file(
    openai: AsyncOpenAI, database: Database
) -> None:
    batch = await started(openai, jsonl("a", "b"))
    cancelling = await openai.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    assert (await openai.batches.cancel(batch.id)).status == "cancelling"
    async with database.transaction() as session:
        await batches.end_one(session, new_id=make_id)
    ended = await openai.batches.retrieve(batch.id)
    assert ended.status == "cancelled"
    assert ended.cancelled_at is not None
    assert ended.output_file_id is None
    assert ended.error_file_id is not None
    lines = [json.loads(line) for line in (await openai.files.content(ended.error_file_id)).text.splitlines()]
    assert [(line["custom_id"], line["response"], line["error"]["code"]) for line in lines] == [
        ("a", None, "batch_cancelled"),
        ("b", None, "batch_cancelled"),
    ]
    assert (await openai.batches.cancel(batch.id)).status == "cancelled"


async def test_cancelling_a_failed_batch_is_a_bad_request(openai: AsyncOpenAI) -> None:
    batch = await started(openai, b"{}")
    with pytest.raises(openai_package.BadRequestError):
        await openai.batches.cancel(batch.id)


async def test_a_wrong_window_is_a_bad_request_that_names_it(openai: AsyncOpenAI) -> None:
    with pytest.raises(openai_package.BadRequestError) as raised:
        await openai.batches.create(
            input_file_id=await uploaded(openai, jsonl("a")),
            endpoint=CHAT,
            completion_window="soon",  # type: ignore[arg-type]
        )
    assert raised.value.param == "completion_window"


async def test_a_strange_file_id_is_not_found(openai: AsyncOpenAI) -> None:
    with pytest.raises(openai_package.NotFoundError) as raised:
        await openai.batches.create(input_file_id="file-nobody", endpoint=CHAT, completion_window="24h")
    assert raised.value.code == "not_found"


async def test_a_wrong_key_is_an_authentication_error(openai: AsyncOpenAI) -> None:
    with pytest.raises(openai_package.AuthenticationError):
        await openai.with_options(api_key="wb_000000000000_wrong").models.list()


async def test_models_are_listed_under_the_names_of_the_catalog(openai: AsyncOpenAI) -> None:
    assert [model.id async for model in await openai.models.list()] == ["alpha", "beta"]
    assert (await openai.models.retrieve("beta")).id == "beta"
    with pytest.raises(openai_package.NotFoundError):
        await openai.models.retrieve("nobody")


async def test_each_answer_has_a_request_id(openai: AsyncOpenAI) -> None:
    answer = await openai.models.with_raw_response.list()
    assert (answer.headers["x-request-id"] or "").startswith("req_")
