"""One page of a list in OpenAI's shape. Without `has_more` and an honoured `after` the clients' paging never ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import Query

# A filter by text. Postgres holds no NUL, so nothing can be found by one.
TextFilter = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00]*$")]


def page(rows: Sequence[Any], *, limit: int, show: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """`rows` were fetched with a limit of `limit + 1`: the one too many only says that there are more."""
    data = [show(row) for row in rows[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(rows) > limit,
    }
