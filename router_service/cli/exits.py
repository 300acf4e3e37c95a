"""How a command ends: its exit code, and the one line on stderr that says why."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from router_service import errors

if TYPE_CHECKING:
    from pathlib import Path


class ExitCode(IntEnum):
    """What a script can rely on; `waybill --help` says the same."""

    OK = 0
    FAILED = 1  # the service answered, and the operation or some of its jobs failed
    USAGE = 2  # wrong options, a wrong file, a wrong setting
    UNREACHABLE = 3  # no answer, or no valid key
    NOT_FOUND = 4  # nothing of the caller's has this id
    INTERRUPTED = 130  # Ctrl-C


EPILOGUE = (
    "[bold]Exit codes[/bold]: "
    "0 ok · 1 the operation failed, or some of its jobs · 2 wrong usage or input · "
    "3 not reachable or not authorised · 4 not found · 130 interrupted.\n\n"
    "--data-dir, --url and --key may also stand after the command."
)


class OperationFailedError(errors.WaybillError):
    """The service did what it was asked, and the outcome is not what was wanted."""


class UsageProblemError(errors.WaybillError):
    """An argument that the options' types cannot check is wrong."""


def check_folder(path: Path | None, *, option: str) -> None:
    """Raises UsageProblemError, before long work begins, where a file cannot be written for want of its folder."""
    if path is not None and not path.parent.is_dir():
        raise UsageProblemError(
            f"{option} {path}: there is no folder {path.parent}; make it first, or name another file"
        )


def exit_code(error: errors.WaybillError) -> ExitCode:
    match error:
        case errors.AuthenticationError() | errors.UnavailableError():
            return ExitCode.UNREACHABLE
        case errors.NotFoundError():
            return ExitCode.NOT_FOUND
        case errors.ConflictError():
            return ExitCode.FAILED
        case UsageProblemError() | errors.SettingsError() | errors.InvalidRequestError():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
