"""The roles of the service: all of them at once with `up`, or one in this process.

The workers are another package, above this one: their process is replaced, never imported.
"""

from __future__ import annotations

import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from router_service.cli import output
from router_service.cli.exits import OperationFailedError, UsageProblemError
from router_service.cli.session import JsonFlag, database_url, options
from router_service.errors import NotFoundError

DOWN_S = 60.0

worker_app = typer.Typer(no_args_is_help=True, help="One worker role in this process, from the WAYBILL_ settings.")

HostOption = Annotated[str, typer.Option("--host", help="The address to listen on.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 picks a free one.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The catalog file, LiteLLM's YAML dialect; without it the built-in one.")
]


class Role(StrEnum):
    """The programs of the package `workers`."""

    ROUTER = "router"
    PROVIDER = "provider"
    DEAD_LETTER = "dead-letter"
    JANITOR = "janitor"
    FLOWER = "flower"


def up(
    context: typer.Context,
    config: ConfigOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Provider worker processes.")] = 1,
    flower: Annotated[bool, typer.Option("--flower/--no-flower", help="Run Flower too, on a loopback port.")] = True,
) -> None:
    """Start everything on this machine: private servers in --data-dir, every role, Flower. Ctrl-C stops all of it."""
    from router_service import settings  # noqa: PLC0415 slow to load
    from router_service.cli.checks import check_routing  # noqa: PLC0415 as above
    from router_service.embedded import stack  # noqa: PLC0415 brings the servers

    if config is not None and not config.is_file():
        raise UsageProblemError(f"--config {config}: no such file; a catalog in LiteLLM's YAML dialect would be right")
    chosen = settings.load()
    check_routing(chosen.predictor)  # here, where it can be read: roles that cannot start are only started again
    named: dict[str, Path] = {"data_dir": options(context).data_dir, **({"config": config} if config else {})}
    stack.Stack(
        chosen.model_copy(update=named),
        stack.StackOptions(host=host, port=port, workers=workers, flower=flower),
        say=output.tell,
    ).run()


def down(context: typer.Context, json: JsonFlag = False) -> None:
    """Stop the stack that `waybill up` runs on --data-dir: calls in flight end, data stay."""
    from router_service.embedded import process, state  # noqa: PLC0415 only here

    data_dir = options(context).data_dir
    pid = state.running_stack_pid(data_dir)
    if pid is None:
        raise NotFoundError(f"no stack runs on {data_dir}")
    os.kill(pid, signal.SIGTERM)
    if not process.wait_until(lambda: state.running_stack_pid(data_dir) is None, patience_s=DOWN_S):
        raise OperationFailedError(
            f"the stack on {data_dir} (pid {pid}) still runs after {DOWN_S:.0f} s; {data_dir}/logs says why"
        )
    output.print_json({"stopped": pid}) if json else output.say(f"the stack on {data_dir} has stopped")


def api(context: typer.Context, host: HostOption = "127.0.0.1", port: PortOption = 8080) -> None:
    """The HTTP API."""
    from router_service import settings  # noqa: PLC0415 slow to load
    from router_service.api import serve  # noqa: PLC0415 brings the web framework

    os.environ["WAYBILL_DATA_DIR"] = str(options(context).data_dir)
    serve.serve(settings.load(), host=host, port=port)


@worker_app.command("router")
def router(context: typer.Context) -> None:
    """The routing worker: assigns queued jobs to models."""
    _become(context, Role.ROUTER)


@worker_app.command("provider")
def provider(context: typer.Context) -> None:
    """A provider worker: calls the models. Run as many as the load needs."""
    _become(context, Role.PROVIDER)


@worker_app.command("dead-letter")
def dead_letter(context: typer.Context) -> None:
    """The dead-letter worker: moves failed jobs to the next model, or parks them."""
    _become(context, Role.DEAD_LETTER)


def janitor(context: typer.Context) -> None:
    """The janitor: repairs what a dead process left behind."""
    _become(context, Role.JANITOR)


def flower(
    context: typer.Context,
    address: Annotated[
        str, typer.Option("--address", help="Where it listens. Its /metrics asks for no password: loopback is right.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 5555,
) -> None:
    """Flower, to look at the queues."""
    _become(context, Role.FLOWER, "--address", address, "--port", str(port))


def migrate(context: typer.Context, json: JsonFlag = False) -> None:
    """Bring the database's schema to this version. Safe beside running processes of the version before."""
    from router_service.store import migrate as schema  # noqa: PLC0415 brings the database driver

    schema.upgrade(database_url(options(context)))
    output.print_json({"migrated": True}) if json else output.say("the schema is of this version")


def _become(context: typer.Context, role: Role, *arguments: str) -> NoReturn:
    """Replace this process, so that signals and the exit code are the worker's own."""
    os.environ["WAYBILL_DATA_DIR"] = str(options(context).data_dir)
    os.execv(sys.executable, [sys.executable, "-m", "workers", role, *arguments])  # noqa: S606 no shell is wanted
