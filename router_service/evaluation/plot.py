"""Use of limits over time as a picture: SVG for a file, a line of blocks for a terminal. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 30
WIDTH, HEIGHT, GAP = 720, 120, 56
LEFT, RIGHT, TOP = 48, 16, 40
TALLEST = 1.25  # of a limit: single seconds of a paced rate are above 1
STYLE = 'font-family="sans-serif" font-size="11" fill="#333"'
COLOURS = ("#1f6f8b", "#d1603d", "#5a8f3c", "#7b5ea7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture: lines over seconds, each between 0 and 1 where 1 is the limit."""

    title: str
    series: Mapping[str, Sequence[float]]


def sparkline(values: Sequence[float]) -> str:
    """At most SPARK_WIDTH blocks, each the mean of its part; a full block is the limit or more."""
    return "".join(BLOCKS[min(int(max(mean, 0.0) * len(BLOCKS)), len(BLOCKS) - 1)] for mean in _means(values))


def _means(values: Sequence[float]) -> Iterator[float]:
    count = min(len(values), SPARK_WIDTH)
    for number in range(count):
        part = values[number * len(values) // count : (number + 1) * len(values) // count]
        yield sum(part) / len(part)


def svg(panels: Sequence[Panel]) -> str:
    """One SVG document with the panels below each other. No script, no style sheet, no outside reference."""
    height = TOP + len(panels) * (HEIGHT + GAP)
    parts = [part for number, panel in enumerate(panels) for part in _panel(panel, TOP + number * (HEIGHT + GAP))]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {STYLE}>',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            *parts,
            "</svg>\n",
        )
    )


def _panel(panel: Panel, top: int) -> Iterator[str]:
    seconds = max((len(series) for series in panel.series.values()), default=1)
    yield _text(LEFT, top - 10, panel.title, extra=' font-weight="bold"')
    for value in (0.0, 0.5, 1.0):
        y = _y(value, top)
        yield f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#ccc" stroke-width="1"/>'
        yield _text(LEFT - 6, y + 4, f"{value:.0%}", extra=' text-anchor="end"')
    for second in _marks(seconds):
        yield _text(_x(second, seconds), top + HEIGHT + 14, f"{second} s", extra=' text-anchor="middle"')
    for number, (name, series) in enumerate(panel.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{_x(second + 0.5, seconds)},{_y(min(value, TALLEST), top)}" for second, value in enumerate(series)
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield _text(WIDTH - RIGHT, top - 10 + 12 * number, name, extra=f' text-anchor="end" fill="{colour}"')


def _marks(seconds: int) -> range:
    """At most some ten marks, at round seconds."""
    step = next(step for step in (1, 2, 5, 10, 20, 60, 120, 300, 600, 3600, seconds) if seconds / step <= 10)
    return range(0, seconds + 1, step)


def _x(second: float, seconds: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * second / seconds, 1)


def _y(value: float, top: int) -> float:
    return round(top + HEIGHT * (1 - value / TALLEST), 1)


def _text(x: float, y: float, text: str, *, extra: str = "") -> str:
    return f'<text x="{x}" y="{y}"{extra}>{escape(text)}</text>'
