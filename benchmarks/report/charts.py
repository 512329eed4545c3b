"""
Charts of ratios, as SVG: a dot for the median, a line for the 95 % interval, on a logarithmic scale; and where the goal is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from xml.sax.saxutils import escape

from benchmarks.report.stats import Ratio
from benchmarks.report.table import Row, number

_INK, _PAPER, _SOFT, _LINE = "#1c2733", "#ffffff", "#eef3f8", "#8aa0b5"
_PLAIN, _REACHED, _MISSED = "#3b6ea5", "#2e7d4f", "#b4461f"

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP, _BOTTOM = 860, 370, 130, 22, 46, 40

# Characters of a name that there is room for.
_NAME = 52


class _Scale:
    """Ratios to pixels."""

    def __init__(self, ratios: Sequence[Ratio], goals: Sequence[float]) -> None:
        low = min([1.0, *(each.low for each in ratios), *goals])
        high = max([1.0, *(each.high for each in ratios), *goals])
        self.low, self.high = floor(log10(low) * 2 - 0.2) / 2, ceil(log10(high) * 2 + 0.2) / 2

    def __call__(self, ratio: float) -> float:
        part = (log10(ratio) - self.low) / (self.high - self.low)
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> list[float]:
        """Round numbers within it."""
        steps = [m * 10.0**e for e in range(floor(self.low), ceil(self.high) + 1) for m in (1, 2, 5)]
        found = [step for step in steps if self.low <= log10(step) <= self.high]
        return found if len(found) <= 8 else [step for step in found if f"{step:e}"[0] == "1"]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, color: str = _INK) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1, more: str = "") -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{color}" stroke-width="{width:g}"{more}/>'


def chart(title: str, rows: Sequence[Row]) -> str:
    """
    :param title: what it is about
    :param rows: those with a ratio that is above zero are drawn
    :return: the picture; empty if there is nothing to draw
    """
    drawn = [row for row in rows if row.ratio is not None and row.ratio.low > 0]
    if not drawn:
        return ""
    scale = _Scale([row.ratio for row in drawn if row.ratio is not None], [row.goal for row in drawn if row.goal])
    height = _TOP + _ROW * len(drawn) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        f' font-family="sans-serif" role="img"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="{_PAPER}"/>',
        _text(16, 24, title, size=15),
        _text(_WIDTH - 12, 24, "ours to it, 95 %", anchor="end", color=_LINE),
    ]
    bottom = height - _BOTTOM + 4
    for tick in scale.ticks():
        parts.append(_line(scale(tick), _TOP - 8, scale(tick), bottom, _INK if tick == 1 else _SOFT))
        parts.append(_text(scale(tick), bottom + 16, f"{tick:g}", anchor="middle"))
    before = ""
    for n, row in enumerate(drawn):
        parts += _row(row, _TOP + _ROW * n + _ROW / 2, scale, repeated=row.workload == before)
        before = row.workload
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(row: Row, y: float, scale: _Scale, *, repeated: bool) -> list[str]:
    assert row.ratio is not None
    color = _PLAIN if row.reached is None else _REACHED if row.reached else _MISSED
    name = f"{row.workload} / {row.contender}" if not repeated else f"/ {row.contender}"
    said = f"{row.workload}, ours to {row.contender}: {row.ratio}; {row.contender}: {number(row)} {row.verdict}"
    parts = [
        f"<g><title>{escape(said)}</title>",
        _text(_LEFT - 12, y + 4, name if len(name) <= _NAME else name[: _NAME - 1] + "…", anchor="end"),
        _line(scale(row.ratio.low), y, scale(row.ratio.high), y, color, 3, ' stroke-opacity="0.45"'),
        f'<circle cx="{scale(row.ratio.middle):.1f}" cy="{y:.1f}" r="4.5" fill="{color}"/>',
        _text(_WIDTH - 12, y + 4, str(row.ratio), anchor="end", size=11, color=color),
    ]
    if row.goal:
        x = scale(row.goal)
        # An arrow from the goal to the side on which it is reached.
        tip = x - 7 if row.smaller else x + 7
        parts.append(_line(x, y - 8, x, y + 8, _INK, 1.5))
        parts.append(f'<path d="M{x:.1f} {y - 8:.1f}L{tip:.1f} {y - 5:.1f}L{x:.1f} {y - 2:.1f}z" fill="{_INK}"/>')
    return [*parts, "</g>"]
