"""models: the catalog as the service has it, with the counters of this moment."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from router_service.cli import output
from router_service.cli.client import ApiClient, Json
from router_service.cli.session import JsonFlag, connect

REFRESH_S = 1.0
COLUMNS = (
    "model", "deployment", "#context", "#$/M in", "#$/M out", "quality", "#slots", "#rpm", "#tpm", "#queue", "#dead",
    "pause",
)  # fmt: skip


def command(
    context: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until Ctrl-C.")] = False,
    json: JsonFlag = False,
) -> None:
    """The models on offer: prices, limits, slots in use, queue lengths, pauses."""
    with connect(context) as client:
        if watch:
            _watch(client, as_json=json)
        elif json:
            output.print_json({"object": "list", "data": client.models()})
        else:
            output.out_console().print(table(client.models()))


def table(models: list[Json]) -> Table:
    rows = [_row(model, deployment) for model in models for deployment in model["waybill"]["deployments"]]
    return output.plain_table(COLUMNS, rows)


def _watch(client: ApiClient, *, as_json: bool) -> None:
    if as_json:
        while True:
            output.print_json_line({"object": "list", "data": client.models()})
            time.sleep(REFRESH_S)
    with Live(table(client.models()), console=output.out_console(), auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH_S)
            live.update(table(client.models()), refresh=True)


def _row(model: Json, deployment: Json) -> tuple[object, ...]:
    slots = deployment["slots"]
    return (
        model["id"],
        deployment["id"],
        deployment["max_input_tokens"],
        _per_million(deployment["input_cost_per_token"]),
        _per_million(deployment["output_cost_per_token"]),
        _quality(deployment["quality"]),
        f"{deployment['in_flight']}/{'∞' if slots is None else slots}",
        deployment["rpm"],
        deployment["tpm"],
        deployment["queue"],
        deployment["dead_letter_queue"],
        f"{deployment['paused_s']:.0f} s" if deployment["paused_s"] else None,
    )


def _per_million(usd_per_token: float | None) -> str | None:
    return None if usd_per_token is None else f"{usd_per_token * 1e6:g}"


def _quality(quality: object) -> str | None:
    """One number, or one for each task."""
    if isinstance(quality, dict):
        return " ".join(f"{task} {value}" for task, value in quality.items())
    return None if quality is None else str(quality)
