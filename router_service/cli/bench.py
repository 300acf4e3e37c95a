"""bench: measurements that print numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from router_service.cli import output
from router_service.cli.session import JsonFlag

app = typer.Typer(no_args_is_help=True, help="Measurements on this machine.")


@app.callback()
def group() -> None:
    """Keep `throughput` a name of its own: a lone command would take the group's place."""


@app.command()
def throughput(
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many simulated jobs with no latency.")] = 10_000,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Provider workers.")] = 1,
    json: JsonFlag = False,
) -> None:
    """Jobs per second through the whole stack, and the CPU that each process spent on a job."""
    from router_service.evaluation import throughput as bench  # noqa: PLC0415 brings the whole stack

    report = bench.run(jobs=jobs, workers=workers)
    if json:
        output.print_json(report)
        return
    output.print_table(("", "#"), [(name, value) for name, value in report.items()])
