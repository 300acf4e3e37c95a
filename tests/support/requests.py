"""What a client sends: lines of a batch file, and the calls that most tests of the API begin with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Summarize: the harbour opened."}]


def request_line(number: int, *, model: str = "alpha", **changes: Any) -> dict[str, Any]:
    """One line of a batch file. `body` replaces the whole body."""
    whole = {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": {"model": model, "messages": MESSAGES}}
    return whole | changes


def jsonl(*lines: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


async def upload(api: httpx.AsyncClient, content: bytes) -> str:
    response = await api.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


async def make_batch(api: httpx.AsyncClient, content: bytes, **changes: Any) -> dict[str, Any]:
    wanted = {"input_file_id": await upload(api, content), "endpoint": CHAT} | changes
    response = await api.post("/v1/batches", json=wanted)
    assert response.status_code == 200, response.text
    batch: dict[str, Any] = response.json()
    return batch


async def accept_job(api: httpx.AsyncClient, **changes: Any) -> str:
    """The id of a job for `alpha`."""
    response = await api.post("/v1/jobs", json={"model": "alpha", "input": {"messages": MESSAGES}} | changes)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])
