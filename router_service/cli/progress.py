"""Live progress of a batch: asked for by polling, shown on stderr, ended by the batch itself."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from router_service.cli.output import plain_table, print_json_line, progress_console, safe_line, say, usd
from router_service.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from rich.console import RenderableType

    from router_service.cli.client import ApiClient, Json

ENDED_BATCH = frozenset({"completed", "failed", "expired", "cancelled"})
ENDED_JOB = frozenset({"succeeded", "failed", "cancelled", "expired"})
POLL_S = 0.5
LINE_EVERY_S = 5.0
PATIENCE_S = 60.0
BAR_WIDTH = 40


def follow(client: ApiClient, batch_id: str, *, as_json: bool = False) -> Json:
    """Show a batch until it has ended, and return its last progress. --json prints each change as a line of JSON."""
    progress: Json = {}
    try:
        with _screen(as_json=as_json) as show:
            for progress in polled(client, batch_id):
                show(progress)
    except KeyboardInterrupt:
        say(f"{batch_id} goes on without this terminal; `waybill watch {batch_id}` or `waybill cancel {batch_id}`")
        raise
    return progress


def polled(
    client: ApiClient,
    batch_id: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> Iterator[Json]:
    """The progress every half second until the batch has ended. A service that restarts is waited for, a minute."""
    lost_at: float | None = None
    while True:
        try:
            progress = client.progress(batch_id)
        except UnavailableError:
            lost_at = now() if lost_at is None else lost_at
            if now() - lost_at > PATIENCE_S:
                raise
        else:
            lost_at = None
            yield progress
            if progress["status"] in ENDED_BATCH:
                return
        sleep(POLL_S)


def all_succeeded(progress: Json) -> bool:
    return bool(progress["status"] == "completed" and progress["counts"].get("succeeded", 0) == progress["total"])


def ended_jobs(progress: Json) -> int:
    return sum(progress["counts"].get(state, 0) for state in ENDED_JOB)


def view(progress: Json) -> RenderableType:
    """The screen of one moment: a bar, the counts, and a line for each model."""
    total, ended = int(progress["total"]), ended_jobs(progress)
    head = Table.grid(padding=(0, 1))
    head.add_row(
        Text(safe_line(progress["id"])),
        Text(safe_line(progress["status"]), style="bold"),
        ProgressBar(total=max(total, 1), completed=ended, width=BAR_WIDTH),
        Text(f"{ended}/{total}"),
    )
    parts: list[RenderableType] = [head, Text(counts_line(progress)), Text(pace_line(progress), style="dim")]
    if progress["models"]:
        rows = [
            (row["model"], row["running"], row["succeeded"], row["failed"], usd(row["cost_usd"]))
            for row in progress["models"]
        ]
        parts.append(plain_table(("model", "#running", "#succeeded", "#failed", "#cost"), rows))
    return Group(*parts)


def counts_line(progress: Json) -> str:
    """The states that hold jobs, in the order of a job's way."""
    counts = progress["counts"]
    return " · ".join(f"{state} {count}" for state, count in counts.items() if count) or "no jobs yet"


def pace_line(progress: Json) -> str:
    eta_s = progress["eta_s"]
    left = "" if eta_s is None else f" · {eta_s:.0f} s left"
    return (
        f"{progress['rate_per_s']:.1f} jobs/s · {progress['elapsed_s']:.1f} s{left} · {usd(progress['cost_usd'])} · "
        f"{progress['input_tokens']:,} tokens in, {progress['output_tokens']:,} out"
    )


def _screen(*, as_json: bool) -> AbstractContextManager[Callable[[Json], None]]:
    if as_json:
        return nullcontext(_changes())
    console = progress_console()
    if console.is_terminal:
        return _LiveScreen(Live(console=console, auto_refresh=False))
    return nullcontext(_sparse_lines())


class _LiveScreen:
    """A redrawn block; its last state stays."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def __enter__(self) -> Callable[[Json], None]:
        self._live.start()
        return lambda progress: self._live.update(view(progress), refresh=True)

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def _changes() -> Callable[[Json], None]:
    """Print a progress document where the counts or the status differ from the last one printed."""
    last: object = None

    def show(progress: Json) -> None:
        nonlocal last
        current = (progress["status"], progress["counts"])
        if current != last:
            print_json_line(progress)
        last = current

    return show


def _sparse_lines() -> Callable[[Json], None]:
    """A log instead of a screen: a line at each change of status, and every five seconds."""
    last_status, last_at = "", 0.0

    def show(progress: Json) -> None:
        nonlocal last_status, last_at
        if progress["status"] == last_status and time.monotonic() - last_at < LINE_EVERY_S:
            return
        last_status, last_at = progress["status"], time.monotonic()
        say(
            f"{progress['id']} {progress['status']} {ended_jobs(progress)}/{progress['total']}: "
            f"{counts_line(progress)}; {pace_line(progress)}"
        )

    return show
