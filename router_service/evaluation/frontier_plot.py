"""Cost against quality as SVG: the router's hull, the zero router's, and every single model. Pure."""

from __future__ import annotations

import math
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from router_service.evaluation.frontier import hull
from router_service.evaluation.plot import COLOURS, STYLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router_service.evaluation.frontier import Point

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 460, 56, 24, 36, 48
LABEL = 26  # characters of a model's name


def svg(report: Mapping[str, Any]) -> str:
    """One SVG document of a report of `routing.measure`; cost in USD per 1,000 questions, by ratio, free ones at its edge."""
    singles = [(each["cost_usd"] * 1000, each["quality"]) for each in report["singles"]]
    router = hull((each["cost_usd"] * 1000, each["quality"]) for each in report["curve"])
    parts = [*_axes(singles + router), *_curves(router, hull(singles), singles + router)]
    for (cost, quality), each in zip(singles, report["singles"], strict=True):
        x, y = _place((cost, quality), singles + router)
        parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS[3]}"/>')
        parts.append(_text(x + 5, y + 12, each["model"][:LABEL], extra=' font-size="9"'))
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {STYLE}>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            *parts,
            "</svg>\n",
        )
    )


def _curves(router: list[Point], zero: list[Point], frame: list[Point]) -> Iterator[str]:
    for number, (name, curve) in enumerate((("router", router), ("zero router (random mixing)", zero))):
        points = " ".join(f"{x},{y}" for x, y in (_place(point, frame) for point in _mixed(curve)))
        yield f'<polyline points="{points}" fill="none" stroke="{COLOURS[number]}" stroke-width="1.8"/>'
        yield _text(LEFT + 10, TOP + 14 + 14 * number, name, extra=f' fill="{COLOURS[number]}" font-weight="bold"')


def _mixed(curve: list[Point], steps: int = 8) -> Iterator[Point]:
    """Mixing is straight in cost, and bent where the axis is by ratio."""
    for (cost, quality), (next_cost, next_quality) in pairwise(curve):
        for step in range(steps):
            part = step / steps
            yield cost + part * (next_cost - cost), quality + part * (next_quality - quality)
    yield curve[-1]


def _axes(frame: list[Point]) -> Iterator[str]:
    low, high, bottom, top = _bounds(frame)
    yield _text(LEFT, TOP - 14, "Quality over cost, USD per 1,000 questions", extra=' font-weight="bold"')
    for tick in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for cost in (10.0**tick, 2 * 10.0**tick, 5 * 10.0**tick):
            if low <= cost <= high:
                x, _ = _place((cost, bottom), frame)
                yield f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>'
                yield _text(x, HEIGHT - BOTTOM + 16, f"{cost:g}", extra=' text-anchor="middle"')
    for tick in range(math.ceil(bottom * 20), math.floor(top * 20) + 1):
        _, y = _place((low, tick / 20), frame)
        yield f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#eee"/>'
        yield _text(LEFT - 6, y + 4, f"{tick / 20:.0%}", extra=' text-anchor="end"')


def _bounds(frame: list[Point]) -> tuple[float, float, float, float]:
    """Of the axes. Where something is free, for which no ratio has a place, the lowest cost is a tenth of the least paid one."""
    costs, qualities = zip(*frame, strict=True)
    paid = [cost for cost in costs if cost > 0] or [1.0]
    low = min(paid) * (0.8 if len(paid) == len(costs) else 0.1)
    return low, max(paid) * 1.4, min(qualities) - 0.02, max(qualities) + 0.02


def _place(point: Point, frame: list[Point]) -> tuple[float, float]:
    low, high, bottom, top = _bounds(frame)
    across = math.log(max(point[0], low) / low) / math.log(high / low)
    up = (point[1] - bottom) / (top - bottom)
    return round(LEFT + across * (WIDTH - LEFT - RIGHT), 1), round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1)


def _text(x: float, y: float, text: str, *, extra: str = "") -> str:
    return f'<text x="{x}" y="{y}"{extra}>{escape(text)}</text>'
