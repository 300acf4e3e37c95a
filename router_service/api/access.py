"""No key, no service: who is asking is found out before a byte of the body is read, and so before FastAPI parses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request

from router_service.api.failures import refusal
from router_service.api.state import caller
from router_service.errors import AuthenticationError, UnavailableError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PUBLIC = frozenset({"/livez", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json"})


class KeyGuard:
    """ASGI middleware. A route still asks for its `Caller`, who is remembered from here for a moment."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC:
            try:
                await caller(Request(scope))
            except (AuthenticationError, UnavailableError) as error:
                await refusal(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
