"""
The one table.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.report.stats import Ratio


@dataclass(frozen=True)
class Row:
    """
    One line.

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
    def verdict(self) -> str:
        """Whether the goal is reached: by the middle of the measurement, beyond doubt or not."""
        if self.goal is None or self.ratio is None:
            return ""
        reached = self.ratio.middle <= self.goal if self.smaller else self.ratio.middle >= self.goal
        return f"{'<=' if self.smaller else '>='} {self.goal:g} {'yes' if reached else 'NO'}"


_WIDTHS = (40, 26, 14, 22, 12, 12, 9)
_last = ""


def _line(*cells: str) -> None:
    padded = [
        cell.ljust(width) if n < 2 else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    ]
    print("| " + " | ".join(padded) + " |", flush=True)


def print_header() -> None:
    """The head, in Markdown."""
    _line("workload", "contender", "rate", "ours to it [95 %]", "goal", "CPU ms/1000", "peak MiB")
    _line(*("-" * width for width in _WIDTHS))


def print_row(row: Row) -> None:
    """One line; the workload's name is not repeated."""
    global _last
    number = f"{row.rate:,.0f}" if row.rate >= 100 else f"{row.rate:,.2f}"
    _line(
        row.workload if row.workload != _last else "",
        row.contender,
        f"{number} {row.unit}",
        str(row.ratio) if row.ratio is not None else "",
        row.verdict,
        f"{row.cpu * 1000:.2f}" if row.cpu is not None else "",
        f"{row.memory:.0f}" if row.memory is not None else "",
    )
    _last = row.workload
