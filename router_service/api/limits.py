"""Bounds what one request may bring before anything reads it, and names each answer and its log lines with a request id."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from structlog.contextvars import bound_contextvars

from router_service.api.failures import failure

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_JSON_BYTES = 16_000_000
MOST_UPLOAD_BYTES = 210_000_000
UPLOADS = frozenset({"/v1/files"})
MOST_QUESTION_BYTES = 256_000
QUESTIONS = "/v1/decisions/"  # about what is stored; a policy is the longest of it


class RequestGuard:
    """ASGI middleware. A declared length over the limit is refused at once, an undeclared one where it crosses the limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(12)}"
        scope.setdefault("state", {})["request_id"] = request_id
        most = _most_bytes(scope["path"])

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise HTTPException(413, detail=f"the request's body is over {most} bytes")
            return message

        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > most:
            too_large = failure(
                413, f"the request's body is over {most} bytes", kind="invalid_request_error", code="too_large"
            )
            await too_large(scope, receive, tell)
            return
        with bound_contextvars(request=request_id):
            await self._app(scope, bounded, tell)


def _most_bytes(path: str) -> int:
    if path.startswith(QUESTIONS):
        return MOST_QUESTION_BYTES
    return MOST_UPLOAD_BYTES if path in UPLOADS else MOST_JSON_BYTES
