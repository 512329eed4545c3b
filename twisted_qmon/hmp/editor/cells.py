"""
Characters and the cells of a terminal that they take. No I/O.

A I{cluster} is what the cursor moves over in one step: a character and the marks that are combined with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category

from wcwidth import wcwidth

from twisted_qmon._text import printable

__all__ = ["LEAST_COLUMNS", "Cell", "Layout", "cells", "cells_of", "clusters", "lay_out", "width"]

#: Columns of the narrowest terminal: a wide character must fit.
LEAST_COLUMNS = 2

#: What stands in a place of the terminal, and how many columns it takes: 1 or 2.
Cell = tuple[str, int]

_BLANK: Cell = (" ", 1)

# Those that a paste may bring, as terminals show them.
_CARETS = {"\n": "^J", "\t": "^I"}


@lru_cache(maxsize=4096)
def _is_mark(c: str) -> bool:
    """It is combined with the character before it. Invisible characters, such as joiners, are not: they are shown as escapes."""
    return not c.isascii() and category(c)[0] == "M" and wcwidth(c) == 0


def clusters(text: str) -> list[str]:
    """:return: the clusters that a text is made of; a mark at the beginning has one of its own"""
    if text.isascii():
        return list(text)
    found: list[str] = []
    for c in text:
        if found and _is_mark(c):
            found[-1] += c
        else:
            found.append(c)
    return found


@lru_cache(maxsize=4096)
def cells(cluster: str) -> tuple[Cell, ...]:
    """
    :return: the cells that show a cluster. What is invisible, or would have an effect on the terminal, is shown as an escape.
    """
    first = cluster[0]
    shown = _CARETS.get(first) or printable(first)
    if shown == first and not _is_mark(first) and wcwidth(first) > 0:
        return ((cluster, wcwidth(first)),)
    if shown == first:
        shown = f"\\u{ord(first):04x}"
    found = [(c, 1) for c in shown]
    found[-1] = (found[-1][0] + cluster[1:], 1)
    return tuple(found)


def cells_of(text: str) -> list[Cell]:
    """:return: the cells that show a text"""
    return [cell for cluster in clusters(text) for cell in cells(cluster)]


def width(row: Iterable[Cell]) -> int:
    """:return: the columns that cells take together"""
    return sum(columns for _, columns in row)


@dataclass(frozen=True, slots=True)
class Layout:
    """
    How a prompt and a line are laid out in rows. All rows but the last are full, so that the terminal itself goes on in the next.

    :ivar rows: the cells of each row
    :ivar row: the row that the cursor is in
    :ivar column: its column
    """

    rows: list[list[Cell]]
    row: int
    column: int


def lay_out(prompt: Sequence[Cell], line: Sequence[str], cursor: int, columns: int) -> Layout:
    """
    :param prompt: the cells of the prompt
    :param line: the clusters of the line
    :param cursor: in front of which of them the cursor is; behind the last: their number
    :param columns: of the terminal
    :return: where everything stands
    """
    rows: list[list[Cell]] = [[]]
    column = 0

    def put(cell: Cell) -> None:
        nonlocal column
        if column + cell[1] > columns:
            # A wide character does not fit into the last column.
            rows[-1] += [_BLANK] * (columns - column)
            rows.append([])
            column = 0
        rows[-1].append(cell)
        column += cell[1]

    for cell in prompt:
        put(cell)
    at = (0, 0)
    for number, cluster in enumerate(line):
        first, *more = cells(cluster)
        put(first)
        if number == cursor:
            at = (len(rows) - 1, column - first[1])
        for cell in more:
            put(cell)
    if column == columns:
        rows.append([])
        column = 0
    if cursor >= len(line):
        at = (len(rows) - 1, column)
    return Layout(rows, *at)
