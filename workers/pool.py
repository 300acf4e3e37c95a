"""A Celery worker pool that runs tasks as coroutines on one asyncio loop: hundreds of calls in flight in one process.

Tasks are ordinary registered tasks whose `run` is `async def`. The pool leaves aside the synchronous tracer that it is handed and
runs the coroutine itself; Celery's own request object still does events, revocation and acknowledgement, on its hub's thread.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from kombu.serialization import loads, prepare_accept_content

from router_service.errors import UnavailableError
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = logger(__name__)
SHUTDOWN_MARGIN_S = 5.0
GENERATIONS_OF_CALLBACKS = 4


class Service(Protocol):
    """What lives on the pool's loop beside the tasks."""

    async def open(self) -> None:
        """Connect. The worker does not start where this raises."""

    async def drain(self) -> None:
        """No new work comes: give back what cannot be finished."""

    async def close(self) -> None:
        """Let go of everything."""


class AsyncioPool(BasePool):  # type: ignore[misc]  # Celery is not typed
    """Passed to a worker as its pool class. `app.service` is opened before the first task and closed after the last."""

    signal_safe = False
    body_can_be_buffer = True
    task_join_will_block = False

    def on_start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._live: dict[int, asyncio.Task[None] | None] = {}
        self._ids = itertools.count(1)
        self._accept = prepare_accept_content(self.app.conf.accept_content)
        self._hub: Any = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="asyncio-pool", daemon=True)
        self._thread.start()
        self._wait_for(self.app.service.open())

    def register_with_event_loop(self, loop: Any) -> None:
        self._hub = loop

    def on_apply(
        self,
        target: object,  # noqa: ARG002 (the tracer that is left aside)
        args: tuple[Any, ...] = (),
        kwargs: object = None,  # noqa: ARG002 (always empty)
        *,
        callback: Callable[..., None],
        accept_callback: Callable[[int, float], None],
        **_options: object,
    ) -> None:
        name, _task_id, _request, body, content_type, encoding = args
        decoded = body if content_type is None else loads(body, content_type, encoding, accept=self._accept)
        number = next(self._ids)
        self._live[number] = None
        accept_callback(number, time.monotonic())
        run = self.app.tasks[name].run
        self._loop.call_soon_threadsafe(self._spawn, number, run, decoded[0], decoded[1], callback)

    def terminate_job(self, pid: int, signal: object = None) -> None:  # noqa: ARG002 (a coroutine has none)
        task = self._live.pop(pid, None)
        if task is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def on_stop(self) -> None:
        """Warm shutdown: calls in flight end, or are given back when the service says that it has waited enough."""
        self._wait_for(self.app.service.drain())
        until = time.monotonic() + SHUTDOWN_MARGIN_S
        while self._live and time.monotonic() < until:
            time.sleep(0.01)
        self._wait_for(self.app.service.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SHUTDOWN_MARGIN_S)
        # The hub runs only one generation of ready callbacks when it closes, but a task's success schedules another (its ack).
        for _generation in range(GENERATIONS_OF_CALLBACKS if self._hub is not None else 0):
            for item in self._hub._pop_ready():  # noqa: SLF001 (there is no public way)
                item()

    on_terminate = on_stop

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _spawn(
        self,
        number: int,
        run: Callable[..., Coroutine[Any, Any, object]],
        args: list[Any],
        kwargs: dict[str, Any],
        callback: Callable[..., None],
    ) -> None:
        if number in self._live:
            self._live[number] = self._loop.create_task(self._run(number, run, args, kwargs, callback))

    async def _run(
        self,
        number: int,
        run: Callable[..., Coroutine[Any, Any, object]],
        args: list[Any],
        kwargs: dict[str, Any],
        callback: Callable[..., None],
    ) -> None:
        began = time.monotonic()
        try:
            await run(*args, **kwargs)
            result: tuple[int, object, float] | None = (0, "None", time.monotonic() - began)
        except asyncio.CancelledError:
            result = None  # terminated by remote control, which has announced it already
        except UnavailableError as error:
            log.warning("a task was let go; the janitor issues it anew", dependency=error.dependency, error=str(error))
            result = (1, _shown(error), time.monotonic() - began)
        except Exception as error:  # the process loop of all tasks
            log.exception("a task failed", error_type=type(error).__name__)
            result = (1, _shown(error), time.monotonic() - began)
        finally:
            self._live.pop(number, None)
        if result is not None and self._hub is not None:
            self._hub.call_soon(callback, result)

    def _get_info(self) -> dict[str, Any]:
        return dict(super()._get_info(), in_flight=len(self._live))


def _shown(error: Exception) -> ExceptionInfo:
    """What Celery's events and Flower show of a failed task: the kind of error, and no text that may hold content."""
    try:
        raise RuntimeError(type(error).__name__)
    except RuntimeError:
        return ExceptionInfo()
