"""Which service a command talks to, and with which key: options first, then the environment, then the running stack."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer

from router_service.cli.client import ApiClient, is_loopback
from router_service.cli.exits import UsageProblemError
from router_service.embedded import state
from router_service.errors import AuthenticationError, UnavailableError

JsonFlag = Annotated[bool, typer.Option("--json", help="Machine-readable: one JSON document, or JSONL for a stream.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", show_default=False, help="batch_... or job_...")]

KEY_FILE = "api-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The global options. `url` and `key` are None where the running stack of `data_dir` decides."""

    data_dir: Path
    url: str | None
    key: str | None


def options(context: typer.Context) -> Options:
    found = context.find_object(Options)
    if found is None:
        raise RuntimeError("the root command stores the global options before any command runs")
    return found


def connect(context: typer.Context) -> ApiClient:
    """A client for the chosen service. Raises UnavailableError where no stack runs and no --url is given."""
    chosen = options(context)
    url = checked_url(chosen.url) if chosen.url else running_url(chosen.data_dir)
    return ApiClient(url, key=chosen.key or stored_key(chosen.data_dir, url=url))


def running_url(data_dir: Path) -> str:
    """The address of the API that `waybill up` runs on this data directory."""
    running = state.load_state(data_dir)
    if running is None:
        raise UnavailableError(
            "api",
            f"no stack runs on {data_dir}: start one with `waybill up`, or name one with --url or WAYBILL_API_URL",
        )
    return running.api_url


def stored_key(data_dir: Path, *, url: str) -> str:
    """The key that `waybill up` left in the data directory; it is never sent to another machine."""
    path = data_dir / KEY_FILE
    if not is_loopback(url):
        raise AuthenticationError(f"no key for {url}: give one with --key or WAYBILL_API_KEY")
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise AuthenticationError(f"{path} can be read by others: `chmod 600 {path}` and revoke the key")
        return path.read_text().strip()
    except FileNotFoundError as error:
        raise AuthenticationError(f"no key: {path} does not exist; give one with --key or WAYBILL_API_KEY") from error
    except PermissionError as error:
        raise AuthenticationError(f"no key: {path} belongs to another user; give --key or WAYBILL_API_KEY") from error


def checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageProblemError(f"--url {url}: {error}; http://HOST:PORT would be right") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise UsageProblemError(f"--url {url}: http://HOST:PORT would be right")
    if parsed.userinfo:
        raise UsageProblemError("--url holds a user or password: give the key with --key or WAYBILL_API_KEY")
    return url


def database_url(chosen: Options) -> str:
    """The database of the settings, or of the running stack. It holds a password: it is never printed."""
    from router_service import settings  # noqa: PLC0415 slow to load, and no client of the API needs it

    named = settings.load().database_url.get_secret_value()
    if named:
        return named
    running = state.load_state(chosen.data_dir)
    if running is None:
        raise UnavailableError(
            "postgres", f"no stack runs on {chosen.data_dir}: start one with `waybill up`, or set WAYBILL_DATABASE_URL"
        )
    return running.database_url
