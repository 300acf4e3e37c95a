"""The one error tree. Each error carries what its handler needs; foreign errors are mapped at the border.

WaybillError
├── SettingsError        a setting or a file the operator wrote is wrong
│   └── CatalogError     the catalog file is wrong; one problem per path
├── InvalidRequestError  the caller's input is wrong (400)
│   ├── AuthenticationError (401)
│   ├── NotFoundError (404)
│   ├── ConflictError (409)
│   ├── TooLargeError (413)
│   └── BusyError (429)
├── UnavailableError     a dependency is down (503)
├── StoreError           the database refused a statement: a fault of ours
└── StackError           the embedded stack cannot start or stop
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class WaybillError(Exception):
    """Base of every error that Waybill raises on purpose."""


class SettingsError(WaybillError):
    """A setting is missing or wrong; the message names it and says what would be right."""


class CatalogError(SettingsError):
    """The catalog is not usable; `problems` holds one line per wrong path."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} problem(s)\n{lines}")


class InvalidRequestError(WaybillError):
    """The request cannot be accepted. `param` is the JSON path at fault, `code` a stable word."""

    status = 400
    kind = "invalid_request_error"
    default_code = "invalid_value"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code


class AuthenticationError(InvalidRequestError):
    """No key, or not a key of ours, or a revoked one."""

    status = 401
    kind = "authentication_error"
    default_code = "invalid_api_key"


class NotFoundError(InvalidRequestError):
    """Nothing of the caller's has this id. A foreign id looks exactly like a random one."""

    status = 404
    kind = "not_found_error"
    default_code = "not_found"


class ConflictError(InvalidRequestError):
    """The object's state does not allow the action."""

    status = 409
    default_code = "conflict"


class TooLargeError(InvalidRequestError):
    """A body, file or line is over its limit."""

    status = 413
    default_code = "too_large"


class BusyError(InvalidRequestError):
    """So much of this kind is under way that one more has to come again, after `retry_after_s` seconds."""

    status = 429
    kind = "rate_limit_error"
    default_code = "busy"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(WaybillError):
    """A dependency is down; `dependency` names it."""

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(message)
        self.dependency = dependency


class StoreError(WaybillError):
    """The database refused a statement. Holds its SQLSTATE and first sentence, never a value."""


class StackError(WaybillError):
    """The embedded stack cannot start, or a part of it cannot be reached."""
