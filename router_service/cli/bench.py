"""bench: measurements that print numbers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from router_service.cli import output
from router_service.cli.session import JsonFlag

app = typer.Typer(no_args_is_help=True, help="Measurements on this machine.")

WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Provider workers.")]


class ShapeName(StrEnum):
    """The loads of `bench limits`; `backlog` only where it is named."""

    RPM = "rpm"
    TPM = "tpm"
    SLOTS = "slots"
    MODELS = "models"
    MIXED = "mixed"
    TENANTS = "tenants"
    BACKLOG = "backlog"


DEFAULT_SIZES = [10_000, 100_000, 1_000_000]
DEFAULT_BACKLOG = 100_000
SEEN = ("#429s", "in flight / cap", "fullest")  # by the provider
DEFAULT_SHAPES: list[ShapeName] = [shape for shape in ShapeName if shape is not ShapeName.BACKLOG]

EXTRAS = (
    "bound_because",
    "first_call_after_s",
    "completed_after_s",
    "interactive",
    "jain",
    "cpu_ms_per_job",
    "memory_mb_by_process",
)
BOUNDS = (
    "\nbound: the least for a client that paces itself, with no more than burst_s seconds' worth of a rate at once; "
    "the ratio is over it. unpaced: the least that the provider's own rules would allow."
)


@app.command()
def throughput(
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many simulated jobs with no latency.")] = 10_000,
    workers: WorkersOption = 1,
    json: JsonFlag = False,
) -> None:
    """Jobs per second through the whole stack, and the CPU that each process spent on a job."""
    from router_service.evaluation import throughput as bench  # noqa: PLC0415 brings the whole stack

    report = bench.run(jobs=jobs, workers=workers)
    if json:
        output.print_json(report)
        return
    output.print_table(("", "#"), [(name, value) for name, value in report.items()])


@app.command()
def routing(
    models: Annotated[int, typer.Option("--models", min=1, max=1000, help="How many models are on offer.")] = 20,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many jobs are decided on in a round.")] = 2000,
    json: JsonFlag = False,
) -> None:
    """CPU of a routing decision by strategy, of keeping it, and of reading what a request says."""
    from router_service.evaluation import decisions as bench  # noqa: PLC0415 loads the language model

    report = bench.run(models=models, jobs=jobs)
    if json:
        output.print_json(report)
        return
    output.print_table(("", "#"), [(name, value) for name, value in report.items()])


@app.command()
def replay(
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many jobs are routed.")] = 10_000,
    routers: Annotated[int, typer.Option("--routers", min=1, max=4, help="Router workers.")] = 3,
    json: JsonFlag = False,
) -> None:
    """Whether decisions taken under load by several routers come out the same when they are taken again."""
    from router_service.evaluation import replays as bench  # noqa: PLC0415 brings the whole stack

    report = bench.run(jobs=jobs, routers=routers)
    if json:
        output.print_json(report)
        return
    output.print_table(("", "#"), [(name, value) for name, value in report.items()])


@app.command()
def quotes(
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=20_000, help="Lines of the batch.")] = 2000,
    within: Annotated[
        float | None,
        typer.Option("--within", min=1, help="Seconds in which it is to be done; without it cost decides."),
    ] = 40,
    batches: Annotated[int, typer.Option("--batches", min=1, help="How often, one after the other.")] = 3,
    json: JsonFlag = False,
) -> None:
    """How far off a quote is from what the batch then costs and takes, on simulated models with limits."""
    from router_service.evaluation import quotes as bench  # noqa: PLC0415 brings the whole stack

    report = bench.run(jobs=jobs, within_s=within, batches=batches)
    output.print_json(report) if json else _print_any("quotes", report)


@app.command()
def limits(
    shape: Annotated[
        list[ShapeName], typer.Option("--shape", help="Which load; may be repeated. Without it all but `backlog`.")
    ] = DEFAULT_SHAPES,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=3000, help="How long the lower bound of each shape is to be.")
    ] = 30,
    workers: WorkersOption = 1,
    routers: Annotated[int, typer.Option("--routers", min=1, max=2, help="Router workers.")] = 1,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Send a single job every half second beside the batch.")
    ] = False,
    backlog: Annotated[
        int, typer.Option("--backlog", min=1, help="How many jobs wait in the shape `backlog`.")
    ] = DEFAULT_BACKLOG,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write the use of the limits over time as SVG.")] = None,
    json: JsonFlag = False,
) -> None:
    """How close to a provider's limits the stack runs: makespan / lower bound, as a provider of our own saw it."""
    from router_service.evaluation import limits as bench  # noqa: PLC0415 brings the whole stack
    from router_service.evaluation import waits  # noqa: PLC0415 as above

    names = list(dict.fromkeys(str(each) for each in shape if each is not ShapeName.BACKLOG))
    report = bench.run(shapes=names, seconds=seconds, workers=workers, routers=routers, interactive=interactive)
    if ShapeName.BACKLOG in shape:
        report["backlog"] = waits.run(jobs=backlog, workers=workers, routers=routers)
    if plot is not None:
        plot.write_text(_picture(report["shapes"]))
    if json:
        output.print_json(report)
        return
    if names:
        _print_shapes(report["shapes"])
    if "backlog" in report:
        _print_any("backlog", report["backlog"])


@app.command()
def backlog(
    size: Annotated[
        list[int], typer.Option("--size", min=1, help="Queued jobs; may be repeated for a curve.")
    ] = DEFAULT_SIZES,
    json: JsonFlag = False,
) -> None:
    """What taking, routing and polling cost for each job as the backlog grows."""
    from router_service.evaluation import backlog as bench  # noqa: PLC0415 brings the whole stack

    report = bench.run(sizes=size)
    output.print_json(report) if json else _print_any("backlog", report)


def _print_shapes(shapes: dict[str, Any]) -> None:
    from router_service.evaluation.plot import sparkline  # noqa: PLC0415 only here

    columns = ("shape", "#jobs", "#makespan s", "#bound s", "bound by", "#ratio", "#unpaced s", *SEEN)
    output.print_table(columns, [shape_row(name, report) for name, report in shapes.items()])
    output.print_table((), [], title=BOUNDS)
    use = [
        (name, model, limit, sparkline(series))
        for name, report in shapes.items()
        for model, used in report["utilisation"].items()
        for limit, series in used.items()
    ]
    output.print_table(
        ("shape", "model", "limit", "use over time"), use, title="\nFull block: 7/8 of the limit or more"
    )
    for name, report in shapes.items():
        told = [(key, _plain(report[key])) for key in EXTRAS if report[key] is not None]
        output.print_table(("", ""), told, title=f"\n{name}")


def shape_row(name: str, report: dict[str, Any]) -> tuple[Any, ...]:
    """A shape's line in the table. `fullest`: the fullest minute that the provider saw, as a part of its limit."""
    minutes = [windows.get(rate, 0.0) for windows in report["fullest_windows"].values() for rate in ("rpm", "tpm")]
    return (
        name,
        report["jobs"],
        f"{report['makespan_s']:.2f}",
        f"{report['bound_s']:.2f}",
        report["bound_by"],
        f"{report['ratio']:.3f}",
        "-" if report["unpaced_bound_s"] is None else f"{report['unpaced_bound_s']:.2f}",
        report["provider_429s"],
        ", ".join(f"{each['most']}/{each['cap']}" for each in report["in_flight"].values()),
        f"{max(minutes):.1%}" if any(minutes) else "-",
    )


def _plain(value: Any) -> str:
    """A mapping as words: `key value, key value`."""
    return ", ".join(f"{key} {_plain(part)}" for key, part in value.items()) if isinstance(value, dict) else str(value)


def _print_any(title: str, report: dict[str, Any]) -> None:
    """Plain values as one table; each list of mappings as one of its own."""
    tables = {name: value for name, value in report.items() if value and isinstance(value, list)}
    words = [(name, _plain(value)) for name, value in report.items() if name not in tables]
    output.print_table(("", ""), words, title=f"\n{title}")
    for name, rows in tables.items():
        if all(isinstance(row, dict) for row in rows):
            columns = list(rows[0])
            output.print_table(columns, [[row.get(column) for column in columns] for row in rows], title=f"\n{name}")
        else:
            output.print_table(("",), [(row,) for row in rows], title=f"\n{name}")


def _picture(shapes: dict[str, Any]) -> str:
    from router_service.evaluation.plot import Panel, svg  # noqa: PLC0415 only here

    return svg(
        [
            Panel(
                title=f"{name}: makespan {report['makespan_s']:.1f} s, bound {report['bound_s']:.1f} s by {report['bound_by']}",
                series={
                    f"{model} {limit}": series
                    for model, used in report["utilisation"].items()
                    for limit, series in used.items()
                },
            )
            for name, report in shapes.items()
        ]
    )
