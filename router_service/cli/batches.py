"""submit, status, results, watch and cancel: the way of a batch file, and of a single job."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from router_service.cli import output
from router_service.cli.client import LONG_POLL_S, ApiClient, Json
from router_service.cli.exits import ExitCode, OperationFailedError, UsageProblemError
from router_service.cli.plans import Budget, FinishWithin, Policy, goal, plan_line
from router_service.cli.progress import ENDED_BATCH, ENDED_JOB, all_succeeded, follow
from router_service.cli.session import IdArgument, JsonFlag, connect

NEWEST = 10
MOST_REASONS = 4
SHOWN_PROBLEMS = 20
REFUSED = "no model on offer may take them; `waybill results BATCH --errors` tells why once the batch has ended"


def submit(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", show_default=False, help="One request a line.")],
    watch: Annotated[bool, typer.Option("--watch", help="Follow the batch until it has ended.")] = False,
    budget: Budget = None,
    finish_within: FinishWithin = None,
    policy: Policy = None,
    json: JsonFlag = False,
) -> None:
    """Upload a file of requests, start it as a batch, and print the batch's id."""
    with connect(context) as client:
        batch = submit_file(client, file, goal=goal(budget=budget, finish_within=finish_within, policy=policy))
        if not json:
            output.tell(batch["id"])
        elif not watch:
            output.print_json(batch)
        if watch:
            _finish_watch(client, batch["id"], as_json=json)
        elif batch["status"] == "failed":  # no line of it was taken
            report_problems(batch)
            raise typer.Exit(ExitCode.FAILED)
        elif refused := batch["request_counts"]["failed"]:
            output.say(f"{refused} of its {batch['request_counts']['total']} lines fail: {REFUSED}")


def submit_file(client: ApiClient, path: Path, *, goal: Json | None = None) -> Json:
    """Upload and start. Raises UsageProblemError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            uploaded = client.upload(file, name=path.name)
    except OSError as error:
        raise UsageProblemError(f"{path}: {error.strerror}; a readable .jsonl file would be right") from error
    return client.create_batch(uploaded["id"], metadata={"source": output.safe_line(path.name, width=200)}, goal=goal)


def watch(context: typer.Context, id: IdArgument, json: JsonFlag = False) -> None:  # noqa: A002 the word of the help
    """Live progress: counts by state, rate, time left, cost, per model. Ends with the batch or job."""
    with connect(context) as client:
        if is_job(id):
            _watch_job(client, id, as_json=json)
        else:
            _finish_watch(client, id, as_json=json)


def status(
    context: typer.Context,
    id: Annotated[  # noqa: A002 the word of the help
        str | None, typer.Argument(metavar="[ID]", show_default=False, help="batch_... or job_...")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """One job, one batch, or without an ID the newest batches, what waits in line, and the length of every queue."""
    with connect(context) as client:
        if id is None:
            _overview(client, as_json=json)
        elif is_job(id):
            job = client.job(id)
            output.print_json(job) if json else _print_fields(job, JOB_FIELDS)
        else:
            batch = client.batch(id)
            if json:
                output.print_json(batch)
            else:
                _print_fields(_flat_batch(batch) | {"plan": plan_line(client.batch_plan(id))}, BATCH_FIELDS)


def results(
    context: typer.Context,
    id: IdArgument,  # noqa: A002 the word of the help
    out: Annotated[Path | None, typer.Option("--out", help="Write to this file instead of stdout.")] = None,
    errors: Annotated[
        bool, typer.Option("--errors", help="The lines that failed instead of those that did not.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """The output lines of a batch as JSONL in input order, or the answer of a job as JSON."""
    del json  # results are JSON with and without it
    with connect(context) as client:
        if is_job(id):
            _job_result(client, id, out=out)
        else:
            _batch_results(client, id, out=out, errors=errors)


def cancel(context: typer.Context, id: IdArgument, json: JsonFlag = False) -> None:  # noqa: A002 the word of the help
    """Stop a job or a batch. What has finished stays."""
    with connect(context) as client:
        stopped = client.cancel_job(id) if is_job(id) else client.cancel_batch(id)
    output.print_json(stopped) if json else output.say(f"{stopped['id']}: {stopped['status']}")


def is_job(identifier: str) -> bool:
    """Tell the two kinds of ids apart by their prefix; nothing else is one."""
    if identifier.startswith("job_"):
        return True
    if identifier.startswith("batch_"):
        return False
    raise UsageProblemError(f"{identifier!r} is no id: batch_... or job_... would be right")


JOB_FIELDS = (
    "id", "status", "model", "routed_model", "batch_id", "custom_id", "attempts", "priority", "deadline", "residency",
    "created_at", "routed_at", "started_at", "finished_at", "error",
)  # fmt: skip
BATCH_FIELDS = (
    "id", "status", "total", "completed", "failed", "created_at", "in_progress_at", "completed_at", "failed_at",
    "expired_at", "cancelled_at", "input_file_id", "output_file_id", "error_file_id", "plan",
)  # fmt: skip


def _finish_watch(client: ApiClient, batch_id: str, *, as_json: bool) -> None:
    progress = follow(client, batch_id, as_json=as_json)
    if all_succeeded(progress):
        return
    report_problems(client.batch(batch_id))
    raise typer.Exit(ExitCode.FAILED)


def report_problems(batch: Json) -> None:
    """Say on stderr why a batch did not complete: the lines at fault, or how many jobs failed and where to look."""
    problems = (batch.get("errors") or {}).get("data") or []
    for problem in problems[:SHOWN_PROBLEMS]:
        where = f"line {problem['line']}: " if problem.get("line") is not None else ""
        output.say(f"{where}{problem.get('message')} ({problem.get('code')})")
    if len(problems) > SHOWN_PROBLEMS:
        output.say(f"... and {len(problems) - SHOWN_PROBLEMS} more")
    counts = batch.get("request_counts") or {}
    failed = f"{counts['failed']} of {counts['total']} jobs failed" if counts.get("total") else "no job was started"
    output.say(f"{batch['id']}: {batch['status']}, {failed}")
    if batch.get("error_file_id"):
        output.say(f"`waybill results {batch['id']} --errors` shows them")


def _watch_job(client: ApiClient, job_id: str, *, as_json: bool) -> None:
    last = None
    while True:
        job = client.job(job_id, wait_s=0 if last is None else LONG_POLL_S)
        if job["status"] != last:
            output.print_json_line(job) if as_json else output.say(
                f"{job['id']} {job['status']} {job['routed_model'] or ''}"
            )
        last = job["status"]
        if last in ENDED_JOB:
            break
    if last != "succeeded":
        raise _job_failure(job)


def _overview(client: ApiClient, *, as_json: bool) -> None:
    batches, queues, line = client.newest_batches(NEWEST), queue_lengths(client.models()), client.queue()
    if as_json:
        output.print_json({"batches": batches, "queues": queues, "line": line})
        return
    output.print_table(
        ("batch", "status", "#jobs", "#completed", "#failed", "created"),
        [_batch_row(batch) for batch in batches],
        title="Newest batches" if batches else "No batches yet: `waybill submit FILE.jsonl`",
    )
    output.out_console().print()
    output.print_table(
        ("model asked for", "#jobs", "#oldest"),
        [(row["model"], row["queued"], output.duration(row["oldest_s"])) for row in line["models"]],
        title="In line" if line["queued"] else "Nothing waits in line",
    )
    if line["held"]["queued"]:
        output.tell(held_line(line["held"]))
    output.out_console().print()
    output.print_table(
        ("deployment", "#waiting", "#in flight", "#dead letters", "held by"),
        [
            (row["deployment"], row["waiting"], row["in_flight"], row["dead_letter_queue"], row["held_by"])
            for row in queues
        ],
        title="Queues",
    )


def held_line(held: Json) -> str:
    """How many jobs no model may take, and the main reasons."""
    said = ", ".join(f"{each['reason']} ({each['queued']})" for each in held["reasons"][:MOST_REASONS])
    more = ", ..." if len(held["reasons"]) > MOST_REASONS else ""
    part = "" if held["looked_at"] >= held["queued"] else f" of {held['looked_at']} looked at"
    return (
        f"{held['queued']} of them wait since no model on offer may take them: {said}{more}{part}; "
        "`waybill explain JOB` tells what would have to change"
    )


def queue_lengths(models: list[Json]) -> list[Json]:
    """One row for each deployment, though several model names may lead to it."""
    rows = {
        deployment["id"]: {
            "deployment": deployment["id"],
            "queue": deployment["queue"],
            "waiting": deployment["waiting"],
            "in_flight": deployment["in_flight"],
            "held_by": deployment["held_by"],
            "dead_letter_queue": deployment["dead_letter_queue"],
        }
        for model in models
        for deployment in model["waybill"]["deployments"]
    }
    return [rows[name] for name in sorted(rows)]


def _batch_row(batch: Json) -> tuple[object, ...]:
    counts = batch.get("request_counts") or {}
    return (
        batch["id"], batch["status"], counts.get("total"), counts.get("completed"), counts.get("failed"),
        output.clock(batch["created_at"]),
    )  # fmt: skip


def _flat_batch(batch: Json) -> Json:
    return {**batch, **(batch.get("request_counts") or {})}


def _print_fields(document: Json, names: tuple[str, ...]) -> None:
    rows = [
        (name, output.clock(value) if name.endswith("_at") else value)
        for name in names
        if (value := document.get(name)) is not None
    ]
    output.print_table(("", ""), rows)


def _batch_results(client: ApiClient, batch_id: str, *, out: Path | None, errors: bool) -> None:
    batch = client.batch(batch_id)
    if batch["status"] not in ENDED_BATCH:
        raise OperationFailedError(f"{batch_id} is {batch['status']}: `waybill watch {batch_id}` waits for its end")
    file_id = batch.get("error_file_id" if errors else "output_file_id")
    if file_id is None and batch["status"] == "failed":
        report_problems(batch)
        raise typer.Exit(ExitCode.FAILED)
    if out is not None:
        with output.output_file(out) as file:
            for chunk in client.file_chunks(file_id) if file_id else ():
                file.write(chunk)
    elif file_id is not None:
        for line in client.file_lines(file_id):
            sys.stdout.write(output.safe_json_text(line.decode("utf-8", "replace")) + "\n")
    failed = (batch.get("request_counts") or {}).get("failed", 0)
    if failed and not errors:
        output.say(f"{failed} lines failed: `waybill results {batch_id} --errors` shows them")


def _job_result(client: ApiClient, job_id: str, *, out: Path | None) -> None:
    job = client.job(job_id)
    if job["status"] not in ENDED_JOB:
        raise OperationFailedError(f"{job_id} is {job['status']}: `waybill watch {job_id}` waits for its end")
    if job["result"] is None:
        raise _job_failure(job)
    body = job["result"]["body"]
    if out is None:
        output.print_json(body)
        return
    with output.output_file(out) as file:
        output.write_line(file, body)


def _job_failure(job: Json) -> OperationFailedError:
    error = job["error"] or {"code": job["status"], "message": "no more is known"}
    return OperationFailedError(
        f"{job['id']} {job['status']}: {error['message']} ({error['code']}); "
        f"`waybill explain {job['id']}` shows its way"
    )
