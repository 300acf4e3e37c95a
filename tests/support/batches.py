"""Batch files as a client writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"

Json = dict[str, Any]


def lines(
    models: Sequence[str],
    *,
    prompt: Callable[[int], str] = "Describe harbour {}.".format,
    max_tokens: Callable[[int], int | None] = lambda _number: 8,
) -> bytes:
    """A batch file with one request per model name, custom ids c0, c1, ... Where `max_tokens` is None it is left out."""
    return b"".join(
        json.dumps(
            {
                "custom_id": f"c{number}",
                "method": "POST",
                "url": CHAT,
                "body": {"model": model, "messages": [{"role": "user", "content": prompt(number)}]}
                | bound(max_tokens(number)),
            }
        ).encode()
        + b"\n"
        for number, model in enumerate(models)
    )


def bound(max_tokens: int | None) -> Json:
    """The field of a request that says how long its answer may get, or none."""
    return {} if max_tokens is None else {"max_tokens": max_tokens}


def custom_ids(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]
