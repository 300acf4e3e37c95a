"""summarize: documents of any kind to summaries, in the order in which they were named."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from router_service.cli import output
from router_service.cli.exits import ExitCode, UsageProblemError
from router_service.cli.progress import follow
from router_service.cli.session import JsonFlag, connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.cli.client import ApiClient
    from router_service.cli.summaries import Summary

MAX_WORDS = 100


def command(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", show_default=False, help="Text, Markdown, reST, HTML, JSONL, folders; - is stdin."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="Write JSONL here instead of a listing to stdout.")] = None,
    model: Annotated[str, typer.Option("--model", help="A model of `waybill models`, or auto.")] = "auto",
    max_words: Annotated[int, typer.Option("--max-words", min=5, max=5000, help="Length of a summary.")] = MAX_WORDS,
    text_field: Annotated[
        str, typer.Option("--text-field", help="The field of a JSONL line that is its text.")
    ] = "text",
    json: JsonFlag = False,
) -> None:
    """Summarize documents. What is longer than the model's context is summarized in parts and then as a whole."""
    with connect(context) as client:
        if out is None:
            summaries = _run(client, paths, model=model, max_words=max_words, text_field=text_field)
            _print(summaries, as_json=json)
        else:
            try:
                with output.output_file(out) as file:
                    summaries = _run(client, paths, model=model, max_words=max_words, text_field=text_field)
                    write_summaries(file, summaries)
            except OSError as error:
                raise UsageProblemError(
                    f"--out {out}: {error.strerror}; a file that can be written would be right"
                ) from error
            output.say(f"{len(summaries)} lines in {out}")
    failed = [summary for summary in summaries if summary.summary is None]
    for summary in failed:
        output.say(f"{summary.source}: no summary: {summary.error}")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def write_summaries(file: IO[bytes], summaries: Sequence[Summary]) -> None:
    for summary in summaries:
        output.write_line(file, asdict(summary))


def _run(client: ApiClient, paths: Sequence[str], *, model: str, max_words: int, text_field: str) -> list[Summary]:
    from router_service.cli.documents import read_documents  # noqa: PLC0415 the parsers are slow to load
    from router_service.cli.summaries import Order, summarize, window_tokens  # noqa: PLC0415 as above

    models = client.models()
    if model != "auto" and model not in (names := [listed["id"] for listed in models]):
        raise UsageProblemError(
            f"--model {model}: there is no such model; one of auto, {', '.join(names)} would be right"
        )
    summaries = summarize(
        read_documents(paths, stdin=sys.stdin.buffer, text_field=text_field),
        client=client,
        order=Order(model_of=lambda _: model, max_words=max_words, window_tokens=window_tokens(models, model=model)),
        follow=lambda batch_id: follow(client, batch_id),
    )
    if not summaries:
        raise UsageProblemError(f"no documents in {', '.join(paths)}: .txt, .md, .rst, .html or .jsonl would be right")
    return summaries


def _print(summaries: Sequence[Summary], *, as_json: bool) -> None:
    for summary in summaries:
        if as_json:
            output.print_json_line(asdict(summary))
        elif summary.summary is not None:
            parts = f", {summary.parts} parts" if summary.parts > 1 else ""
            heading = f"{output.safe_line(summary.title)}  [{output.safe_line(summary.model or '')}{parts}]"
            sys.stdout.write(f"{heading}\n{output.safe_text(summary.summary)}\n\n")
