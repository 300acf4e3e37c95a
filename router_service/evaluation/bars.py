"""Numbers of some groups as bars: SVG for a file. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WIDTH, BAR, GAP, TOP = 720, 14, 18, 48
LEFT, RIGHT = 180, 70
STYLE = 'font-family="sans-serif" font-size="11" fill="#333"'
COLOURS = ("#1f6f8b", "#d1603d", "#5a8f3c", "#7b5ea7")


def svg(title: str, groups: Mapping[str, Mapping[str, float]]) -> str:
    """One bar for each name of each group, from 0 on, with its number. No script, no style sheet, no outside reference."""
    highest = max((value for group in groups.values() for value in group.values()), default=1.0)
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    height = TOP + sum(len(group) * BAR + GAP for group in groups.values())
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {STYLE}>',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="{LEFT}" y="24" font-weight="bold">{escape(title)}</text>',
            *_bars(groups, names, highest),
            "</svg>\n",
        )
    )


def _bars(groups: Mapping[str, Mapping[str, float]], names: list[str], highest: float) -> Iterator[str]:
    y = TOP
    for title, group in groups.items():
        yield f'<text x="8" y="{y + BAR - 3}" font-weight="bold">{escape(title)}</text>'
        for name, value in group.items():
            width = round((WIDTH - LEFT - RIGHT) * value / highest, 1)
            colour = COLOURS[names.index(name) % len(COLOURS)]
            yield f'<text x="{LEFT - 6}" y="{y + BAR - 3}" text-anchor="end">{escape(name)}</text>'
            yield f'<rect x="{LEFT}" y="{y + 1}" width="{width}" height="{BAR - 3}" fill="{colour}"/>'
            yield f'<text x="{LEFT + width + 4}" y="{y + BAR - 3}">{value:.3f}</text>'
            y += BAR
        y += GAP
