"""How long an answer will be: by what the request says of it, else by its task and the length of the material.

Tokens are those of a byte-pair encoding for English. A length that is asked for in words, sentences or paragraphs is taken at its
word; see docs/decisions/0016-signals.md for where the habits by task come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.chat.tokens import estimate_tokens
from router_service.jobs.spec import Feature
from router_service.signals.hints import TASK
from router_service.signals.signals import Task
from router_service.signals.sizes import MOST_TOKENS, stated_length
from router_service.signals.tasks import MOST_SYSTEM, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

MOST_SCHEMA_DEPTH = 8
TOKENS_PER_FIELD = 12  # of JSON: a key, its punctuation and a short value
ITEMS_PER_LIST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """Answers to a task have `share` of the material's tokens, within `least` and `most`; None: as many as the share gives."""

    share: float
    least: int
    most: int | None = None


HABITS: Mapping[Task, Habit] = {
    Task.SUMMARIZE: Habit(share=0.2, least=60, most=400),
    Task.TRANSLATE: Habit(share=1.1, least=8),
    Task.EXTRACT: Habit(share=0.25, least=30, most=600),
    Task.CLASSIFY: Habit(share=0.0, least=8),
    Task.REWRITE: Habit(share=1.05, least=16),
    Task.CODE: Habit(share=0.6, least=300, most=1_500),
    Task.MATH: Habit(share=1.0, least=250, most=800),
    Task.WRITE: Habit(share=0.2, least=500, most=1_200),
    Task.QUESTION: Habit(share=0.2, least=120, most=400),
    Task.CHAT: Habit(share=0.1, least=80, most=300),
}
# Of these the text itself stands in the fields of a schema.
WORDY = frozenset({Task.SUMMARIZE, Task.TRANSLATE, Task.REWRITE, Task.WRITE, Task.CODE, Task.MATH})


class Lengths:
    """`tokens_out`, never above what the caller allows, for all choices together. Unknown where the task is."""

    name = "length"
    version = "1"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        cues: dict[str, Task | None] = {}  # the lines of a batch often have the same instruction
        sizes: dict[str, int | None] = {}
        return [{"tokens_out": expected_tokens_out(request, cues=cues, sizes=sizes)} for request in requests]


def expected_tokens_out(request: Request, *, cues: dict[str, Task | None], sizes: dict[str, int | None]) -> int | None:
    """Tokens of all choices together. `cues` and `sizes` remember what instructions said, for the next request of a batch."""
    expected = _of_one_choice(request, cues, sizes)
    if expected is None:
        return None
    limits = [request.body.get(name) for name in ("max_completion_tokens", "max_tokens")]
    most = next((limit for limit in limits if isinstance(limit, int)), MOST_TOKENS)
    choices = request.body.get("n")
    return max(1, min(expected, most)) * (choices if isinstance(choices, int) and choices > 0 else 1)


def _of_one_choice(request: Request, cues: dict[str, Task | None], sizes: dict[str, int | None]) -> int | None:
    stated = _stated(request, sizes)
    schema = _tokens_of_schema(request.body) if Feature.JSON_SCHEMA in request.features else None
    if stated is not None:
        return stated + (schema or 0)
    hint = request.hints.get(TASK)
    task = Task(hint) if hint else task_of(request, cues)
    if task is None:
        return schema
    usual = _usual(HABITS[task], request.material)
    if schema is None:
        return usual
    return schema + usual if task in WORDY else schema


def _stated(request: Request, sizes: dict[str, int | None]) -> int | None:
    for asked in (request.asked, request.system[:MOST_SYSTEM]):
        if asked not in sizes:
            sizes[asked] = stated_length(asked)
        if sizes[asked] is not None:
            return sizes[asked]
    return None


def _usual(habit: Habit, material: str) -> int:
    expected = max(habit.least, round(habit.share * estimate_tokens(material)))
    return expected if habit.most is None else min(expected, habit.most)


def _tokens_of_schema(body: Mapping[str, Any]) -> int:
    """An object with all fields of the schema, lists with some items. A schema that refers to itself is cut off."""
    response_format = body.get("response_format")
    held = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    schema = held.get("schema") if isinstance(held, Mapping) else None
    return max(2 * TOKENS_PER_FIELD, min(TOKENS_PER_FIELD * _fields_of(schema, MOST_SCHEMA_DEPTH), MOST_TOKENS))


def _fields_of(schema: object, depth: int) -> int:
    if depth == 0 or not isinstance(schema, Mapping):
        return 1
    properties, items = schema.get("properties"), schema.get("items")
    if isinstance(properties, Mapping):
        return sum(_fields_of(each, depth - 1) for each in properties.values()) or 1
    return ITEMS_PER_LIST * _fields_of(items, depth - 1) if isinstance(items, Mapping) else 1
