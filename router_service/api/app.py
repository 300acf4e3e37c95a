"""All wiring of the API on one screen."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from router_service.api import (
    batches,
    dead_letters,
    decisions,
    failures,
    feedback,
    files,
    health,
    jobs,
    metrics,
    models,
    plans,
    queue,
)
from router_service.api.access import KeyGuard
from router_service.api.limits import RequestGuard
from router_service.api.state import open_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router_service.settings import Settings


def make_app(settings: Settings) -> FastAPI:
    """The ASGI application. It connects when it starts and lets go when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_state(settings) as state:
            app.state.waybill = state
            yield

    app = FastAPI(
        title="Waybill",
        version=version("waybill-router"),
        summary="Queue-based LLM router: hand in work, poll for results by id.",
        lifespan=lifespan,
        redoc_url=None,
    )
    failures.install(app)
    app.add_middleware(KeyGuard)
    app.add_middleware(RequestGuard)  # the outer one: what was added last
    for resource in (files, plans, batches, jobs, feedback, decisions, dead_letters, queue, models, health, metrics):
        app.include_router(resource.routes)
    return app
