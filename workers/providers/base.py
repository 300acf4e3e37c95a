"""What every provider adapter offers to the worker, and the shape of an answer that an adapter makes up itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome


class Adapter(Protocol):
    """Makes one call. Maps everything that a provider may do to an Outcome; raises only where the adapter itself is at fault."""

    async def complete(self, model: Model, body: str, *, key: str | None, attempt: int) -> Outcome:
        """`body`: the job's chat completion request as JSON; `key`: the provider's key, None where there is none."""

    async def close(self) -> None: ...


def chat_completion(
    *, answer_id: str, model: str, text: str, tokens_in: int, tokens_out: int, finish_reason: str = "stop"
) -> str:
    """A chat completion in OpenAI's shape, as one line of JSON. `created` is 0: an answer holds no clock of ours."""
    return json.dumps(
        {
            "id": answer_id,
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": finish_reason,
                    "logprobs": None,
                }
            ],
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "total_tokens": tokens_in + tokens_out,
            },
        },
        separators=(",", ":"),
    )
