"""A real server on a loopback port, and the official client, unmodified."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest
import uvicorn
from openai import AsyncOpenAI

from router_service.api.app import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router_service.catalog.models import Catalog
    from router_service.settings import Settings


@pytest.fixture
async def base_url(settings: Settings, catalog: Catalog) -> AsyncIterator[str]:
    """The API served by uvicorn in the test's own loop."""
    app = make_app(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    await app.state.waybill.refresh_catalog()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server.should_exit = True
    await serving
    listener.close()


@pytest.fixture
async def openai(base_url: str, api_key: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0) as client:
        yield client
