"""eval: how good the router's choices are, on questions whose answers by every model are known."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_service.cli import output
from router_service.cli.exits import UsageProblemError, check_folder
from router_service.cli.session import JsonFlag

if TYPE_CHECKING:
    from router_service.evaluation.routing import Expected

app = typer.Typer(no_args_is_help=True, help="How good routing is, on recorded answers.")

TrainOption = Annotated[
    list[Path], typer.Option("--train", exists=True, file_okay=False, help="A folder to train on; may be repeated.")
]
PricesOption = Annotated[Path, typer.Option("--prices", exists=True, dir_okay=False, help="USD per million tokens.")]
PoolOption = Annotated[str | None, typer.Option("--pool", help="Which pool of the prices; else the one that fits.")]
ModelsOption = Annotated[str, typer.Option("--models", help="Only these models, separated by commas.")]
WithoutOption = Annotated[str, typer.Option("--without", help="Without these models, separated by commas.")]


@app.command()
def routing(  # noqa: PLR0917 a command has as many options as it has
    train: TrainOption,
    prices: PricesOption,
    test: Annotated[
        Path | None, typer.Option("--test", exists=True, file_okay=False, help="The folder to route.")
    ] = None,
    pool: PoolOption = None,
    models: ModelsOption = "",
    without: WithoutOption = "",
    choices: Annotated[Path | None, typer.Option("--choices", help="Write question_id,lambda,model as CSV.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw cost against quality as SVG.")] = None,
    category_given: Annotated[
        bool, typer.Option("--category-given", help="Let the router see each question's category.")
    ] = False,
    leave_one_out: Annotated[
        str | None, typer.Option("--leave-one-out", help="`category`: each category by training on the others.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Train on labelled questions, route others by their text alone, compare with what every model answered."""
    from router_service.evaluation import routing_report  # noqa: PLC0415 brings numpy

    if leave_one_out not in {None, "category"}:
        raise UsageProblemError(f"--leave-one-out {leave_one_out}: only `category` can be left out")
    if (test is None) == (leave_one_out is None):
        raise UsageProblemError("give either --test FOLDER or --leave-one-out category")
    check_folder(choices, option="--choices")
    check_folder(plot, option="--plot")
    inputs = routing_report.read(train, prices, pool=pool, only=_names(models), without=_names(without))
    if test is None:
        report = routing_report.leave_out(inputs)
    else:
        report, expected, ids = routing_report.run(inputs, test, category_given=category_given)
        if choices is not None:
            _write_choices(choices, expected, ids, list(inputs.prices))
    if plot is not None and "curve" in report:
        from router_service.evaluation.frontier_plot import svg  # noqa: PLC0415 only here

        plot.write_text(svg(report), encoding="utf-8")
    output.print_json(report) if json else _print(report)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _write_choices(path: Path, expected: Expected, ids: tuple[str, ...], models: list[str]) -> None:
    from router_service.evaluation.routing import choose, lambdas  # noqa: PLC0415 brings numpy

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("question_id", "lambda", "model"))
        for setting in lambdas(expected):
            chosen = choose(expected, setting)
            writer.writerows((each, f"{setting:.6g}", models[column]) for each, column in zip(ids, chosen, strict=True))


def _print(report: dict[str, Any]) -> None:
    """Each part of the report as a table."""
    for name, part in report.items():
        if name == "curve":
            continue
        if isinstance(part, list) and part:
            columns = list(part[0])
            rows = [[_plain(row[column]) for column in columns] for row in part]
            output.print_table(
                [column if column in {"model", "category"} else f"#{column}" for column in columns],
                rows,
                title=f"\n{name}",
            )
        elif isinstance(part, dict):
            output.print_table(("", "#"), [(key, _plain(value)) for key, value in part.items()], title=f"\n{name}")
        elif part is not None:
            output.print_table(("", "#"), [(name, _plain(part))])


def _plain(value: Any) -> str:
    match value:
        case None:
            return "never"
        case float():
            return f"{value:.4g}"
        case list():
            return " to ".join(_plain(each) for each in value)
        case _:
            return str(value)


@app.command()
def robustness(
    train: TrainOption,
    test: Annotated[Path, typer.Option("--test", exists=True, file_okay=False, help="The folder to reword.")],
    prices: PricesOption,
    pool: PoolOption = None,
    models: ModelsOption = "",
    without: WithoutOption = "",
    json: JsonFlag = False,
) -> None:
    """How many choices stay the same when a question is put in other words."""
    from router_service.evaluation import robustness as ways  # noqa: PLC0415 brings numpy
    from router_service.evaluation import routing_report  # noqa: PLC0415 as above
    from router_service.evaluation.benchmark_files import read_folder  # noqa: PLC0415 as above

    inputs = routing_report.read(train, prices, pool=pool, only=_names(models), without=_names(without))
    report = ways.measure([inputs.target, *inputs.others], read_folder(test), inputs.prices)
    output.print_json(report) if json else _print(report)


@app.command()
def routellm(
    files: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="CSV: prompt, domain?, two <model>_correct.")
    ],
    labels: Annotated[
        int, typer.Option("--labels", min=20, help="How many prompts to train on; the rest is tested.")
    ] = 1500,
    contaminated: Annotated[
        Path | None, typer.Option("--contaminated", exists=True, help="JSON Lines of prompts to drop.")
    ] = None,
    train: Annotated[
        list[Path] | None, typer.Option("--train", exists=True, file_okay=False, help="Also learn from these folders.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Draws the prompts to train on.")] = 0,
    json: JsonFlag = False,
) -> None:
    """Two models: how much of the strong one's quality is recovered at which share of calls to it."""
    from router_service.evaluation import routellm as two  # noqa: PLC0415 brings numpy
    from router_service.evaluation.benchmark_files import read_folder  # noqa: PLC0415 as above

    also = [read_folder(folder).examples for folder in train or ()]
    report = two.measure(two.read(files, contaminated), labels=labels, seed=seed, also=also)
    output.print_json(report) if json else _print(report)
