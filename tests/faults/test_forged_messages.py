"""Messages in the broker that Waybill did not write. They may run nothing, call nothing and stop nobody."""

from __future__ import annotations

import base64
import json
import os
import pickle
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from router_service.tickets import CALL_TASK, DEAD_LETTER_TASK, ROUTE_TASK
from tests.stacks import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stacks import RunningStack

pytestmark = pytest.mark.timeout(180)

TASK_OF = {"route": ROUTE_TASK, "model.fast": CALL_TASK, "dlq.fast": DEAD_LETTER_TASK}


class _Trap:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def envelope(
    body: bytes, *, queue: str, task: str, content_type: str = "application/json", **headers: object
) -> dict[str, Any]:
    """What kombu puts into a Redis list (its `virtual` transport), around any body."""
    identity = str(uuid.uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "binary" if "python" in content_type else "utf-8",
        "content-type": content_type,
        "headers": {"lang": "py", "task": task, "id": identity, "root_id": identity, **headers},
        "properties": {
            "correlation_id": identity,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def arguments(*values: object, **words: object) -> bytes:
    return json.dumps([list(values), words, {}]).encode()


def forgeries(queue: str, trap: Path, known_job: str) -> Iterator[tuple[str, bytes]]:
    """Each kind with a name, as the bytes to push."""
    task, pickled = TASK_OF[queue], pickle.dumps([[_Trap(trap)], {}, {}])
    shapes: dict[str, dict[str, Any]] = {
        "pickled": envelope(pickled, queue=queue, task=task, content_type="application/x-python-serialize"),
        "pickle said to be JSON": envelope(pickled, queue=queue, task=task),
        "yaml": envelope(
            b"!!python/object/apply:os.mkdir [x]", queue=queue, task=task, content_type="application/x-yaml"
        ),
        "unknown task": envelope(arguments([]), queue=queue, task="os.system"),
        "a task of Celery's own": envelope(
            arguments({"task": task, "args": [], "kwargs": {}}, [[[]]]), queue=queue, task="celery.starmap"
        ),
        "no task": envelope(arguments([]), queue=queue, task=""),
        "a task that is no word": envelope(arguments([]), queue=queue, task=task) | {"headers": {"task": {"a": [1]}}},
        "no arguments": envelope(arguments(), queue=queue, task=task),
        "too many arguments": envelope(arguments(1, 2, 3), queue=queue, task=task),
        "words": envelope(arguments(raw=[], model="x"), queue=queue, task=task),
        "arguments that are no list": envelope(b'{"a": 1}', queue=queue, task=task),
        "a body that is a number": envelope(b"7", queue=queue, task=task),
        "tickets that are no list": envelope(arguments({"a": 1}), queue=queue, task=task),
        "a ticket of wrong types": envelope(arguments([[1, "x", None, 0]]), queue=queue, task=task),
        "a ticket with a wrong id": envelope(arguments([["../../etc/passwd", 1, 1, 0]]), queue=queue, task=task),
        "a ticket with a huge epoch": envelope(arguments([[uuid.uuid4().hex, 10**30, 1, 0]]), queue=queue, task=task),
        "a ticket for nobody": envelope(arguments([[uuid.uuid4().hex, 1, 1, 0]]), queue=queue, task=task),
        "a ticket for a finished job": envelope(
            arguments([[known_job, 1, 1, 0], [known_job, 2, 2, 0]]), queue=queue, task=task
        ),
        "an ETA that is none": envelope(arguments([]), queue=queue, task=task, eta="tomorrow"),
        "an expiry that is none": envelope(arguments([]), queue=queue, task=task, expires="never"),
        "a compression that nobody knows": envelope(arguments([]), queue=queue, task=task, compression="x-evil"),
        "compressed garbage": envelope(b"garbage", queue=queue, task=task, compression="application/x-gzip"),
        "callbacks": envelope(
            json.dumps([[[]], {}, {"callbacks": [{"task": "os.system"}], "chain": [{"task": "x"}]}]).encode(),
            queue=queue,
            task=task,
        ),
        "headers that are no mapping": envelope(arguments([]), queue=queue, task=task) | {"headers": [1]},
        "a body that is no base64": envelope(b"", queue=queue, task=task) | {"body": "%%%"},
        "an unknown body encoding": envelope(b"", queue=queue, task=task)
        | {"properties": {"body_encoding": "rot13", "delivery_tag": "t", "delivery_info": {}}},
        "no properties": {"body": "", "headers": {}},
    }
    for name, shape in shapes.items():
        yield name, json.dumps(shape).encode()
    yield "bytes", b"\x80\x04\xff\x00garbage"
    yield "an empty value", b""
    yield "text", b"hello"
    yield "a JSON number", b"7"
    yield "a JSON list", b"[]"
    yield "deep JSON", b"[" * 100_000


@pytest.mark.parametrize("queue", sorted(TASK_OF))
def test_forged_messages_run_nothing_and_stop_nobody(stack: RunningStack, queue: str, tmp_path: Path) -> None:
    """Pushes pickles, unknown tasks, malformed tickets and garbage into a queue, by LPUSH as the worker's own user may.

    No code runs, no call is made, the same worker processes go on, and a job that follows succeeds.
    """
    known = stack.submit("fast")
    stack.finished(known)
    trap = tmp_path / "sprung"
    workers, calls = stack.state.children, stack.rows("SELECT count(*) AS n FROM attempts")
    with stack.admin_redis() as admin:
        for name, message in forgeries(queue, trap, known.removeprefix("job_")):
            admin.lpush(queue, message)
            until(lambda: admin.llen(queue) == 0, patience_s=20, what=f"{name!r} is taken from {queue}")
            assert stack.state.children == workers, f"{name!r} ended a worker"
    assert stack.rows("SELECT count(*) AS n FROM attempts") == calls
    assert not trap.exists()
    assert stack.finished(stack.submit("fast"), patience_s=20)["status"] == "succeeded"
    assert stack.finished(stack.submit("doomed"), patience_s=20)["status"] == "succeeded"
    assert stack.state.children == workers
