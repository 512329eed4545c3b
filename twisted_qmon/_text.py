"""
Text for a terminal: what is printable, columns, sizes and time spans.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

__all__ = [
    "SHOWN",
    "columns",
    "cut",
    "json_text",
    "more",
    "printable",
    "quantity",
    "short_number",
    "short_span",
    "size",
    "span",
    "table",
]

#: Rows of a list that a person is shown who gave no C{limit}.
SHOWN = 100

_Row = TypeVar("_Row")

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DECIMAL = ("", "k", "M", "G", "T", "P")

# Controls; invisible characters, among them those that change the direction of writing; lone surrogates; line separators.
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_SHORT_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


class _Escapes(dict[int, "int | str"]):
    """What L{str.translate} puts for each character. Those that are frequent are kept."""

    def __init__(self, keep: str) -> None:
        super().__init__((ord(c), ord(c)) for c in keep)

    def __missing__(self, code: int) -> int | str:
        c = chr(code)
        found: int | str = code
        if not c.isprintable() and unicodedata.category(c) in _UNPRINTABLE:
            found = _SHORT_ESCAPES.get(c) or _escape(code)
        if code < 0x250:
            self[code] = found
        return found


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_TABLES: dict[str, _Escapes] = {}


def printable(text: str, keep: str = "") -> str:
    """
    Text that has no effect on a terminal but to be seen: control characters, invisible ones, and what UTF-8 can't encode become
    escapes (C{\\x1b}, C{\\u202e}, C{\\ud800}).

    :param keep: characters that stay as they are
    """
    if text.isprintable():
        return text
    table = _TABLES.get(keep)
    if table is None:
        table = _TABLES[keep] = _Escapes(keep)
    return text.translate(table)


def json_text(value: object, *, indent: int | None = None) -> str:
    """
    :return: JSON that has no effect on a terminal: pure ASCII, control characters escaped
    """
    # DEL is the one control character that JSON does not escape; it can only be inside a string.
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def _scaled(number: float, base: int, units: Sequence[str]) -> tuple[str, str]:
    """At most three significant digits, and the unit that they are in."""
    unit = units[0]
    for unit in units:
        if abs(number) < (999.5 if base == 1000 else 1023.995) or unit == units[-1]:
            break
        number /= base
    digits = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text, unit


def size(number: float) -> str:
    """
    :param number: bytes
    :return: them in the unit that fits: C{"512 B"}, C{"1.5 MiB"}
    """
    return " ".join(_scaled(number, 1024, _BINARY))


def short_number(number: float) -> str:
    """:return: the number with a decimal prefix: C{"950"}, C{"12.3k"}, C{"4.56M"}"""
    return "".join(_scaled(number, 1000, _DECIMAL))


def span(seconds: float) -> str:
    """:return: a time span in the unit that fits: C{"3.1 ms"}, C{"2.3 s"}, C{"4 min 5 s"}, C{"2 d 3 h"}"""
    if seconds < 0:
        return "-" + span(-seconds)
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def short_span(seconds: float) -> str:
    """:return: a time span of at most six characters: C{"12ms"}, C{"3.1s"}, C{"4m5s"}, C{"2d3h"}"""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours < 1:
        return f"{minutes}m{whole % 60}s"
    if days < 1:
        return f"{hours}h{minutes % 60}m"
    return f"{days}d{hours % 24}h" if days < 100 else f"{days}d"


def quantity(number: int, thing: str) -> str:
    """:return: C{"1 call"}, C{"3,120 calls"}"""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def columns(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """
    Lay out cells in columns as wide as their widest cell, two blanks apart. Each cell is made L{printable}, so that a line stays
    one line.

    :param lines: the cells of each line; all lines have the same number
    :param right: for each column, whether its cells are aligned at the right
    """
    cells = [[printable(cell) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    L{columns} below their titles.

    :param head: the titles; one that begins with C{>} is of a column that is aligned at the right
    """
    titles = [title.removeprefix(">") for title in head]
    return "\n".join(columns([titles, *rows], [title.startswith(">") for title in head]))


def cut(
    rows: Sequence[_Row], arguments: Mapping[str, object], total: Callable[[], int], *, latest: bool = False
) -> tuple[Sequence[_Row], int]:
    """
    Choose what to print of the result of a command that takes a C{limit}, where none or 0 means all.

    :param rows: the result
    :param arguments: those of the command
    :param total: counts the rows that there would be without a limit; called only if there may be more than in the result
    :param latest: print the last rows, not the first
    :return: the rows to print, at most L{SHOWN} where no limit was given, and how many are left out
    """
    limit = arguments.get("limit")
    if limit is None:
        printed = rows[-SHOWN:] if latest else rows[:SHOWN]
        return printed, len(rows) - len(printed)
    return rows, total() - len(rows) if limit and limit == len(rows) else 0


def more(hidden: int, where: str = "more") -> str:
    """:return: the line that says that a list was cut: C{"... and 3,120 more (limit=0 shows all)"}"""
    return f"... and {hidden:,} {where} (limit=0 shows all)"
