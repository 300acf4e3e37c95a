"""Every transaction that writes has a failpoint before its COMMIT and one after it, or stands here with the reason why not.

Read from the source: a block writes where a function that it hands its session to runs a statement that does. What cannot
be followed counts as writing, so that nothing is missed.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import router_service.api
import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

BEFORE, AFTER = "before", "after"
COMMENT = re.compile(r"--.*")
WRITES = re.compile(r"\b(INSERT\s+INTO|DELETE\s+FROM|UPDATE\s+\w+\s+(\w+\s+)?SET)\b")
STATEMENTS = {"row", "rows"}
FAILPOINTS = {"failpoint", "afailpoint"}

ROLLED_BACK = "one statement, and nothing was done before it: rolled back, it is the next round's"
NOTHING_FOLLOWS = "nothing follows the COMMIT"
READ_AGAIN = "what was read of a job is the same whoever reads it: read again, it is left as it is"
CLAIM = "rolled back it is provider.before_claim once more: the tickets are gone, their jobs are ROUTED"
LEASE = "what a lease is worth that was not prolonged, or by a worker that died then, provider.after_claim shows"
WITHOUT: Mapping[tuple[str, str], str] = {
    (
        "router_service.api.files.delete",
        BEFORE,
    ): "one statement: rolled back, the file is there, and its client asks again",
    (
        "router_service.api.files.delete",
        AFTER,
    ): "nothing follows but the answer: who asks again is told that it is gone",
    ("workers.calls._claim", BEFORE): CLAIM,
    ("workers.provider._renew", BEFORE): LEASE,
    ("workers.provider._renew", AFTER): LEASE,
    ("workers.janitor.queue_due_retries", BEFORE): ROLLED_BACK,
    ("workers.janitor.resend_dead_letters", BEFORE): ROLLED_BACK,
    ("workers.janitor.expire", BEFORE): ROLLED_BACK,
    ("workers.janitor.cancel", BEFORE): ROLLED_BACK,
    (
        "workers.janitor.end_batches",
        BEFORE,
    ): "one snapshot: rolled back, the batch is open and without files, and the next round's",
    ("workers.janitor.delete_files", BEFORE): ROLLED_BACK,
    ("workers.janitor.delete_files", AFTER): NOTHING_FOLLOWS,
    ("workers.janitor.calibrate", BEFORE): ROLLED_BACK,
    ("workers.janitor.calibrate", AFTER): NOTHING_FOLLOWS,
    (
        "router_service.api.feedback.give",
        BEFORE,
    ): "one statement: rolled back, its client gives it again, and it counts once",
    ("router_service.api.feedback.give", AFTER): "nothing follows but the answer: given again it counts once",
    ("router_service.api.plans._opened", BEFORE): "rolled back, its client has no answer and asks again",
    (
        "router_service.api.plans._opened",
        AFTER,
    ): "an open quote that nobody asks counts until it is forgotten, 15 minutes later",
    ("router_service.api.plans._ask", BEFORE): "rolled back, its client has no answer and asks again",
    ("router_service.api.plans._ask", AFTER): "nothing follows but to wait for the answer: who asks again asks anew",
    ("workers.planner._claim", BEFORE): ROLLED_BACK,
    (
        "workers.planner._claim",
        AFTER,
    ): "a minute later it is due again, and its jobs wait no longer than plan_until, or have a budget",
    ("workers.planner._known", BEFORE): READ_AGAIN,
    ("workers.planner._known", AFTER): READ_AGAIN,
    (
        "workers.planner._store",
        BEFORE,
    ): "rolled back it is _claim's end once more: planned again, or gone on with without",
    ("workers.planner._store", AFTER): "only the ring follows, which the router's tick replaces",
    ("workers.planner._failed", BEFORE): "rolled back it is _claim's end once more",
    ("workers.planner._failed", AFTER): NOTHING_FOLLOWS,
    ("workers.planner._stop", BEFORE): "rolled back, the batch is due again a minute later",
    ("workers.planner._stop", AFTER): NOTHING_FOLLOWS,
    ("workers.planner._make_due", BEFORE): ROLLED_BACK,
    ("workers.planner._make_due", AFTER): "what is due is found by whoever looks next",
    ("workers.planner._take_question", BEFORE): ROLLED_BACK,
    ("workers.planner._take_question", AFTER): "a minute later it may be taken again",
    ("workers.planner._quote", BEFORE): "reads only",
    ("workers.planner._quote", AFTER): "reads only",
    ("workers.planner.answer_quotes", BEFORE): "rolled back it is _take_question's end once more",
    ("workers.planner.answer_quotes", AFTER): NOTHING_FOLLOWS,
    ("workers.planner.forget_quotes", BEFORE): ROLLED_BACK,
    ("workers.planner.forget_quotes", AFTER): NOTHING_FOLLOWS,
    ("workers.mending.mend_counters", BEFORE): "rolled back, the gate is still shut, and the next round begins anew",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A transaction in the source, and on which sides of its COMMIT a failpoint stands."""

    where: str
    writes: bool
    sides: frozenset[str]


def test_every_commit_has_its_failpoints_or_a_reason_for_none() -> None:
    missing = {(block.where, side) for block in blocks() if block.writes for side in {BEFORE, AFTER} - block.sides}
    assert missing == WITHOUT.keys()


def test_reader_of_the_source_tells_writing_from_reading_and_one_side_from_the_other() -> None:
    """Over known blocks: a plain write, one through a function of the same module, one that cannot be followed, two reads."""
    found = {block.where: block for block in blocks()}
    for where in ("api.jobs.create", "api.batches.create", "api.dead_letters._go_through"):
        assert found[f"router_service.{where}"].writes, where
        assert found[f"router_service.{where}"].sides == {BEFORE, AFTER}, where
    for where in ("api.jobs.list_jobs", "api.batches.progress"):
        assert not found[f"router_service.{where}"].writes, where
    assert found["workers.calls._claim"].sides == {AFTER}


def blocks() -> Iterator[Block]:
    """All transactions of the API and the workers."""
    for package in (router_service.api, workers):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            module = import_module(".".join((package.__name__, *parts)).removesuffix(".__init__"))
            for function in ast.walk(ast.parse(path.read_text())):
                if isinstance(function, ast.AsyncFunctionDef):
                    yield from _blocks_of(function, module)


def _blocks_of(function: ast.AsyncFunctionDef, module: ModuleType) -> Iterator[Block]:
    found = [node for node in ast.walk(function) if isinstance(node, ast.AsyncWith) and _is_transaction(node)]
    found.sort(key=lambda node: node.lineno)
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    points = [call.lineno for call in calls if getattr(call.func, "id", "") in FAILPOINTS]
    for node, following in itertools.zip_longest(found, found[1:]):
        last, end = node.end_lineno or 0, following.lineno if following else (function.end_lineno or 0) + 1
        before, after = any(node.lineno < line <= last for line in points), any(last < line < end for line in points)
        yield Block(
            where=f"{module.__name__}.{function.name}",
            writes=_hands_to_a_writer(node, str(getattr(node.items[0].optional_vars, "id", "")), vars(module)),
            sides=frozenset([BEFORE] * before + [AFTER] * after),
        )


def _is_transaction(node: ast.AsyncWith) -> bool:
    call = node.items[0].context_expr
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "transaction"


def _hands_to_a_writer(node: ast.AST, session: str, names: Mapping[str, Any]) -> bool:
    calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
    return any(_is_statement_that_writes(call, session) for call in calls) or any(
        _writes(_resolve(call.func, names))
        for call in calls
        if any(isinstance(value, ast.Name) and value.id == session for value in call.args)
    )


def _is_statement_that_writes(call: ast.Call, session: str) -> bool:
    """Something of the session's own: a query by its name, or a way to the driver."""
    of = call.func
    if not (isinstance(of, ast.Attribute) and isinstance(of.value, ast.Name) and of.value.id == session):
        return False
    if of.attr not in STATEMENTS:
        return of.attr != "savepoint"
    name = call.args[0]
    return not isinstance(name, ast.Constant) or _is_writing(str(name.value))


def _resolve(function: ast.expr, names: Mapping[str, Any]) -> Callable[..., object] | None:
    if isinstance(function, ast.Name):
        return names.get(function.id)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return getattr(names.get(function.value.id), function.attr, None)
    return None


@cache
def _writes(function: Callable[..., object] | None) -> bool:
    """Whether a function whose first argument is a session writes with it."""
    if function is None:
        return True
    plain = inspect.unwrap(function)
    session = next(iter(inspect.signature(plain).parameters))
    tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    return _hands_to_a_writer(tree, session, getattr(plain, "__globals__", {}))


@cache
def _is_writing(query: str) -> bool:
    text = resources.files("router_service.store").joinpath("queries", f"{query}.sql").read_text()
    return WRITES.search(COMMENT.sub("", text)) is not None
