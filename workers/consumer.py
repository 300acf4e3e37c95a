"""Reading tickets from the broker, where anybody who may write there may have left something else.

Celery and kombu refuse most of what is forged; on some shapes they stop the whole worker instead. Here such a message
is dropped: what it may have meant is in the rows, and the janitor issues a lost ticket anew.
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any

from celery.worker.consumer import Consumer
from kombu.transport import redis as redis_transport

from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable

log = logger(__name__)


class TicketConsumer(Consumer):  # type: ignore[misc]  # Celery is not typed
    """A message that Celery cannot even refuse is refused here."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Any) -> None:
            try:
                handle(message)
            except Exception as error:  # noqa: BLE001 (the process loop of all messages; their content is not logged)
                log.warning("a message that is no ticket was dropped", error_type=type(error).__name__)
                message.reject_log_error(log, self.connection_errors)

        return guarded


class TicketChannel(redis_transport.Channel):
    """What is not even a message of kombu's is dropped too."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]  # kombu is half typed
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            log.warning("what is no message was dropped from a queue", error_type=type(error).__name__)
            raise Empty from error  # as kombu says that nothing was there


def install() -> None:
    """Make every Redis channel of this process a TicketChannel. Celery offers no way to name another one."""
    redis_transport.Transport.Channel = TicketChannel
