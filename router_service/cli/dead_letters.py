"""dead-letters: what failed on its model; look at it, send it back, or give it up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer

from router_service.cli import output
from router_service.cli.client import Json
from router_service.cli.exits import ExitCode, UsageProblemError
from router_service.cli.jobs import print_attempts, stamp
from router_service.cli.session import JsonFlag, connect

app = typer.Typer(no_args_is_help=True, help="Jobs that failed on their model: list, show, replay, discard.")

ModelFilter = Annotated[str | None, typer.Option("--model", help="Only those of this model.")]
CodeFilter = Annotated[str | None, typer.Option("--code", help="Only those with this error code.")]
BatchFilter = Annotated[str | None, typer.Option("--batch", help="Only those of this batch.")]
JobFilter = Annotated[str | None, typer.Option("--job", help="Only those of this job.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only those made then or later: 90m, 6h, 2d ago, or 2026-01-31T12:00Z.")
]
Until = Annotated[str | None, typer.Option("--until", help="Only those made before that.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID...]", show_default=False, help="dl_...")]
All = Annotated[bool, typer.Option("--all", help="All parked ones that the filters leave, instead of IDs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count what would be touched, and touch nothing.")]
AGO = re.compile(r"([0-9]{1,8})([smhd])")
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command("list")
def list_(
    context: typer.Context,
    *,
    model: ModelFilter = None,
    code: CodeFilter = None,
    batch: BatchFilter = None,
    job: JobFilter = None,
    since: Since = None,
    until: Until = None,
    state: Annotated[str | None, typer.Option("--state", help="open, rerouted, parked, replayed or discarded.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, newest first.")] = 100,
    json: JsonFlag = False,
) -> None:
    """Dead letters, newest first. --json prints one a line."""
    filters = _filters(model=model, code=code, batch=batch, job=job, since=since, until=until)
    with connect(context) as client:
        letters = list(islice(client.dead_letters(filters | ({"state": state} if state else {})), limit))
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
    """One dead letter with the evidence: every call of its job to that model."""
    with connect(context) as client:
        letter = client.dead_letter(id)
    if json:
        output.print_json(letter)
        return
    calls = letter.pop("attempts")
    output.print_table(
        ("", ""),
        [(name, stamp(value) if name.endswith("_at") and value else value) for name, value in letter.items()],
    )
    print_attempts(calls)
    output.say(f"`waybill explain {letter['job_id']}` shows the way of its job")


@app.command()
def replay(
    context: typer.Context,
    *,
    ids: Ids = None,
    all: All = False,  # noqa: A002 the word of the flag
    to: Annotated[
        str | None, typer.Option("--to", help="Send them to this model instead of letting it be chosen.")
    ] = None,
    model: ModelFilter = None,
    code: CodeFilter = None,
    batch: BatchFilter = None,
    job: JobFilter = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    json: JsonFlag = False,
) -> None:
    """Put dead letters back in line, each with fresh tries. Those that are parked meanwhile are left for the next time."""
    filters = _filters(model=model, code=code, batch=batch, job=job, since=since, until=until)
    selection = select(ids or [], everything=all, filters=filters)
    with connect(context) as client:
        answers = client.replay(selection | ({"to_model": to} if to else {}) | ({"dry_run": True} if dry_run else {}))
        _report(answers, done="replayed", would="would_replay", wanted=len(ids or []), as_json=json)


@app.command()
def discard(
    context: typer.Context,
    *,
    ids: Ids = None,
    all: All = False,  # noqa: A002 the word of the flag
    model: ModelFilter = None,
    code: CodeFilter = None,
    batch: BatchFilter = None,
    job: JobFilter = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    json: JsonFlag = False,
) -> None:
    """Give dead letters up. Their jobs stay failed."""
    filters = _filters(model=model, code=code, batch=batch, job=job, since=since, until=until)
    selection = select(ids or [], everything=all, filters=filters)
    with connect(context) as client:
        answers = client.discard(selection | ({"dry_run": True} if dry_run else {}))
        _report(answers, done="discarded", would="would_discard", wanted=len(ids or []), as_json=json)


def select(ids: list[str], *, everything: bool, filters: dict[str, str]) -> Json:
    """The body that names dead letters: ids, or all of a kind, never both and never neither."""
    if ids and (everything or filters):
        raise UsageProblemError("IDs name dead letters already: leave --all and the filters out")
    if ids:
        return {"ids": ids}
    if not everything:
        raise UsageProblemError("name dead letters by ID, or say --all, with --model, --code or --batch to narrow it")
    return {"all": True, **filters}


def moment(text: str, *, now: datetime, option: str) -> str:
    """ISO 8601 for a time, or for one so long ago. A time without an offset is UTC, as all that we print."""
    try:
        if match := AGO.fullmatch(text):
            return (now - timedelta(seconds=int(match[1]) * UNITS_S[match[2]])).isoformat()
        read = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageProblemError(
            f"{option} {text}: a time such as 2026-01-31T12:00Z, or 90m, 6h, 2d ago would be right"
        ) from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).isoformat()


def _filters(
    *,
    model: str | None,
    code: str | None,
    batch: str | None,
    job: str | None,
    since: str | None,
    until: str | None,
) -> dict[str, str]:
    now = datetime.now(UTC)
    named = {
        "model": model,
        "code": code,
        "batch_id": batch,
        "job_id": job,
        "since": since and moment(since, now=now, option="--since"),
        "until": until and moment(until, now=now, option="--until"),
    }
    return {name: value for name, value in named.items() if value is not None}


def _report(answers: Iterator[Json], *, done: str, would: str, wanted: int, as_json: bool) -> None:
    """Count what was done, part by part, and say how far it is where that takes long."""
    count = 0
    for answer in answers:
        count += answer[done]
        if would in answer:
            output.print_json(answer) if as_json else output.say(f"{answer[would]} would be {done}")
            return
        if answer.get("has_more"):
            output.say(f"{count} {done} so far")
    output.print_json({done: count}) if as_json else output.say(f"{count} {done}")
    if count < wanted:
        output.say(f"{wanted - count} of the {wanted} named are not in a state that can be {done}")
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
