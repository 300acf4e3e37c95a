"""quote: what a file of requests would come to as a batch; and what the plan of a batch has come to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from router_service.cli import output
from router_service.cli.client import ApiClient, Json
from router_service.cli.exits import OperationFailedError, UsageProblemError
from router_service.cli.session import JsonFlag, connect
from router_service.errors import InvalidRequestError, WaybillError
from router_service.jobs.windows import window_s

POLL_S = 1.0
PATIENCE_S = 600.0

Budget = Annotated[float | None, typer.Option("--budget", min=0.0, help="US dollars that the batch may cost.")]
FinishWithin = Annotated[
    str | None, typer.Option("--finish-within", metavar="TIME", help="When it must be done: 90s, 20m, 6h, 2d.")
]
Policy = Annotated[str | None, typer.Option("--policy", help="A policy of the catalog, or a strategy.")]


def quote(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", show_default=False, help="One request a line.")],
    budget: Budget = None,
    finish_within: FinishWithin = None,
    policy: Policy = None,
    json: JsonFlag = False,
) -> None:
    """What a batch of this file would cost, when it would be done, on which models, and what binds. Nothing is run."""
    wanted = goal(budget=budget, finish_within=finish_within, policy=policy)
    with connect(context) as client:
        told = ask(client, file, wanted)
    if json:
        output.print_json(told)
    elif told["status"] == "possible":
        _print(told)
    if told["status"] != "possible":
        raise OperationFailedError(f"{told['id']}: {told['note']}")


def ask(client: ApiClient, file: Path, wanted: Json) -> Json:
    """The answer to a quote of the file, which is deleted from the server: what the quote rests on was read out of it.

    Raises UsageProblemError for a file that cannot be read.
    """
    try:
        with file.open("rb") as stream:
            uploaded = client.upload(stream, name=file.name)
    except OSError as error:
        raise UsageProblemError(f"{file}: {error.strerror}; a readable .jsonl file would be right") from error
    try:
        told = client.quote({"input_file_id": uploaded["id"], **wanted})
    finally:
        _forget(client, uploaded["id"])
    return _answered(client, told)


def goal(*, budget: float | None, finish_within: str | None, policy: str | None) -> Json:
    """As the API takes them; what is not given is left out. Raises UsageProblemError."""
    wanted: Json = {}
    if budget is not None:
        wanted["budget_usd"] = budget
    if finish_within is not None:
        try:
            wanted["finish_within_s"] = window_s(finish_within)
        except InvalidRequestError as error:
            raise UsageProblemError(f"--finish-within {finish_within}: 90s, 20m, 6h or 2d would be right") from error
    if policy is not None:
        wanted["router"] = {"policy": policy}
    return wanted


def plan_line(told: Json) -> str | None:
    """What is to be said of a batch's plan on one line; None where it has none and asked for none."""
    if told["note"] is not None:
        return f"{told['status']}: {told['note']}"
    quoted, actual, errors = told["quoted"], told["actual"], told["errors"]
    if quoted is None:
        return None if told["status"] == "none" else told["status"]
    said = f"{output.usd(quoted['cost_usd']['expected'])} in {output.duration(quoted['finish_s']['expected'])} quoted"
    if errors is None:
        return f"{said}, {output.usd(actual['cost_usd'])} so far"
    came_to = f"{output.usd(actual['cost_usd'])} in {output.duration(actual['finish_s'])}"
    return f"{said}, came to {came_to} ({_percent(errors['cost'])} cost, {_percent(errors['finish'])} time)"


def _forget(client: ApiClient, file_id: str) -> None:
    try:
        client.delete_file(file_id)
    except WaybillError as error:
        output.say(f"the uploaded {file_id} stays on the server: {error}")


def _answered(client: ApiClient, told: Json) -> Json:
    until = time.monotonic() + PATIENCE_S
    while told["status"] == "pending":
        if time.monotonic() > until:
            raise OperationFailedError(f"{told['id']} is not answered after {PATIENCE_S:.0f} s: does a janitor run?")
        time.sleep(POLL_S)
        told = client.read_quote(told["id"])
    return told


def _print(told: Json) -> None:
    cost, finish = told["cost_usd"], told["finish_s"]
    rows = [
        ("cost", _between(output.usd, cost)),
        ("done in", _between(output.duration, finish)),
        ("mean quality", f"{told['quality']:.3f}"),
        ("models", ", ".join(f"{each['model']} {each['share']:.0%}" for each in told["models"])),
        *(("binding", said) for said in told["binding"]),
        ("above the best possible", f"{told['gap']:.1%} of the cost at most"),
    ]
    looked_at = "" if told["looked_at"] == told["jobs"] else f", {told['looked_at']} looked at"
    output.print_table(("", ""), rows, title=f"{told['jobs']} requests{looked_at}")
    if told.get("note"):
        output.say(told["note"])
    if told["refused"]:
        output.say(f"{told['refused']} more lines would fail: no model on offer may take them; they are not quoted")
    if not told["is_planned"]:
        output.say(
            "its policy deals out jobs one by one: with --budget, --finish-within or `plan: true` this would hold"
        )


def _between(show: Any, value: Json) -> str:
    return f"{show(value['expected'])} ({show(value['low'])} to {show(value['high'])})"


def _percent(error: float) -> str:
    return f"{error:+.0%}"
