"""Serves the API with uvicorn."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import uvicorn

from router_service import failpoints
from router_service.api.app import make_app
from router_service.telemetry import logs

if TYPE_CHECKING:
    from router_service.settings import Settings


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests under way end first."""
    # Else structlog's own way: where `rich` is there, tracebacks with the values of all variables, keys and prompts among them.
    logs.configure(level=settings.log_level, style=settings.log_format, role="api")
    failpoints.arm(settings.failpoint, lease_s=settings.lease_s)
    app = make_app(settings)
    # What is there now stays: a full collection, during which nobody is answered, need not look at it (0.3 s, else 0.05 s).
    gc.collect()
    gc.freeze()
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=int(settings.drain_s),
        server_header=False,
        h11_max_incomplete_event_size=64_000,
    )
