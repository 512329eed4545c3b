"""
What becomes of a command at many members, as it is shown: on a pipe a line of JSON for each; at a terminal a line for each and a
bar, and at the end a table in which equal outcomes are one row.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from twisted_qmon._text import json_text, printable, span
from twisted_qmon.shell.bar import bar
from twisted_qmon.shell.output import Output

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.shell.fleet.scatter import Outcome

__all__ = ["NAMED", "PERIOD", "Report", "summary"]

#: Seconds between two drawings of the bar.
PERIOD = 0.1

#: How many members a row of the table names.
NAMED = 3


class Report:
    """
    Shows outcomes as they come.

    :param output: where to
    :param total: how many will come
    :param now: the time in seconds, of any clock that is steady
    :ivar status: the exit status of the worst so far
    :ivar came: how many have come
    """

    def __init__(self, output: Output, total: int, now: Callable[[], float]) -> None:
        self.status = 0
        self.came = 0
        self._output = output
        self._total = total
        self._now = now
        self._failed = 0
        self._kept: list[Outcome] = []
        self._live = not output.as_json and output.stdout.isatty()
        self._bar = _Bar(output.stderr) if output.stderr.isatty() else None
        self._drawn = -PERIOD

    def add(self, outcome: Outcome) -> None:
        """One has come."""
        self.came += 1
        self._failed += outcome.error is not None
        self.status = max(self.status, outcome.status)
        if self._output.as_json:
            self._write(json_text(_row(outcome)) + "\n")
        else:
            self._kept.append(outcome)
            if self._live:
                self._write(_line(outcome, shutil.get_terminal_size().columns) + "\n")
        self._draw()

    def _write(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
            self._drawn = -PERIOD
        self._output.write(text)
        self._output.flush()

    def _draw(self) -> None:
        if self._bar is not None and (self.came == self._total or self._now() - self._drawn >= PERIOD):
            self._drawn = self._now()
            failed = f", {self._failed} failed" if self._failed else ""
            self._bar.draw(f"{bar(self.came, self._total, plain=True)}  {self.came}/{self._total}{failed}")

    def finish(self) -> None:
        """No other comes."""
        if self._bar is not None:
            self._bar.clear()
        if self._kept:
            self._output.result(summary(self._kept))
        self._output.flush()


class _Bar:
    """One line at the bottom of a terminal that is drawn over."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def draw(self, text: str) -> None:
        self._stream.write(f"\r{text.ljust(self._width)}")
        self._stream.flush()
        self._width = len(text)

    def clear(self) -> None:
        if self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()
            self._width = 0


def _row(outcome: Outcome) -> dict[str, JSON]:
    """For a program."""
    row: dict[str, JSON] = {"member": outcome.member, "seconds": round(outcome.seconds, 6)}
    if outcome.error is None:
        row["return"] = outcome.result
    else:
        row["error"] = outcome.error.to_wire()
    return row


def _text(outcome: Outcome) -> str:
    return json_text(outcome.result) if outcome.error is None else str(outcome.error)


def _line(outcome: Outcome, width: int) -> str:
    """For a person, no wider than the screen."""
    return printable(f"{outcome.member}  {_text(outcome)}")[: max(1, width - 1)]


def summary(outcomes: list[Outcome]) -> list[dict[str, JSON]]:
    """:return: a row for outcomes that are the same, those of the most members first"""
    groups: dict[tuple[bool, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.error is None, _text(outcome)), []).append(outcome)
    return [_group(each) for each in sorted(groups.values(), key=len, reverse=True)]


def _group(outcomes: list[Outcome]) -> dict[str, JSON]:
    first = outcomes[0]
    names = sorted(outcome.member for outcome in outcomes)
    which = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    row: dict[str, JSON] = {"members": len(outcomes), "which": which}
    if first.error is not None:
        row["error"] = str(first.error)
    elif isinstance(first.result, Mapping) and all(_is_flat(value) for value in first.result.values()):
        row.update({key: value for key, value in first.result.items() if key not in row})
    else:
        row["result"] = json_text(first.result)
    row["slowest"] = span(max(outcome.seconds for outcome in outcomes))
    return row


def _is_flat(value: JSON) -> bool:
    return not isinstance(value, (Mapping, list, tuple))
