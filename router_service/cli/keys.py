"""keys and reload: what an operator does to the database itself, with no API in between."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from router_service.cli import output
from router_service.cli.exits import UsageProblemError
from router_service.cli.session import JsonFlag, Options, database_url, options
from router_service.embedded import state
from router_service.errors import NotFoundError

app = typer.Typer(no_args_is_help=True, help="API keys, directly on the database: create, list, revoke.")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(show_default=False, help="What the key is for; shown by `keys list`.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose jobs the key sees.")] = "default",
    json: JsonFlag = False,
) -> None:
    """Make a key and print it. It is stored hashed: this is the only time that it is shown."""
    from router_service.store import bootstrap  # noqa: PLC0415 brings the database driver

    key = bootstrap.create_key(database_url(options(context)), tenant=tenant, name=name)
    if json:
        output.print_json({"key": key, "tenant": tenant, "name": name})
    else:
        sys.stdout.write(f"{key}\n")


@app.command("list")
def list_(context: typer.Context, json: JsonFlag = False) -> None:
    """The keys by prefix; never the keys themselves."""
    from router_service.store import bootstrap  # noqa: PLC0415 brings the database driver

    keys = bootstrap.list_keys(database_url(options(context)))
    if json:
        output.print_json([{name: _plain(value) for name, value in key.items()} for key in keys])
        return
    columns = list(keys[0]) if keys else ["No keys"]
    output.print_table(columns, [[_plain(key[name]) for name in columns] for key in keys])


@app.command()
def revoke(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(show_default=False, help="The prefix that `keys list` shows.")],
    json: JsonFlag = False,
) -> None:
    """Make a key useless, on every process within seconds."""
    from router_service.store import bootstrap  # noqa: PLC0415 brings the database driver

    if not bootstrap.revoke_key(database_url(options(context)), prefix):
        raise NotFoundError(f"no valid key has the prefix {prefix!r}: `waybill keys list` shows them")
    output.print_json({"revoked": prefix}) if json else output.say(f"{prefix} is revoked")


def reload(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The catalog file; without it WAYBILL_CONFIG, or what the stack was given."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check the catalog file and make it the one in force, with no restart. A wrong file changes nothing."""
    from router_service import settings  # noqa: PLC0415 slow to load
    from router_service.store import bootstrap  # noqa: PLC0415 brings the database driver

    path = config or settings.load().config or _file_of_stack(options(context))
    if not path.is_file():
        raise UsageProblemError(f"{path}: no such file; a catalog in LiteLLM's YAML dialect would be right")
    fingerprint = bootstrap.publish_catalog(database_url(options(context)), path)
    output.print_json({"catalog": fingerprint}) if json else output.say(
        f"catalog {fingerprint} is in force; every process follows within some two seconds"
    )


def _file_of_stack(chosen: Options) -> Path:
    """The file that the running stack was started with. Raises UsageProblemError where there is none."""
    running = state.load_state(chosen.data_dir)
    if running is None or running.config is None:
        raise UsageProblemError(
            "which catalog? Name it with --config or WAYBILL_CONFIG; no stack runs here that was given a file"
        )
    return Path(running.config)


def _plain(value: object) -> object:
    """A value that JSON can hold; times become text."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
