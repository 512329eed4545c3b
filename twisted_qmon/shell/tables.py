"""
Results as tables and trees at a terminal, drawn by rich.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from twisted_qmon._text import printable
from twisted_qmon.info import JSON

__all__ = ["readable", "write_readable"]

#: What is nested deeper than this is shown as text.
MAX_DEPTH = 12

_KEY = "cyan"
_DIM = "dim"


def write_readable(value: JSON, stream: TextIO, *, colour: bool, width: int | None = None) -> None:
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


def readable(value: JSON) -> RenderableType:
    """:return: a table for a list of like objects, two columns for an object, a tree for what is nested, text for the rest"""
    if isinstance(value, str):
        return Text(printable(value.replace("\r\n", "\n"), keep="\n\t"))
    if isinstance(value, Mapping):
        return _grid(value) if all(map(_is_short, value.values())) else _tree(value)
    if isinstance(value, (list, tuple)):
        return _table(value) or _tree(value)
    return _scalar(value)


def _grid(value: Mapping[str, JSON]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for key, inner in value.items():
        grid.add_row(Text(printable(key), style=_KEY), _short(inner))
    return grid


def _tree(value: Mapping[str, JSON] | Sequence[JSON]) -> Tree:
    tree = Tree("", hide_root=True, guide_style=_DIM)
    _grow(tree, value, 0)
    return tree


def _grow(tree: Tree, value: Mapping[str, JSON] | Sequence[JSON], depth: int) -> None:
    """Add the members of an object, or the elements of a list, to a tree."""
    pairs = value.items() if isinstance(value, Mapping) else ((f"[{n}]", each) for n, each in enumerate(value))
    for key, inner in pairs:
        label = Text(printable(key), style=_KEY)
        if _is_short(inner) or depth >= MAX_DEPTH or not isinstance(inner, (Mapping, list, tuple)):
            tree.add(Text.assemble(label, "  ", _short(inner)))
            continue
        branch = tree.add(label)
        table = None if isinstance(inner, Mapping) else _table(inner)
        if table is not None:
            branch.add(table)
        else:
            _grow(branch, inner, depth + 1)


def _table(elements: Sequence[JSON]) -> Table | None:
    """A table, if the elements are objects that are alike and flat."""
    rows = [element for element in elements if isinstance(element, Mapping) and element]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not rows or len(rows) < len(elements):
        return None
    if any(2 * len(row) < len(columns) or not all(map(_is_short, row.values())) for row in rows):
        return None
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for key in columns:
        numeric = all(_is_number(row[key]) for row in rows if key in row)
        table.add_column(Text(printable(key)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_short(row[key]) if key in row else Text() for key in columns))
    return table


def _is_scalar(value: JSON) -> bool:
    return not isinstance(value, (Mapping, list, tuple))


def _is_number(value: JSON) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_short(value: JSON) -> bool:
    """It fits on a line: a scalar, a list of scalars, or nothing."""
    return _is_scalar(value) or not value or (isinstance(value, (list, tuple)) and all(map(_is_scalar, value)))


def _short(value: JSON) -> Text:
    if _is_scalar(value):
        return _scalar(value)
    if not value:
        return Text("none", style=_DIM)
    if isinstance(value, (list, tuple)) and all(map(_is_scalar, value)):
        return Text(", ").join(map(_scalar, value))
    return Text(printable(str(value)))


def _scalar(value: JSON) -> Text:
    if value is None:
        return Text("none", style=_DIM)
    if isinstance(value, bool):
        return Text("true", style="green") if value else Text("false", style="red")
    if isinstance(value, str):
        return Text(printable(value)) if value else Text('""', style=_DIM)
    return Text(str(value), style="magenta")
