"""The Celery application, its settings and its queues. Celery carries tickets; it keeps no results and retries nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery

from router_service.tickets import (
    CALL_TASK,
    DEAD_LETTER_TASK,
    ROUTE_QUEUE,
    ROUTE_TASK,
    TRANSPORT_OPTIONS,
    dead_letter_queue,
    model_queue,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router_service.catalog.models import Catalog
    from router_service.settings import Settings

TASK_OF_ROLE = {"router": ROUTE_TASK, "provider": CALL_TASK, "dead-letter": DEAD_LETTER_TASK}


def make_app(settings: Settings) -> Any:
    """An application without tasks: enough for Flower and for the workers to build on."""
    app = Celery("waybill", broker=settings.broker, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_create_missing_queues=True,
        task_default_queue=ROUTE_QUEUE,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_transport_options=TRANSPORT_OPTIONS,
        broker_connection_timeout=5,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_acquire_timeout=10,
        event_queue_expires=60,
        enable_utc=True,
    )
    return app


def register(app: Any, role: str, handle: Callable[..., Awaitable[None]]) -> None:
    """Make `handle` the task of a role. The pool runs it on its loop."""

    async def run(*args: Any) -> None:
        await handle(*args)

    app.task(name=TASK_OF_ROLE[role], acks_late=True, ignore_result=True)(run)


def queues_of(role: str, catalog: Catalog) -> list[str]:
    """The queues that a worker of a role consumes."""
    if role == "router":
        return [ROUTE_QUEUE]
    queue_of = model_queue if role == "provider" else dead_letter_queue
    return [queue_of(model.id) for model in catalog.models]
