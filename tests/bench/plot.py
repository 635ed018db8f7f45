"""The results as SVG, without a library: ratios as dots in rows, growth as small panels with lines.

Drawn on a card of its own with colours for a light and a dark page, as docs/where-it-stands.svg.  Both pictures have
logarithmic scales: half as much and twice as much are equally far away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_STYLE = """
    .card { fill: #ffffff; stroke: #c9d1d9 }
    text { fill: #1f2328 } .note { fill: #57606a; font-size: 12px } .head { font-weight: 600 }
    .grid { stroke: #d0d7de; stroke-width: 1 } .one { stroke: #57606a; stroke-width: 2 }
    .c0 { fill: #0969da; stroke: #0969da } .c1 { fill: #bc4c00; stroke: #bc4c00 }
    .c2 { fill: #6e7781; stroke: #6e7781 } .c3 { fill: #1a7f37; stroke: #1a7f37 }
    polyline { fill: none !important; stroke-width: 2 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #161b22; stroke: #30363d }
      text { fill: #e6edf3 } .note { fill: #9da7b1 }
      .grid { stroke: #30363d } .one { stroke: #8b949e }
      .c0 { fill: #58a6ff; stroke: #58a6ff } .c1 { fill: #f0883e; stroke: #f0883e }
      .c2 { fill: #8b949e; stroke: #8b949e } .c3 { fill: #3fb950; stroke: #3fb950 }
    }"""
_COLOURS = 4


@dataclass(frozen=True)
class Row:
    """One workload: a dot for each name."""

    title: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Panel:
    """One quantity: a line for each name, of (number, value) with all numbers and values above 0."""

    title: str
    unit: str
    number: str
    """What is on the axis below."""
    lines: Mapping[str, Sequence[tuple[int, float]]]


class Scale:
    """A logarithmic scale from the values to a length."""

    def __init__(self, values: Iterable[float], start: float, end: float, step: float = 10.0) -> None:
        """start, end: where on the picture; it goes to whole powers of `step`, at least one of them."""
        values = list(values)
        low, high = (math.log(edge, step) for edge in (min(values), max(values)))
        self._low, self._high = math.floor(low + 1e-9), math.ceil(high - 1e-9)
        self._high = max(self._high, self._low + 1)
        self._start, self._end, self._step = start, end, step

    def at(self, value: float) -> float:
        share = (math.log(value, self._step) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self) -> list[float]:
        every = max(1, (self._high - self._low) // 4)
        return [self._step**power for power in range(self._low, self._high + 1, every)]


def dots(title: str, description: str, rows: Sequence[Row], names: Sequence[str], base: str) -> str:
    """Ratios to `base`, less is better; a name keeps its place in `names` as its colour."""
    width, left, top, pitch = 880, 330, 84, 26
    bottom = top + pitch * len(rows)
    scale = Scale([1.0, *[value for row in rows for value in row.values.values()]], left, width - 40, 2.0)
    parts = [_text(24, 34, title, "head")]
    at = left
    for number, name in enumerate(names):
        parts += [_dot(at, 56, number), _text(at + 10, 60, name, "note")]
        at += 24 + 8 * len(name)
    parts.append(_text(scale.at(1.0), bottom + 36, f"{base} = 1; less is better", "note", "middle"))
    for tick in scale.ticks():
        x = scale.at(tick)
        parts += [
            _line(x, top - 8, x, bottom, "one" if tick == 1 else "grid"),
            _text(x, bottom + 18, f"{tick:g}", "note", "middle"),
        ]
    for number, row in enumerate(rows):
        y = top + pitch * number + pitch / 2
        parts.append(_text(left - 16, y + 4, row.title, "", "end"))
        parts += [_dot(scale.at(row.values[name]), y, n) for n, name in enumerate(names) if name in row.values]
    return _picture(width, bottom + 56, title, description, parts)


def panels(title: str, description: str, all_panels: Sequence[Panel]) -> str:
    """Three to a row; a name has the same colour in all of them."""
    names = list(dict.fromkeys(name for panel in all_panels for name in panel.lines))
    wide, high, columns, top = 286, 220, 3, 50
    parts = [_text(24, 34, title, "head")]
    for number, panel in enumerate(all_panels):
        x, y = 16 + wide * (number % columns), top + high * (number // columns)
        parts += _panel(panel, names, x, y, wide, high)
    rows = -(-len(all_panels) // columns)
    return _picture(16 + wide * columns + 6, top + high * rows + 10, title, description, parts)


def _panel(panel: Panel, names: Sequence[str], x: float, y: float, wide: float, high: float) -> list[str]:
    points = [point for line in panel.lines.values() for point in line]
    left, right, top, bottom = x + 56, x + wide - 14, y + 40, y + high - 44
    across, up = Scale([n for n, _ in points], left, right), Scale([value for _, value in points], bottom, top)
    parts = [_text(x + 8, y + 16, panel.title), _text(x + 8, y + 32, panel.unit, "note")]
    for tick in across.ticks():
        parts.append(_text(across.at(tick), bottom + 16, _short(tick), "note", "middle"))
        parts.append(_line(across.at(tick), top, across.at(tick), bottom, "grid"))
    for tick in up.ticks():
        parts.append(_text(left - 6, up.at(tick) + 4, _short(tick), "note", "end"))
        parts.append(_line(left, up.at(tick), right, up.at(tick), "grid"))
    parts.append(_text((left + right) / 2, bottom + 32, panel.number, "note", "middle"))
    at = x + wide - 14
    for name in sorted(panel.lines, key=names.index, reverse=True):
        colour, line = names.index(name), panel.lines[name]
        path = " ".join(f"{across.at(n)},{up.at(value)}" for n, value in line)
        parts.append(f'<polyline class="c{colour % _COLOURS}" points="{path}"/>')
        parts += [_dot(across.at(n), up.at(value), colour) for n, value in line]
        if name:
            at -= 8 + 7 * len(name)
            parts += [_dot(at, y + 28, colour), _text(at + 7, y + 32, name, "note")]
            at -= 8
    return parts


def _picture(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    body = "\n".join(f"  {part}" for part in parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"
     aria-labelledby="title words" font-family="system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
     font-size="14">
  <title id="title">{escape(title)}</title>
  <desc id="words">{escape(description)}</desc>
  <style>{_STYLE}
  </style>
  <rect class="card" x="1" y="1" width="{width - 2:g}" height="{height - 2:g}" rx="12"/>
{body}
</svg>
"""


def _short(value: float) -> str:
    """As short as an axis wants it: 0.01, 100, 10k, 1M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x1:g} {y1:g}L{x2:g} {y2:g}"/>'


def _dot(x: float, y: float, colour: int) -> str:
    return f'<circle class="c{colour % _COLOURS}" cx="{x:g}" cy="{y:g}" r="5"/>'
