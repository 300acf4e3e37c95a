"""train: a predictor of quality from labelled questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router_service.cli import output
from router_service.cli.exits import UsageProblemError, check_folder
from router_service.cli.session import JsonFlag

if TYPE_CHECKING:
    from router_service.prediction import Predictor
    from router_service.prediction.examples import Examples


def command(
    data: Annotated[
        list[Path],
        typer.Option("--data", exists=True, help="A benchmark folder, or JSON Lines of own labels; repeatable."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The predictor to write, .npz.")],
    landmarks: Annotated[
        int, typer.Option("--landmarks", min=16, help="More fit closer and make a larger file.")
    ] = 1000,
    general: Annotated[
        bool, typer.Option("--general", help="Only domains and difficulty: leave the models themselves out.")
    ] = False,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", help="old=new: a domain under another name; repeatable.")
    ] = None,
    note: Annotated[
        list[str] | None, typer.Option("--note", help="key=value to keep with it: a source, its licence, a date.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Learn domains, difficulty and each model's quality and length of answer from labelled questions."""
    from router_service.evaluation.benchmark_files import read_any  # noqa: PLC0415 brings numpy
    from router_service.prediction import training  # noqa: PLC0415 as above
    from router_service.prediction.examples import renamed  # noqa: PLC0415 as above

    check_folder(out, option="--out")
    parts = [renamed(read_any(path), _pairs("--rename", rename or [])) for path in data]
    about: dict[str, Any] = {"sources": [_source(part) for part in parts], **_pairs("--note", note or [])}
    recipe = training.Recipe(landmarks=landmarks)
    predictor = training.train(parts, recipe=recipe, general=general, about=about)
    predictor.save(out)
    report = _report(predictor, out, parts)
    output.print_json(report) if json else output.print_table(("", "#"), [(k, str(v)) for k, v in report.items()])


def _report(predictor: Predictor, out: Path, parts: list[Examples]) -> dict[str, Any]:
    return {
        "file": str(out),
        "bytes": out.stat().st_size,
        "hash": predictor.hash,
        "models": len(predictor.models),
        "domains": len(predictor.domains),
        "texts": sum(len(part.texts) for part in parts),
        **predictor.about["left_out"],
    }


def _source(part: Examples) -> dict[str, Any]:
    return {"name": part.source, "texts": len(part.texts), "models": len(part.models)}


def _pairs(option: str, pairs: list[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UsageProblemError(f"{option} {wrong[0]}: expected key=value")
    return dict(pair.split("=", 1) for pair in pairs)
