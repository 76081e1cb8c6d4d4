"""Charts as inline SVG: no script, no font of their own, colours from the page that holds them.

Lines differ by their dashes and bars by their shade as well as by colour. Widths are in units of a
phone's pixels, so that letters keep their size there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from fedprivacy.reporting.text import printable

__all__ = ["Bars", "Line", "bar_chart", "interval_chart", "line_chart", "ticks"]

_WIDTH = 360.0
_PLOT = 170.0
_LEFT, _RIGHT, _BELOW, _ABOVE = 50.0, 12.0, 36.0, 8.0
_LEGEND = 15.0
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_MOST_POINTS = 400


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points, from left to right."""

    name: str
    points: Sequence[tuple[float, float]]
    steps: bool = False
    """Whether a value holds until the next point."""


@dataclass(frozen=True, slots=True)
class Bars:
    """One named part of every bar."""

    name: str
    values: Sequence[float]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from at or above `low` to at or below `high`, evenly spaced."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [k * step for k in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class _Axis:
    """From values to places on paper."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def marks(self) -> list[float]:
        if not self.logarithmic:
            return ticks(self.low, self.high)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high))
        return [10.0**k for k in range(first, last + 1)]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    across: str,
    up: str,
    level: tuple[str, float] | None = None,
    low: float | None = 0.0,
    least: float | None = None,
) -> str:
    """Lines over one pair of axes; `level` is a value that they are held against.

    The vertical axis begins at `low`, or near the least value for None. With `least` both axes are
    logarithmic from there to 1. Empty where there is no point.
    """
    points = [p for line in lines for p in line.points]
    if not points:
        return ""
    heights = [y for _, y in points] + ([level[1]] if level else [])
    names = [line.name for line in lines] + ([level[0]] if level else [])
    top = _ABOVE + _LEGEND * len(names)
    if least is not None:
        x = _Axis(least, 1.0, _LEFT, _WIDTH - _RIGHT, logarithmic=True)
        y = _Axis(least, 1.0, top + _PLOT, top, logarithmic=True)
    else:
        x = _Axis(min(p[0] for p in points), max(p[0] for p in points), _LEFT, _WIDTH - _RIGHT)
        floor = _floor(heights) if low is None else low
        y = _Axis(floor, _ceiling(max(heights), floor), top + _PLOT, top)
    parts = [*_legend(names, with_level=level is not None), *_frame(x, y, across, up, top)]
    if level:
        at = y.place(level[1])
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>')
    parts += [_path(line, i, x, y) for i, line in enumerate(lines) if line.points]
    return _svg(title, top + _PLOT + _BELOW, parts)


def bar_chart(
    title: str, labels: Sequence[str], parts: Sequence[Bars], *, across: str, up: str
) -> str:
    """A bar a label, made of its parts from below; a part that is nowhere is left out.

    Empty where there is no label.
    """
    if not labels:
        return ""
    parts = [part for part in parts if any(part.values)]
    named = [part.name for part in parts] if len(parts) > 1 else []
    totals = [sum(part.values[i] for part in parts) for i in range(len(labels))]
    top = _ABOVE + _LEGEND * len(named)
    y = _Axis(0.0, _ceiling(max(totals), 0.0), top + _PLOT, top)
    x = _Axis(0.0, float(len(labels)), _LEFT, _WIDTH - _RIGHT)
    drawn = [*_swatches(named), *_frame(x, y, across, up, top, labels)]
    wide = (x.end - x.start) / len(labels)
    below = [0.0] * len(labels)
    for kind, part in enumerate(parts):
        for i, value in enumerate(part.values):
            foot, head = y.place(below[i]), y.place(below[i] + value)
            below[i] += value
            if value > 0:
                drawn.append(
                    f'<rect class="mark bar{kind}" x="{x.place(i) + wide * 0.12:.1f}" '
                    f'y="{head:.1f}" width="{wide * 0.76:.1f}" height="{foot - head:.1f}"/>'
                )
    return _svg(title, top + _PLOT + _BELOW, drawn)


def interval_chart(title: str, rows: Sequence[tuple[str, float]], *, across: str) -> str:
    """A horizontal bar from zero a row, with its name above and its value beside it."""
    if not rows:
        return ""
    x = _Axis(0.0, _ceiling(max(value for _, value in rows), 0.0), 4.0, _WIDTH - 54.0)
    drawn = []
    for i, (name, value) in enumerate(rows):
        at = _ABOVE + 38.0 * i
        wide = max(x.place(value) - x.start, 1.0)
        drawn += [
            f'<text x="{x.start}" y="{at + 11}">{_safe(name)}</text>',
            f'<rect class="mark bar{i % 4}" x="4" y="{at + 16}" width="{wide:.1f}" height="14"/>',
            f'<text x="{x.start + wide + 5:.1f}" y="{at + 27:.1f}">{value:.3g}</text>',
        ]
    foot = _ABOVE + 38.0 * len(rows) + 12
    drawn.append(f'<text x="{x.start}" y="{foot}">{_safe(across)}</text>')
    return _svg(title, foot + 6, drawn)


def _ceiling(most: float, low: float) -> float:
    """A round value at or above it, and above `low`."""
    if not most > low + 1e-9:
        return low + 1.0
    marks = ticks(low, most)
    step = marks[1] - marks[0] if len(marks) > 1 else most - low
    return low + step * math.ceil((most - low) / step - 1e-9)


def _floor(values: Sequence[float]) -> float:
    """A round value at or below the least."""
    least, most = min(values), max(values)
    marks = ticks(least, most) if most > least else []
    step = marks[1] - marks[0] if len(marks) > 1 else 0.1
    return step * math.floor(least / step + 1e-9)


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    if len(points) <= _MOST_POINTS:
        return points
    step = math.ceil(len(points) / _MOST_POINTS)
    return [*points[:-1:step], points[-1]]


def _path(line: Line, index: int, x: _Axis, y: _Axis) -> str:
    placed = [(x.place(a), y.place(b)) for a, b in _thinned(line.points)]
    moves = [f"M{placed[0][0]:.1f} {placed[0][1]:.1f}"]
    for a, b in placed[1:]:
        moves.append(f"H{a:.1f}V{b:.1f}" if line.steps else f"L{a:.1f} {b:.1f}")
    dots = ""
    if len(placed) <= 40:
        dots = "".join(
            f'<circle class="mark dot{index % 4}" cx="{a:.1f}" cy="{b:.1f}" r="2.2"/>'
            for a, b in placed
        )
    return f'<path class="mark line{index % 4}" d="{"".join(moves)}"/>{dots}'


def _legend(names: Sequence[str], *, with_level: bool) -> Iterator[str]:
    for i, name in enumerate(names):
        at = _ABOVE + _LEGEND * i + 2
        kind = "level" if with_level and i == len(names) - 1 else f"line{i % 4}"
        yield f'<line class="{kind}" x1="{_LEFT}" x2="{_LEFT + 26}" y1="{at}" y2="{at}"/>'
        yield f'<text x="{_LEFT + 32}" y="{at + 4}">{_safe(name)}</text>'


def _swatches(names: Sequence[str]) -> Iterator[str]:
    for i, name in enumerate(names):
        at = _ABOVE + _LEGEND * i - 3
        yield f'<rect class="bar{i}" x="{_LEFT}" y="{at}" width="12" height="10"/>'
        yield f'<text x="{_LEFT + 18}" y="{at + 9}">{_safe(name)}</text>'


def _frame(
    x: _Axis, y: _Axis, across: str, up: str, top: float, labels: Sequence[str] | None = None
) -> Iterator[str]:
    """Grid, marks with their numbers, and what the axes are."""
    for mark in y.marks():
        at = y.place(mark)
        yield f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
        yield f'<text class="end" x="{x.start - 5}" y="{at + 4:.1f}">{_number(mark)}</text>'
    foot = y.start
    if labels is None:
        for mark in x.marks():
            at = x.place(mark)
            yield f'<text class="middle" x="{at:.1f}" y="{foot + 14}">{_number(mark)}</text>'
    else:
        step = math.ceil(len(labels) / 12)
        for i in range(0, len(labels), step):
            at = x.place(i + 0.5)
            yield f'<text class="middle" x="{at:.1f}" y="{foot + 14}">{_safe(labels[i])}</text>'
    yield f'<line class="axis" x1="{x.start}" x2="{x.end}" y1="{foot}" y2="{foot}"/>'
    middle = (x.start + x.end) / 2
    yield f'<text class="middle" x="{middle:.1f}" y="{foot + 30}">{_safe(across)}</text>'
    half = f"{top + _PLOT / 2:.1f}"
    turn = f'transform="rotate(-90 12 {half})" x="12" y="{half}"'
    yield f'<text class="middle" {turn}>{_safe(up)}</text>'


def _safe(text: str) -> str:
    """Of others' text, neither markup nor what a terminal could obey."""
    return escape(printable(text))


def _number(value: float) -> str:
    if value and not 1e-4 <= abs(value) < 1e5:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.6g}"


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{_safe(title)}</title>{"".join(parts)}</svg>'
    )
