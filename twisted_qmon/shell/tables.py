"""
Results as tables and trees at a terminal, drawn by rich.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from twisted_qmon._text import printable

__all__ = ["readable", "write_readable"]

#: What is nested deeper than this is shown as text.
MAX_DEPTH = 12

_KEY = "cyan"
_DIM = "dim"


def write_readable(value: Any, stream: TextIO, *, colour: bool, width: int | None = None) -> None:
    """
    Write a result for a person.

    :param value: JSON data
    :param colour: with colours and other attributes
    :param width: columns; by default the terminal's
    """
    console = Console(
        file=stream,
        color_system="standard" if colour else None,
        force_terminal=colour,
        no_color=not colour,
        width=width or shutil.get_terminal_size().columns,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    console.print(readable(value))


def readable(value: Any) -> RenderableType:
    """:return: a table for a list of like objects, two columns for an object, a tree for what is nested, text for the rest"""
    if _is_scalar(value):
        text = str(value) if not isinstance(value, (str, bool)) and value is not None else value
        return Text(printable(text.replace("\r\n", "\n"), keep="\n\t")) if isinstance(text, str) else _scalar(value)
    table = _table(value) if isinstance(value, Sequence) else None
    if table is not None:
        return table
    if isinstance(value, Mapping) and all(_is_short(inner) for inner in value.values()):
        grid = Table.grid(padding=(0, 2))
        for key, inner in value.items():
            grid.add_row(Text(printable(key), style=_KEY), _short(inner))
        return grid
    tree = Tree("", hide_root=True, guide_style=_DIM)
    _grow(tree, value, 0)
    return tree


def _grow(tree: Tree, value: Any, depth: int) -> None:
    """Add the members of an object, or the elements of a list, to a tree."""
    pairs = value.items() if isinstance(value, Mapping) else ((f"[{n}]", each) for n, each in enumerate(value))
    for key, inner in pairs:
        label = Text(printable(str(key)), style=_KEY)
        if _is_short(inner) or depth >= MAX_DEPTH:
            tree.add(Text.assemble(label, "  ", _short(inner)))
            continue
        table = _table(inner) if isinstance(inner, Sequence) else None
        branch = tree.add(label)
        if table is not None:
            branch.add(table)
        else:
            _grow(branch, inner, depth + 1)


def _table(rows: Sequence[Any]) -> Table | None:
    """A table, if the elements are objects that are alike and flat."""
    if not rows or not all(isinstance(row, Mapping) and row for row in rows):
        return None
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if any(2 * len(row) < len(columns) or not all(map(_is_short, row.values())) for row in rows):
        return None
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for key in columns:
        numeric = all(_is_number(row[key]) for row in rows if key in row)
        table.add_column(Text(printable(key)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_short(row[key]) if key in row else Text() for key in columns))
    return table


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (Mapping, list, tuple))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_short(value: Any) -> bool:
    return _is_scalar(value) or not value or (not isinstance(value, Mapping) and all(map(_is_scalar, value)))


def _short(value: Any) -> Text:
    if _is_scalar(value):
        return _scalar(value)
    if not value:
        return Text("none", style=_DIM)
    if isinstance(value, Mapping) or not all(map(_is_scalar, value)):
        return Text(printable(str(value)))
    return Text(", ").join(map(_scalar, value))


def _scalar(value: Any) -> Text:
    if value is None:
        return Text("none", style=_DIM)
    if isinstance(value, bool):
        return Text("true", style="green") if value else Text("false", style="red")
    if isinstance(value, str):
        return Text(printable(value)) if value else Text('""', style=_DIM)
    return Text(str(value), style="magenta")
