"""dead-letters: what failed on its model; look at it, send it back, or give it up."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from router_service.cli import output
from router_service.cli.client import Json
from router_service.cli.exits import ExitCode, UsageProblemError
from router_service.cli.jobs import stamp
from router_service.cli.session import JsonFlag, connect

app = typer.Typer(no_args_is_help=True, help="Jobs that failed on their model: list, show, replay, discard.")

ModelFilter = Annotated[str | None, typer.Option("--model", help="Only those of this model.")]
CodeFilter = Annotated[str | None, typer.Option("--code", help="Only those with this error code.")]
BatchFilter = Annotated[str | None, typer.Option("--batch", help="Only those of this batch.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", show_default=False, help="dl_...")]
All = Annotated[bool, typer.Option("--all", help="All parked ones that the filters leave, instead of IDs.")]


@app.command("list")
def list_(
    context: typer.Context,
    model: ModelFilter = None,
    code: CodeFilter = None,
    batch: BatchFilter = None,
    state: Annotated[str | None, typer.Option("--state", help="open, rerouted, parked, replayed or discarded.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 100,
    json: JsonFlag = False,
) -> None:
    """Dead letters, newest first. --json prints one a line."""
    filters = {**_filters(model=model, code=code, batch=batch), **({"state": state} if state else {})}
    with connect(context) as client:
        letters = list(islice(client.dead_letters(filters), limit))
    if json:
        for letter in letters:
            output.print_json_line(letter)
        return
    output.print_table(
        ("dead letter", "job", "model", "#attempt", "state", "code", "message", "created"),
        [_row(letter) for letter in letters],
        title=None if letters else "No dead letters",
    )


@app.command()
def show(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", show_default=False, help="dl_...")],  # noqa: A002 the word of the help
    json: JsonFlag = False,
) -> None:
    """One dead letter with all that is known of it."""
    with connect(context) as client:
        letter = client.dead_letter(id)
    if json:
        output.print_json(letter)
        return
    output.print_table(
        ("", ""), [(name, stamp(value) if name.endswith("_at") else value) for name, value in letter.items()]
    )
    output.say(f"`waybill explain {letter['job_id']}` shows the way of its job")


@app.command()
def replay(
    context: typer.Context,
    ids: Ids = None,
    all: All = False,  # noqa: A002 the word of the flag
    to: Annotated[
        str | None, typer.Option("--to", help="Send them to this model instead of letting it be chosen.")
    ] = None,
    model: ModelFilter = None,
    code: CodeFilter = None,
    batch: BatchFilter = None,
    json: JsonFlag = False,
) -> None:
    """Put dead letters back in line, each with fresh tries."""
    selection = select(ids or [], everything=all, filters=_filters(model=model, code=code, batch=batch))
    with connect(context) as client:
        count = client.replay({**selection, **({"to_model": to} if to else {})})
    _report(count, word="replayed", wanted=len(ids or []), as_json=json)


@app.command()
def discard(
    context: typer.Context,
    ids: Ids = None,
    all: All = False,  # noqa: A002 the word of the flag
    model: ModelFilter = None,
    code: CodeFilter = None,
    batch: BatchFilter = None,
    json: JsonFlag = False,
) -> None:
    """Give dead letters up. Their jobs stay failed."""
    selection = select(ids or [], everything=all, filters=_filters(model=model, code=code, batch=batch))
    with connect(context) as client:
        count = client.discard(selection)
    _report(count, word="discarded", wanted=len(ids or []), as_json=json)


def select(ids: list[str], *, everything: bool, filters: dict[str, str]) -> Json:
    """The body that names dead letters: ids, or all of a kind, never both and never neither."""
    if ids and (everything or filters):
        raise UsageProblemError("IDs name dead letters already: leave --all and the filters out")
    if ids:
        return {"ids": ids}
    if not everything:
        raise UsageProblemError("name dead letters by ID, or say --all, with --model, --code or --batch to narrow it")
    return {"all": True, **filters}


def _filters(*, model: str | None, code: str | None, batch: str | None) -> dict[str, str]:
    named = {"model": model, "code": code, "batch_id": batch}
    return {name: value for name, value in named.items() if value is not None}


def _report(count: int, *, word: str, wanted: int, as_json: bool) -> None:
    if as_json:
        output.print_json({word: count})
    else:
        output.say(f"{count} {word}")
    if count < wanted:
        output.say(f"{wanted - count} of the {wanted} named are not in a state that can be {word}")
        raise typer.Exit(ExitCode.FAILED)


def _row(letter: Json) -> tuple[object, ...]:
    return (
        letter["id"],
        letter["job_id"],
        letter["model"],
        letter["attempt"],
        letter["state"],
        letter["error_code"],
        output.safe_line(letter["error_message"] or "", width=60),
        stamp(letter["created_at"]),
    )
