"""eval assignment: how good plans for whole batches are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from router_service.cli import output
from router_service.cli.session import JsonFlag

DEFAULT_JOBS = 2_000
DEFAULT_SEEDS = 5

COLUMNS = ("scenario", "#cost / bound", "#quality", "#finish / deadline", "#cost error", "#finish error", "bound by")
AGAINST = ("scenario", "rule", "#saved by the plan", "#quality short", "#finish / deadline")
WORDS = (
    "\nbound: no assignment of the same quality in the same time costs less. errors: actual / quoted - 1, the worst of all seeds."
    "\ncheapest, weighed: one job at a time, to the next model with room (above a floor; by cost and quality)."
    "\npatient: one job at a time, to the best model that can still begin it in time; each rule's parameter is tuned on the very"
    "\nbatch to reach the plan's quality. quality short: how far it stays below all the same."
)


def assignment(
    jobs: Annotated[int, typer.Option("--jobs", min=50, help="Jobs of a batch.")] = DEFAULT_JOBS,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first seed.")] = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Batches of each scenario.")] = DEFAULT_SEEDS,
    scenario: Annotated[
        list[str] | None, typer.Option("--scenario", help="Which one; may be repeated. Without it all.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="A folder with train/ and public_test/, whose real answers are a scenario of their own."
        ),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="USD per million tokens, by data set and model (JSON); with --data.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write each way's cost over the bound as SVG.")] = None,
    json: JsonFlag = False,
) -> None:
    """Cost of planned batches against the bound and against per-job rules, and quotes against what came of them."""
    from router_service.evaluation import assignment as evaluation  # noqa: PLC0415 brings the solver

    wanted = tuple(scenario) if scenario else evaluation.NAMES
    if unknown := sorted(set(wanted) - set(evaluation.NAMES)):
        known = ", ".join(evaluation.NAMES)
        raise typer.BadParameter(f"no scenario {', '.join(unknown)}; there are {known}", param_hint="--scenario")
    if (data is None) != (prices is None):
        raise typer.BadParameter("give both --data and --prices, or neither", param_hint="--data")
    report = evaluation.run(jobs=jobs, seeds=range(seed, seed + seeds), scenarios=wanted)
    if data is not None and prices is not None:
        from router_service.evaluation import recorded_batches  # noqa: PLC0415 only here

        report["scenarios"]["recorded"] = recorded_batches.run(data, prices, jobs=jobs, seeds=range(seed, seed + seeds))
    if plot is not None:
        plot.write_text(_picture(report["scenarios"]))
    output.print_json(report) if json else _print(report["scenarios"])


def _print(scenarios: dict[str, Any]) -> None:
    output.print_table(COLUMNS, [scenario_row(name, each) for name, each in scenarios.items()])
    rows = [
        (
            name,
            rule,
            _share(against["saved"]),
            f"{against['quality_short']:.4f}",
            f"{against['finish_over_deadline']:.2f}",
        )
        for name, each in scenarios.items()
        for rule, against in each["against"].items()
    ]
    output.print_table(AGAINST, rows, title="\nAgainst per-job rules")
    output.print_table((), [], title=WORDS)


def scenario_row(name: str, report: dict[str, Any]) -> tuple[Any, ...]:
    """A scenario's line in the first table."""
    return (
        name,
        f"{report['cost_over_bound'][0]:.3f} ± {report['cost_over_bound'][1]:.3f}",
        f"{report['quality'][0]:.4f}",
        f"{report['finish_over_deadline'][0]:.3f}",
        f"{report['worst_cost_error']:.1%}",
        f"{report['worst_finish_error']:.1%}",
        ", ".join(report["binding"]),
    )


def _share(value: tuple[float, float] | None) -> str:
    return "quality not reached" if value is None else f"{value[0]:.1%} ± {value[1]:.1%}"


def _picture(scenarios: dict[str, Any]) -> str:
    from router_service.evaluation.bars import svg  # noqa: PLC0415 only here

    groups = {}
    for name, each in scenarios.items():
        plan = each["cost_over_bound"][0]
        saved = {rule: against["saved"] for rule, against in each["against"].items() if against["saved"] is not None}
        groups[name] = {"plan": plan} | {rule: plan / (1 - share[0]) for rule, share in saved.items()}
    return svg("Cost over the least possible, at equal quality", groups)
