"""
Rows, and the tables that are made of them, in Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.report.stats import Ratio


@dataclass(frozen=True)
class Row:
    """
    One line.

    :ivar workload: what is done
    :ivar contender: who does it
    :ivar rate: of C{unit}
    :ivar ratio: ours to this one; above 1 is good for us unless C{smaller} is
    :ivar goal: what the ratio is to reach
    :ivar smaller: the ratio is to be at most the goal
    :ivar cpu: the server's CPU seconds for 1,000 requests
    :ivar memory: the most the process had resident, in MiB
    """

    workload: str
    contender: str
    rate: float
    ratio: Ratio | None = None
    goal: float | None = None
    smaller: bool = False
    cpu: float | None = None
    memory: float | None = None
    unit: str = "/s"

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached: by the middle of the measurement, beyond doubt or not. C{None}: there is none."""
        if self.goal is None or self.ratio is None:
            return None
        return self.ratio.middle <= self.goal if self.smaller else self.ratio.middle >= self.goal

    @property
    def verdict(self) -> str:
        """The goal, and whether it is reached, in words."""
        if self.reached is None:
            return ""
        return f"{'<=' if self.smaller else '>='} {self.goal:g} {'yes' if self.reached else 'NO'}"


_HEAD = ("workload", "contender", "rate", "ours to it [95 %]", "goal", "CPU ms/1000", "peak MiB")
_WIDTHS = (40, 26, 14, 22, 12, 12, 9)
_NAMES = 2


def _line(cells: Iterable[str]) -> str:
    padded = [
        cell.ljust(width) if n < _NAMES else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    ]
    return "| " + " | ".join(padded) + " |"


def header() -> str:
    """:return: the head of the table, in Markdown"""
    rule = ("-" * width if n < _NAMES else "-" * (width - 1) + ":" for n, width in enumerate(_WIDTHS))
    return f"{_line(_HEAD)}\n{_line(rule)}"


def line(row: Row, before: Row | None = None) -> str:
    """
    :param before: the row above it: a workload's name is not repeated
    :return: a line of the table
    """
    return _line(
        (
            row.workload if before is None or row.workload != before.workload else "",
            row.contender,
            number(row),
            str(row.ratio) if row.ratio is not None else "",
            row.verdict,
            f"{row.cpu * 1000:.2f}" if row.cpu is not None else "",
            f"{row.memory:.0f}" if row.memory is not None else "",
        )
    )


def number(row: Row) -> str:
    """:return: the rate with its unit"""
    return f"{row.rate:,.0f} {row.unit}" if row.rate >= 100 else f"{row.rate:,.2f} {row.unit}"


def table(rows: Iterable[Row]) -> str:
    """:return: all of it"""
    lines, before = [header()], None
    for row in rows:
        lines.append(line(row, before))
        before = row
    return "\n".join(lines) + "\n"


def goals(rows: Iterable[Row], why: dict[tuple[str, str], str]) -> Iterator[str]:
    """
    :param why: of each goal that is known to be missed, by workload and contender
    :return: the lines of the table of goals
    """
    yield "| goal | against | is to be | is [95 %] | reached | why not |"
    yield "| --- | --- | ---: | ---: | --- | --- |"
    for row in rows:
        if row.reached is None:
            continue
        limit = f"{'<=' if row.smaller else '>='} {row.goal:g}"
        reason = "" if row.reached else why.get((row.workload, row.contender), "")
        cells = (row.workload, row.contender, limit, str(row.ratio), "yes" if row.reached else "**NO**", reason)
        yield "| " + " | ".join(cells) + " |"
