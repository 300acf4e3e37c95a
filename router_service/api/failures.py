"""Every error in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`. None shows content or a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from router_service.catalog.problems import unknown_key
from router_service.errors import BusyError, InvalidRequestError, UnavailableError
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

log = logger(__name__)
UNREADABLE = "the body cannot be read: it must be UTF-8 JSON, with numbers and nesting within bounds"
MOST_QUOTED = 60  # letters of a key that nobody knows
CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def install(app: FastAPI) -> None:
    app.add_exception_handler(InvalidRequestError, _refused)
    app.add_exception_handler(UnavailableError, _refused)
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def failure(status: int, message: str, *, kind: str, param: str | None = None, code: str | None = None) -> JSONResponse:
    """One error answer."""
    error = {"message": printable(message), "type": kind, "param": param and printable(param), "code": code}
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(jsonable_encoder({"error": error}), status_code=status, headers=headers)


def refusal(error: InvalidRequestError | UnavailableError) -> JSONResponse:
    """The answer to a fault of the caller's, or to a dependency that is down; the latter is logged."""
    if isinstance(error, InvalidRequestError):
        answer = failure(error.status, error.message, kind=error.kind, param=error.param, code=error.code)
        if isinstance(error, BusyError):
            answer.headers["retry-after"] = str(error.retry_after_s)
        return answer
    log.warning("a request could not be served", dependency=error.dependency, error=str(error))
    return failure(503, f"{error.dependency} is not available; try again", kind="server_error", code="unavailable")


def printable(text: str) -> str:
    """The text with each character escaped that a reader cannot see: Postgres and UTF-8 do not hold all of those."""
    return text if text.isprintable() else repr(text)[1:-1]


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, (InvalidRequestError, UnavailableError))  # noqa: S101 (registered for these classes)
    return refusal(error)


async def _unprocessable(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 (registered for this class)
    problem = error.errors()[0]
    if problem["type"] == "json_invalid":
        what = problem.get("ctx", {}).get("error", "it cannot be read")
        message = f"the body is not JSON: {what} (at character {problem['loc'][-1]})"
        return failure(400, message, kind="invalid_request_error", code="invalid_json")
    place = tuple(part[:MOST_QUOTED] if isinstance(part, str) else part for part in problem["loc"])
    path = ".".join(map(str, place[1:])) or str(place[0])
    message = problem["msg"]
    if problem["type"] == "extra_forbidden" and (root := _body_of(request)) is not None:
        message = unknown_key(place[1:], root)
    return failure(400, f"{path}: {message}", kind="invalid_request_error", param=path, code="invalid_value")


def _body_of(request: Request) -> type[BaseModel] | None:
    """The shape that the route's body must have."""
    field = getattr(request.scope.get("route"), "body_field", None)
    kind = field.field_info.annotation if field is not None else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for this class)
    # FastAPI's words for bad UTF-8, numbers out of range and nesting too deep, which JSON parsers refuse in their own ways.
    if error.detail == "There was an error parsing the body":
        return failure(400, UNREADABLE, kind="invalid_request_error", code="invalid_json")
    code = CODES.get(error.status_code)
    return failure(error.status_code, str(error.detail), kind="invalid_request_error", code=code)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Starlette answers this one outside of every middleware: the request id has to be put in here."""
    request_id = getattr(request.state, "request_id", "unknown")
    log.error("a request failed", request=request_id, method=request.method, route=_route(request), exc_info=error)
    answer = failure(500, "an error of ours; it is in the log", kind="server_error", code="internal_error")
    answer.headers["x-request-id"] = request_id
    return answer


def _route(request: Request) -> str:
    route = request.scope.get("route")
    return getattr(route, "path", "unknown")
