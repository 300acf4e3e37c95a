"""The command `waybill`: every command and its place, the global options, and how errors become exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.main import get_command

from router_service.cli import (
    assignment,
    batches,
    bench,
    dead_letters,
    decisions,
    demo,
    doctor,
    evaluate,
    jobs,
    keys,
    models,
    output,
    plans,
    services,
    summarize,
    train,
)
from router_service.cli.exits import EPILOGUE, ExitCode, exit_code
from router_service.cli.session import Options
from router_service.errors import WaybillError

if TYPE_CHECKING:
    from collections.abc import Sequence

GLOBAL_OPTIONS = ("--data-dir", "--url", "--key")
CLIENT, OPERATION, SERVICE = "Jobs and results", "Operation", "Services"

app = typer.Typer(
    name="waybill",
    no_args_is_help=True,
    epilog=EPILOGUE,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 slow to load

        output.tell(f"waybill {version('waybill-router')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 (Typer calls back)
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    data_dir: Annotated[
        Path,
        typer.Option("--data-dir", envvar="WAYBILL_DATA_DIR", help="Where `waybill up` keeps its servers and keys."),
    ] = Path(".waybill"),
    url: Annotated[
        str | None,
        typer.Option("--url", envvar="WAYBILL_API_URL", help="The API; without it the running stack of the data dir."),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", envvar="WAYBILL_API_KEY", help="The API key; without it DIR/api-key.")
    ] = None,
) -> None:
    """Waybill: durable LLM jobs over queues. Start with `waybill up`, then `waybill summarize README.md`."""
    context.obj = Options(data_dir=data_dir, url=url, key=key)


app.command("submit", rich_help_panel=CLIENT)(batches.submit)
app.command("quote", rich_help_panel=CLIENT)(plans.quote)
app.command("summarize", rich_help_panel=CLIENT)(summarize.command)
app.command("status", rich_help_panel=CLIENT)(batches.status)
app.command("watch", rich_help_panel=CLIENT)(batches.watch)
app.command("results", rich_help_panel=CLIENT)(batches.results)
app.command("explain", rich_help_panel=CLIENT)(jobs.explain)
app.command("replay", rich_help_panel=CLIENT)(decisions.replay)
app.command("what-if", rich_help_panel=CLIENT)(decisions.what_if)
app.command("shadow", rich_help_panel=CLIENT)(decisions.shadow)
app.command("cancel", rich_help_panel=CLIENT)(batches.cancel)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel=CLIENT)
app.command("models", rich_help_panel=OPERATION)(models.command)
app.add_typer(keys.app, name="keys", rich_help_panel=OPERATION)
app.command("reload", rich_help_panel=OPERATION)(keys.reload)
app.command("doctor", rich_help_panel=OPERATION)(doctor.command)
app.add_typer(bench.app, name="bench", rich_help_panel=OPERATION)
evaluate.app.command()(assignment.assignment)
app.add_typer(evaluate.app, name="eval", rich_help_panel=OPERATION)
app.command("train", rich_help_panel=OPERATION)(train.command)
app.command("demo", rich_help_panel=OPERATION)(demo.command)
app.command("up", rich_help_panel=SERVICE)(services.up)
app.command("down", rich_help_panel=SERVICE)(services.down)
app.command("api", rich_help_panel=SERVICE)(services.api)
app.add_typer(services.worker_app, name="worker", rich_help_panel=SERVICE)
app.command("janitor", rich_help_panel=SERVICE)(services.janitor)
app.command("flower", rich_help_panel=SERVICE)(services.flower)
app.command("migrate", rich_help_panel=SERVICE)(services.migrate)


def main() -> NoReturn:
    """The entry point. Ends the process with a code of ExitCode."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows an escape where it has no character, instead of failing.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an expected error is one line on stderr."""
    command = get_command(app)
    try:
        return int(command.main(globals_first(arguments), prog_name="waybill", standalone_mode=False) or 0)
    except typer.TyperException as error:
        return _wrong_usage(error)
    except WaybillError as error:
        output.say(f"waybill: {error}")
        return exit_code(error)
    except typer.Abort:
        return ExitCode.INTERRUPTED


def globals_first(arguments: Sequence[str]) -> list[str]:
    """Move the global options before the command, where Typer looks for them; what follows `--` stays."""
    moved: list[str] = []
    kept: list[str] = []
    rest = iter(arguments)
    for word in rest:
        name, equals, _ = word.partition("=")
        if word == "--":
            kept += [word, *rest]
        elif name in GLOBAL_OPTIONS:
            moved += [word] if equals else [word, *[value for value in [next(rest, None)] if value is not None]]
        else:
            kept.append(word)
    return [*moved, *kept]


def _wrong_usage(error: typer.TyperException) -> int:
    """A parser's complaint as one line with the command to ask for more; a bare group prints its help instead."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stdout.write(f"{error.message}\n")
        return ExitCode.USAGE
    path = context.command_path if context is not None else "waybill"
    output.say(f"waybill: {output.safe_line(error.format_message()).rstrip('.')}; `{path} --help` shows what is right")
    return ExitCode.USAGE


if __name__ == "__main__":
    main()
