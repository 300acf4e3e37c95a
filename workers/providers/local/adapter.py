"""`local/<tier>` models: extractive summarization in processes beside the worker, with no key and no network."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING

from router_service.chat.request import read_chat
from router_service.chat.tokens import estimate_tokens
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused
from workers.providers.base import chat_completion
from workers.providers.local.instruction import document_and_length
from workers.providers.local.processes import SummaryProcessError, SummaryProcesses
from workers.providers.local.ranking import Tier

if TYPE_CHECKING:
    from router_service.catalog.models import Model


class LocalAdapter:
    """The tier is the model's upstream name: `lead`, `frequency` or `lexrank`."""

    def __init__(self, *, processes: int) -> None:
        self._processes = SummaryProcesses(processes)

    async def complete(self, model: Model, body: str, *, key: str | None, attempt: int) -> Outcome:  # noqa: ARG002
        if model.upstream not in set(Tier):
            known = ", ".join(Tier)
            return ModelUnfit(code="unknown_tier", message=f"local/{model.upstream} is not one of {known}")
        request = json.loads(body)
        shape = read_chat(request)
        most = None if shape.tokens_out is None else shape.tokens_out // shape.choices
        document, max_words = document_and_length(request["messages"], max_tokens=most)
        if not document.strip():
            return _refused("there is no text to summarize in the user's messages")
        try:
            summary = await self._processes.summarize(
                document, tier=Tier(model.upstream), max_words=max_words, timeout_s=model.timeout_s
            )
        except SummaryProcessError:
            return Failed(code="process_died", message="the summarizing process died twice")
        if not summary:
            return _refused("the text has no words to summarize")
        tokens_out = estimate_tokens(summary)
        answer = chat_completion(
            answer_id=f"chatcmpl-{blake2b(body.encode(), digest_size=12).hexdigest()}",
            model=model.name,
            text=summary,
            tokens_in=shape.tokens_in,
            tokens_out=tokens_out,
        )
        return Answered(body=answer, tokens_in=shape.tokens_in, tokens_out=tokens_out)

    async def close(self) -> None:
        self._processes.close()


def _refused(message: str) -> Refused:
    error = {"error": {"message": message, "type": "invalid_request_error", "param": "messages", "code": "no_text"}}
    return Refused(code="no_text", message=message, status_code=400, body=json.dumps(error))
