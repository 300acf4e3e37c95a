"""replay and what-if: stored decisions taken again, as they were or under another policy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from router_service.catalog.load import parse_document
from router_service.cli import output
from router_service.cli.client import Json
from router_service.cli.dead_letters import Since, Until, moment
from router_service.cli.exits import OperationFailedError, UsageProblemError
from router_service.cli.session import JsonFlag, connect

Limit = Annotated[int, typer.Option("--limit", min=1, max=20_000, help="At most so many decisions.")]
MOST_SHOWN = 10
ONE_POLICY = (
    "the file must be one policy, a mapping such as `quality_target: 0.95`: what stands in a catalog under "
    "router_settings.router.policies.<name>"
)


def replay(
    context: typer.Context,
    which: Annotated[str, typer.Argument(metavar="JOB|BATCH", show_default=False, help="job_... or batch_...")],
    limit: Limit = 10_000,
    json: JsonFlag = False,
) -> None:
    """Take stored decisions again from what was stored with them. Fails where one comes out otherwise."""
    with connect(context) as client:
        told = client.replay_decisions(_of(which) | {"limit": limit})
    if json:
        output.print_json(told)
    else:
        output.tell(f"{told['same']} of {told['decisions']} decisions came out the same")
        for each in told["different"][:MOST_SHOWN]:
            for line in each["differences"]:
                output.tell(f"{each['job_id']} epoch {each['epoch']}: {line}")
    if told["different"]:
        raise OperationFailedError(f"{told['decisions'] - told['same']} decisions came out otherwise")


def what_if(
    context: typer.Context,
    policy: Annotated[Path, typer.Option("--policy", help="A YAML file with a routing policy.")],
    batch: Annotated[str | None, typer.Option("--batch", help="Only the decisions on this batch.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 10_000,
    json: JsonFlag = False,
) -> None:
    """Decide again under another policy: what changes in cost, quality, latency and place. Nothing is moved."""
    try:
        document = parse_document(policy.read_text(encoding="utf-8-sig"), source=str(policy), wanted=ONE_POLICY)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageProblemError(f"--policy {policy}: {why}") from error
    if "router_settings" in document or "policies" in document:
        raise UsageProblemError(f"--policy {policy}: {ONE_POLICY}")
    which: Json = {"limit": limit} | (_of(batch) if batch else {})
    which |= _period(since, until)
    with connect(context) as client:
        told = client.what_if(document, which)
    if json:
        output.print_json(told)
        return
    print_comparison(told)


def shadow(
    context: typer.Context, since: Since = None, until: Until = None, limit: Limit = 10_000, json: JsonFlag = False
) -> None:
    """What the shadow policy in the catalog would have done, on the jobs that it looked at. Nothing is moved."""
    which: Json = {"limit": limit} | _period(since, until)
    with connect(context) as client:
        told = client.shadow(which)
    if json:
        output.print_json(told)
        return
    print_comparison(told)


def print_comparison(told: Json) -> None:
    """Both sides in one table, and below it where jobs would move. Jobs without a model are told, and in no mean and no sum."""
    before, after = told["before"], told["after"]
    models = sorted({*before["models"], *after["models"]})
    places = sorted({*before["places"], *after["places"]})
    rows = [
        ("cost USD", output.usd(before["cost_usd"]), output.usd(after["cost_usd"])),
        ("mean quality", _number(before["quality"]), _number(after["quality"])),
        ("mean latency s", _number(before["latency_s"]), _number(after["latency_s"])),
        *((f"jobs on {name}", before["models"].get(name, 0), after["models"].get(name, 0)) for name in models),
    ]
    rows += [(f"jobs in {name}", before["places"].get(name, 0), after["places"].get(name, 0)) for name in places]
    if before["unplaced"] or after["unplaced"]:
        rows.append(("jobs without a model", before["unplaced"], after["unplaced"]))
    output.print_table(
        ("", "#as it was", "#under this policy"),
        rows,
        title=f"{told['changed']} of {told['decisions']} decisions would change",
    )
    if before["unplaced"] != after["unplaced"]:
        output.tell(
            f"cost and means are of the jobs that have a model: {before['placed']} as it was, {after['placed']} under this policy"
        )
    if told["blind"]:
        output.tell(
            f"{told['blind']} of the requests were not read at the time: this policy looks at words, and knows none of theirs"
        )
    for move in told["moves"][:MOST_SHOWN]:
        output.tell(f"{move['jobs']} from {move['from']} to {move['to']}")


def _period(since: str | None, until: str | None) -> Json:
    now, given = datetime.now(UTC), {"since": since, "until": until}
    return {name: moment(text, now=now, option=f"--{name}") for name, text in given.items() if text}


def _of(identity: str) -> Json:
    kind = identity.partition("_")[0]
    if kind not in {"job", "batch"}:
        raise UsageProblemError(f"{identity!r} is neither a job nor a batch: job_... or batch_... would be right")
    return {f"{kind}_id": identity}


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
