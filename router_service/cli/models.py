"""models: the catalog as the service has it, with what is happening at this moment."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from router_service.cli import output
from router_service.cli.client import ApiClient, Json
from router_service.cli.session import JsonFlag, connect
from router_service.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

REFRESH_S = 1.0
WINDOW = 5  # refreshes that a rate is taken over: workers tell their counts every second, each in its own
LINE_EVERY = 5  # refreshes between two looks at the line in Postgres, which takes longer the longer it is
RATES = ("rpm", "tpm", "itpm", "otpm", "rpd", "tpd")
OFFER = (
    "model", "deployment", "#context", "#$/M in", "#$/M out", "quality", "#slots", "limits", "#queue", "#dead", "held by",
    "#share", "#s/call", "#p95 s",
)  # fmt: skip
MOMENT = (
    "deployment", "#slots", "#queue", "#dead", "held by", "#share", "#s/call", "#calls/s", "#429/s", "jobs wait for",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Per second. `waits`: how many jobs waited at a time, by what for: seconds waited in a second."""

    calls: float = 0.0
    throttled: float = 0.0
    waits: Mapping[str, float] = field(default_factory=dict)


def command(
    context: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", help="What happens now, refreshed every second until Ctrl-C.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """The models on offer: prices, limits, slots in use, what waits, and what holds it up."""
    with connect(context) as client:
        if watch:
            _watch(client, as_json=json)
        elif json:
            output.print_json(client.model_list())
        else:
            _print_offer(client.models())


def pace(before: Json | None, after: Json | None, *, seconds: float) -> Pace:
    """From a deployment's `counts` at two moments. A count that went down began anew: Redis had lost it."""
    if before is None or after is None or seconds <= 0:
        return Pace()

    def per_s(old: float, new: float) -> float:
        return (new - old if new >= old else new) / seconds

    return Pace(
        calls=per_s(before["calls"], after["calls"]),
        throttled=per_s(before["throttled"], after["throttled"]),
        waits={
            reason: per_s(before["wait_seconds"].get(reason, 0.0), waited)
            for reason, waited in after["wait_seconds"].items()
        },
    )


def offer_rows(models: Sequence[Json]) -> list[tuple[object, ...]]:
    """In the order of OFFER."""
    return [_offer_row(model, deployment) for model in models for deployment in model["waybill"]["deployments"]]


def moment_rows(models: Sequence[Json], paces: Mapping[str, Pace]) -> list[tuple[object, ...]]:
    """In the order of MOMENT; each deployment once."""
    return [_moment_row(each, paces.get(each["id"], Pace())) for each in _deployments(models)]


def trouble_line(listed: Json, line: Json | None) -> str:
    """What waits in Postgres, and what went wrong since Redis was last empty."""
    counts = [each["counts"] for each in _deployments(listed["data"]) if each["counts"]]
    recovered = (listed.get("waybill") or {}).get("recovered") or {}
    mended = ", ".join(f"{what.replace('_', ' ')} {count:.0f}" for what, count in sorted(recovered.items()) if count)
    parts = [
        *([_line(line)] if line is not None else ()),
        f"stale finishes {sum(each['stale_finishes'] for each in counts):.0f}",
        f"duplicate calls {sum(each['duplicate_calls'] for each in counts):.0f}",
        f"mended: {mended or 'nothing'}",
    ]
    return " · ".join(parts)


def _line(line: Json) -> str:
    oldest = f", the oldest for {output.duration(line['oldest_s'])}" if line["queued"] else ""
    return f"in line {line['queued']:,}{oldest}"


def _print_offer(models: list[Json]) -> None:
    """Columns that say nothing at this moment are left out."""
    rows = offer_rows(models)
    kept = [
        index
        for index, name in enumerate(OFFER)
        if any(row[index] is not None for row in rows)
        and not (name == "deployment" and all(r[0] == r[1] for r in rows))
    ]
    output.print_table([OFFER[index] for index in kept], [[row[index] for index in kept] for row in rows])


def _watch(client: ApiClient, *, as_json: bool) -> None:
    if as_json:
        while True:
            output.print_json_line(client.model_list())
            time.sleep(REFRESH_S)
    views = screens(client)
    with Live(next(views), console=output.out_console(), auto_refresh=False) as live:
        for view in views:
            live.update(view, refresh=True)


def screens(client: ApiClient, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[RenderableType]:
    """One for every refresh, without end. A service that does not answer is asked again: it may be why somebody watches."""
    seen: deque[tuple[float, dict[str, Json | None]]] = deque(maxlen=WINDOW + 1)
    line: Json | None = None
    for turn in count():
        try:
            listed, now = client.model_list(), time.monotonic()
            if turn % LINE_EVERY == 0:
                line = client.queue()
        except UnavailableError as error:
            if not seen:
                raise
            yield Text(output.safe_line(error))
        else:
            counts = {each["id"]: each["counts"] for each in _deployments(listed["data"])}
            seen.append((now, counts))
            then, before = seen[0]
            paces = {name: pace(before.get(name), after, seconds=now - then) for name, after in counts.items()}
            yield Group(
                output.plain_table(MOMENT, moment_rows(listed["data"], paces)),
                Text(output.safe_line(trouble_line(listed, line)), style="dim"),
            )
        sleep(REFRESH_S)


def _deployments(models: Sequence[Json]) -> list[Json]:
    return list({each["id"]: each for model in models for each in model["waybill"]["deployments"]}.values())


def _offer_row(model: Json, deployment: Json) -> tuple[object, ...]:
    return (
        model["id"],
        deployment["id"],
        _short(deployment["max_input_tokens"]),
        _per_million(deployment["input_cost_per_token"]),
        _per_million(deployment["output_cost_per_token"]),
        _quality(deployment["quality"]),
        _slots(deployment),
        " ".join(f"{_short(deployment[rate])} {rate}" for rate in RATES if deployment[rate] is not None) or None,
        deployment["waiting"],
        deployment["dead_letter_queue"],
        _held(deployment),
        _factor(deployment),
        _seconds(deployment["latency_s"]),
        _seconds(deployment["latency_p95_s"]),
    )


def _moment_row(deployment: Json, pace: Pace) -> tuple[object, ...]:
    waits = sorted(((count, reason) for reason, count in pace.waits.items() if count >= 0.05), reverse=True)
    return (
        deployment["id"],
        _slots(deployment),
        deployment["waiting"],
        deployment["dead_letter_queue"],
        _held(deployment),
        _factor(deployment),
        _seconds(deployment["latency_s"]),
        _figure(pace.calls),
        _figure(pace.throttled),
        ", ".join(f"{reason} {_figure(count)}" for count, reason in waits),
    )


def _slots(deployment: Json) -> str:
    in_flight = "?" if deployment["in_flight"] is None else deployment["in_flight"]
    return f"{in_flight}/{deployment['slots']}"


def _held(deployment: Json) -> str | None:
    """What keeps a model from starting more, and for how long where that is known."""
    if deployment["paused_s"]:
        return f"paused {output.duration(deployment['paused_s'])}"
    if (deployment["broken_s"] or 0.0) > 0:
        return f"breaker {output.duration(deployment['broken_s'])}"
    held_by = deployment["held_by"]
    return None if held_by is None else str(held_by)


def _factor(deployment: Json) -> str | None:
    factor = deployment["limit_factor"]
    return None if factor is None or factor >= 1 else f"{factor:.0%}"


def _short(count: float | None) -> str | None:
    """1500 -> 1.5k."""
    if count is None:
        return None
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{letter}"
    return f"{count:g}"


def _seconds(latency_s: float | None) -> str | None:
    return None if latency_s is None else _figure(latency_s)


def _figure(number: float) -> str:
    """With what digits are worth their place."""
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}" if number >= 1 or not number else f"{number:.2f}"


def _per_million(usd_per_token: float | None) -> str | None:
    return None if usd_per_token is None else f"{usd_per_token * 1e6:g}"


def _quality(quality: object) -> str | None:
    """One number, or one for each task."""
    if isinstance(quality, dict):
        return " ".join(f"{task} {value}" for task, value in quality.items())
    return None if quality is None else str(quality)
