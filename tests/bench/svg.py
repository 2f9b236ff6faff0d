"""Plots as SVG: lines over an axis, and bars. Legible on a light page and a dark one, in colour and without."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 400
LEFT: Final = 84
MARGIN: Final = 24
RIGHT: Final = 44
TOP: Final = 84
BOTTOM: Final = 58
BAR: Final = 26
DENSE: Final = 2
"""So many powers of ten have room for marks between them."""

FEW_TICKS: Final = 7
"""So many points have each a tick of their own."""

STYLE: Final = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.page { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #d1d9e0; stroke-width: 1 }
.line { fill: none; stroke-width: 2.5 }
.s0 { stroke: #0969da } .f0 { fill: #0969da }
.s1 { stroke: #bc4c00 } .f1 { fill: #bc4c00 }
.s2 { stroke: #1a7f37 } .f2 { fill: #1a7f37 }
.s3 { stroke: #8250df } .f3 { fill: #8250df }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .page { fill: #0d1117; stroke: #3d444d }
  .grid { stroke: #3d444d }
  .s0 { stroke: #4493f8 } .f0 { fill: #4493f8 }
  .s1 { stroke: #f0883e } .f1 { fill: #f0883e }
  .s2 { stroke: #3fb950 } .f2 { fill: #3fb950 }
  .s3 { stroke: #ab7df8 } .f3 { fill: #ab7df8 }
}"""
"""The page is drawn as well, so that the text has a contrast where the reader's theme is not the system's."""

COLOURS: Final = 4
DASHES: Final = ("", "7 4", "2 4", "10 4 2 4")


@dataclass(frozen=True, slots=True)
class Axis:
    """What is along it, with its unit. A logarithmic one shows nothing (0) one step below the least that there is."""

    label: str
    is_log: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a plot, through points of x and y."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines over an axis."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars beside each other that begin at nothing, each with its value."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float]]


class _Scale:
    """Where a value lies along an axis, from 0 to 1, and which of them are marked."""

    def __init__(self, axis: Axis, values: Sequence[float], *, marks_values: bool) -> None:
        self._is_log = axis.is_log
        distinct = sorted(set(values))
        if not axis.is_log:
            self.ticks = _round_ticks(distinct[-1])
            self._low, self._high = 0.0, self.ticks[-1]
            return
        above = [value for value in distinct if value > 0]
        self._nothing = above[0] / (above[1] / above[0] if len(above) > 1 else 10)
        if marks_values and len(distinct) <= FEW_TICKS:
            self.ticks = distinct
        else:
            self.ticks = _logarithmic_ticks(above[0], above[-1])
        ends = [self._log(value) for value in (*distinct, *self.ticks)]
        self._low, self._high = min(ends), max(ends)

    def place(self, value: float) -> float:
        """Between 0 and 1."""
        shown = self._log(value) if self._is_log else value
        return (shown - self._low) / (self._high - self._low or 1)

    def _log(self, value: float) -> float:
        return math.log10(value if value > 0 else self._nothing)


def _logarithmic_ticks(lowest: float, highest: float) -> list[float]:
    """Powers of ten around the values; where there are few of them, twice and five times those as well."""
    low, high = math.floor(math.log10(lowest)), max(math.ceil(math.log10(highest)), math.floor(math.log10(lowest)) + 1)
    steps = (1, 2, 5) if high - low <= DENSE else (1,)
    ticks = [step * 10.0**power for power in range(low, high) for step in steps] + [10.0**high]
    first = max(index for index, tick in enumerate(ticks) if tick <= lowest * (1 + 1e-9))
    last = min(index for index, tick in enumerate(ticks) if tick >= highest * (1 - 1e-9))
    return ticks[min(first, len(ticks) - 2) : max(last, first + 1) + 1]


def _round_ticks(highest: float) -> list[float]:
    """From 0 in steps of 1, 2 or 5 times a power of ten, to what is not below the highest."""
    rough = (highest or 1) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * one for one in (1, 2, 5, 10) if power * one >= rough * (1 - 1e-9))
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)] if highest else [0.0, step]


def number(value: float) -> str:
    """A value as people read it: three digits that count, thousands apart."""
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def draw_plot(plot: Plot) -> str:
    """The SVG."""
    across = _Scale(plot.x, [x for line in plot.lines for x, _ in line.points], marks_values=True)
    up = _Scale(plot.y, [y for line in plot.lines for _, y in line.points], marks_values=False)

    def x_of(value: float) -> float:
        return round(LEFT + across.place(value) * (WIDTH - LEFT - RIGHT), 1)

    def y_of(value: float) -> float:
        return round(HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM), 1)

    body = [*_legend(plot.lines)]
    for tick in up.ticks:
        y = y_of(tick)
        body.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        body.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{number(tick)}</text>')
    for tick in across.ticks:
        x = x_of(tick)
        body.append(f'<path class="grid" d="M{x} {HEIGHT - BOTTOM}v6"/>')
        body.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle">{number(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    body.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(plot.x.label)}</text>')
    body.append(
        f'<text transform="translate(20 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(plot.y.label)}</text>"
    )
    for index, line in enumerate(plot.lines):
        points = [(x_of(x), y_of(y)) for x, y in sorted(line.points)]
        way = "L".join(f"{x} {y}" for x, y in points)
        body.append(f'<path class="line s{index % COLOURS}" stroke-dasharray="{_dash(index)}" d="M{way}"/>')
        body += [_marker(index, x, y) for x, y in points]
    described = "; ".join(
        f"{line.name}: " + ", ".join(f"{number(x)}: {number(y)}" for x, y in sorted(line.points)) for line in plot.lines
    )
    return _page(plot.title, f"{plot.y.label}, by {plot.x.label}. {described}", HEIGHT, body)


def draw_bars(bars: Bars) -> str:
    """The SVG."""
    height = TOP - 24 + len(bars.bars) * (BAR + 30) + 16
    widest = max(value for _, value in bars.bars)
    body = []
    for index, (name, value) in enumerate(bars.bars):
        y = TOP - 24 + index * (BAR + 30)
        width = round((WIDTH - 2 * MARGIN - 110) * value / (widest or 1), 1)
        body.append(f'<text x="{MARGIN}" y="{y + 12}">{escape(name)}</text>')
        body.append(
            f'<rect class="f{index % COLOURS}" x="{MARGIN}" y="{y + 18}" width="{width}" height="{BAR}" rx="2"/>'
        )
        body.append(f'<text x="{MARGIN + width + 8}" y="{y + 18 + 18}">{number(value)} {escape(bars.unit)}</text>')
    described = "; ".join(f"{name}: {number(value)} {bars.unit}" for name, value in bars.bars)
    return _page(bars.title, described, height, body)


def draw_nothing(title: str) -> str:
    """The SVG of what is not known, so that a page has something to show in its place."""
    text = f'<text x="{MARGIN}" y="64">Not measured in this run.</text>'
    return _page(title, "Not measured in this run.", TOP + 8, [text])


def _legend(lines: Sequence[Line]) -> Iterator[str]:
    x = float(LEFT)
    for index, line in enumerate(lines):
        yield f'<path class="line s{index % COLOURS}" stroke-dasharray="{_dash(index)}" d="M{x} 56h34"/>'
        yield _marker(index, x + 17, 56)
        yield f'<text x="{x + 42}" y="61">{escape(line.name)}</text>'
        x += 42 + 7.2 * len(line.name) + 24


def _dash(index: int) -> str:
    return DASHES[index % len(DASHES)]


def _marker(index: int, x: float, y: float) -> str:
    """A shape of its own for each line."""
    colour = f"f{index % COLOURS}"
    match index % COLOURS:
        case 0:
            return f'<circle class="{colour}" cx="{x}" cy="{y}" r="4.5"/>'
        case 1:
            return f'<rect class="{colour}" x="{x - 4}" y="{y - 4}" width="8" height="8"/>'
        case 2:
            return f'<path class="{colour}" d="M{x} {y - 5.5}l5.5 9.5h-11z"/>'
        case _:
            return f'<path class="{colour}" d="M{x} {y - 6}l6 6l-6 6l-6 -6z"/>'


def _page(title: str, described: str, height: int, body: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' role="img" aria-labelledby="title described">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="described">{escape(described)}</desc>',
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
            f'<text class="title" x="{MARGIN}" y="32">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )
