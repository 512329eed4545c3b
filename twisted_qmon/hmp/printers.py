"""
The default form of a result for a person, where its command has no printer of its own. No I/O.

Nothing for an empty result; a line for a scalar; C{key: value} in a column for an object; a table for a list of like objects;
indentation for what is nested.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

from twisted_qmon._text import columns, printable, size
from twisted_qmon.info import JSON, CommandInfo, TypeInfo
from twisted_qmon.interfaces import ICaller

__all__ = ["MAX_DEPTH", "MAX_TABLE_WIDTH", "present", "readable_size", "render"]

#: A list of like objects that would make a wider table (in columns) is printed as blocks, one below the other.
MAX_TABLE_WIDTH = 132

#: A short list of scalars stands on one line up to this width (in columns).
MAX_LINE_LIST = 72

#: What is nested deeper than this is printed as JSON.
MAX_DEPTH = 12

_INDENT = "  "

_Scalar: TypeAlias = "str | int | float | bool | None"


def present(info: CommandInfo, result: JSON, arguments: Mapping[str, JSON], caller: ICaller | None = None) -> str:
    """
    Make text for a person out of a command's result, with the command's own printer if it has one.

    :param arguments: those that the command was given; a printer with a second parameter is called with them
    :param caller: who asked; a printer with a third parameter is called with that as well
    :raise TypeError: when the printer returns something else than text
    """
    if info.printer is None:
        return render(result, info.returns)
    text = info.printer(*(result, arguments, caller)[: _count_parameters(info.printer)])
    if not isinstance(text, str):
        raise TypeError(f"the printer of {info.name!r} returned {type(text).__name__}, not a str")
    return text


def _count_parameters(printer: Callable[..., object]) -> int:
    try:
        parameters = inspect.signature(printer).parameters.values()
    except (TypeError, ValueError):
        return 1
    return max(1, sum(parameter.default is parameter.empty for parameter in parameters))


def render(value: Any, kind: TypeInfo | None = None) -> str:
    """
    Make text for a person out of a command's result.

    :param value: plain JSON data
    :param kind: the command's return type where it is known: it tells which numbers are sizes, and the order of columns
    :return: lines separated by C{\\n}, no line end at the end; empty for an empty result
    """
    if value is None or value == "" or value == [] or value == {}:
        return ""
    return "\n".join(_lines(value, kind, 0))


def readable_size(number: int) -> str:
    """
    :param number: bytes
    :return: the exact number and, from 1 KiB on, a readable form beside it: C{"1073741824 (1 GiB)"}
    """
    return str(number) if abs(number) < 1024 else f"{number} ({size(number)})"


def _lines(value: JSON, kind: TypeInfo | None, depth: int) -> list[str]:
    if isinstance(value, Mapping):
        return _object(value, kind, depth)
    if isinstance(value, (list, tuple)):
        return _list(value, kind, depth)
    if isinstance(value, str) and depth == 0:
        return printable(value.replace("\r\n", "\n"), keep="\n\t").rstrip("\n").split("\n")
    return [_scalar(value, kind)]


def _scalar(value: JSON, kind: TypeInfo | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return printable(value) if value else '""'
    if isinstance(value, int) and kind is not None and kind.kind == "size":
        return readable_size(value)
    return str(value)


def _is_scalar(value: JSON) -> TypeGuard[_Scalar]:
    return not isinstance(value, (Mapping, list, tuple))


def _short(value: JSON, kind: TypeInfo | None) -> str | None:
    """The form that fits into one line or cell; C{None} if it has none."""
    if _is_scalar(value):
        return _scalar(value, kind)
    if not value:
        return "none"
    if not isinstance(value, (list, tuple)) or not all(_is_scalar(element) for element in value):
        return None
    text = ", ".join(_scalar(element, _element(kind)) for element in value)
    return text if len(text) <= MAX_LINE_LIST else None


def _element(kind: TypeInfo | None) -> TypeInfo | None:
    return kind.element if kind is not None else None


def _members(kind: TypeInfo | None) -> dict[str, TypeInfo]:
    return {member.name: member.type for member in (kind.members or ())} if kind is not None else {}


def _too_deep(value: JSON) -> list[str]:
    try:
        return [printable(json.dumps(value, ensure_ascii=False))]
    except RecursionError:
        return ["(nested too deeply to show)"]


def _object(value: Mapping[str, JSON], kind: TypeInfo | None, depth: int) -> list[str]:
    if depth > MAX_DEPTH:
        return _too_deep(value)
    types = _members(kind)
    shorts = {key: _short(inner, types.get(key)) for key, inner in value.items()}
    width = max((len(printable(key)) for key, short in shorts.items() if short is not None), default=0)
    lines: list[str] = []
    for key, short in shorts.items():
        label = printable(key) + ":"
        if short is not None:
            lines.append(f"{label:<{width + 1}} {short}")
        else:
            lines.append(label)
            lines += [_INDENT + line for line in _lines(value[key], types.get(key), depth + 1)]
    return lines


def _list(value: Sequence[JSON], kind: TypeInfo | None, depth: int) -> list[str]:
    if depth > MAX_DEPTH:
        return _too_deep(value)
    inner = _element(kind)
    rows = [element for element in value if isinstance(element, Mapping)]
    if len(rows) == len(value):
        table = _table(rows, inner)
        if table is not None:
            return table
    lines: list[str] = []
    # Blocks of several lines are told apart by an empty line, nested ones by a dash at their first.
    for index, element in enumerate(value):
        short = _short(element, inner)
        if short is not None:
            lines.append(short if _is_scalar(element) else f"[{short}]")
            continue
        block = _lines(element, inner, depth + 1)
        if depth:
            lines += [("- " if number == 0 else _INDENT) + line for number, line in enumerate(block)]
        else:
            lines += ([""] if index else []) + block
    return lines


def _table(rows: Sequence[Mapping[str, JSON]], kind: TypeInfo | None) -> list[str] | None:
    """A table, if the rows are alike, each cell fits into one and it is not too wide."""
    present = dict.fromkeys(key for row in rows for key in row)
    types = _members(kind)
    keys = [key for key in types if key in present]
    keys += [key for key in present if key not in types]
    if not keys or any(2 * len(row) < len(keys) for row in rows):
        return None
    cells: list[list[str]] = []
    for row in rows:
        texts = [_short(row[key], types.get(key)) if key in row else "" for key in keys]
        if any(text is None for text in texts):
            return None
        cells.append([text or "" for text in texts])
    numeric = [all(_is_number(row[key]) for row in rows if key in row) for key in keys]
    # A size has a remark behind it; it lines up at the left like text.
    numeric = [yes and not any("(" in line[at] for line in cells) for at, yes in enumerate(numeric)]
    lines = columns([keys, *cells], numeric)
    return lines if max(map(len, lines)) <= MAX_TABLE_WIDTH else None


def _is_number(value: JSON) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
