"""
Plain JSON data: what every result is in the end. Strings, integers of 64 bits, finite floats, booleans, C{None}, and lists and
string-keyed dictionaries of them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

__all__ = ["INT_HIGH", "INT_LOW", "MAX_DEPTH", "UINT_HIGH", "Unfit", "check_text", "join_path", "plain"]

INT_LOW: Final = -(1 << 63)
INT_HIGH: Final = (1 << 63) - 1
UINT_HIGH: Final = (1 << 64) - 1

#: How deep lists and dictionaries may nest. QEMU's parser takes 1024 levels, the reply around the result included.
MAX_DEPTH: Final = 1000


class Unfit(TypeError):
    """
    A value that does not fit its annotation, or that JSON can't say. The path to it is put in front on the way out.

    :ivar why: what is wrong
    :ivar path: the names and indexes that lead to the value, innermost first
    """

    def __init__(self, why: str, *path: str | int) -> None:
        super().__init__(why)
        self.why = why
        self.path: list[str | int] = list(path)

    def __str__(self) -> str:
        return f"{join_path(self.path)}: {self.why}" if self.path else self.why


def join_path(path: list[str | int]) -> str:
    """
    :param path: names and indexes, innermost first
    :return: as QEMU writes it: C{a[0].b}
    """
    text = ""
    for part in reversed(path):
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def plain(value: Any) -> Any:
    """
    Verify that a value is plain JSON data.

    :return: the value itself, untouched, if it is; if it only holds subclasses (of C{dict}, C{str}...), mappings or enums, a
        copy without them
    :raise Unfit: when JSON can't say it
    """
    return value if _is_plain(value) else _Copier().copy(value, 0)


def _is_plain(value: Any) -> bool:
    # On every reply without an annotation, so with everything in one loop; no recursion, so that depth is counted here and
    # not by the interpreter.
    outer: list[Any] = []
    inner = iter((value,))
    while True:
        for item in inner:
            kind = type(item)
            if kind is str:
                if not item.isascii() and not _encodable(item):
                    return False
            elif kind is int:
                if not INT_LOW <= item <= UINT_HIGH:
                    return False
            elif kind is dict:
                if not item:
                    continue
                for key in item:
                    if type(key) is not str or not (key.isascii() or _encodable(key)):
                        return False
                outer.append(inner)
                inner = iter(item.values())
                break
            elif kind is list or kind is tuple:
                if not item:
                    continue
                outer.append(inner)
                inner = iter(item)
                break
            elif kind is float:
                if not isfinite(item):
                    return False
            elif kind is not bool and item is not None:
                return False
        else:
            if not outer:
                return True
            inner = outer.pop()
            continue
        if len(outer) > MAX_DEPTH:
            return False


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_text(value: str) -> str:
    """
    :return: the string, as a plain C{str}
    :raise Unfit: when it has a lone surrogate
    """
    if not value.isascii() and not _encodable(value):
        raise Unfit(f"{value!r} has a lone surrogate, which JSON can't say")
    return value if type(value) is str else str.__str__(value)


class _Copier:
    """Makes plain data out of what is nearly so, and finds what is wrong: the slow road beside C{_is_plain}."""

    def copy(self, value: Any, depth: int) -> Any:
        try:
            return self._copy(value, depth)
        except RecursionError:
            raise Unfit("lists and dictionaries nest too deeply, or within themselves") from None

    def _copy(self, value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise RecursionError
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self._copy(value.value, depth)
        if isinstance(value, str):
            return check_text(value)
        if isinstance(value, int):
            if not INT_LOW <= value <= UINT_HIGH:
                raise Unfit(f"{value} does not fit into 64 bits")
            return int(value)
        if isinstance(value, float):
            if not isfinite(value):
                raise Unfit(f"JSON has no {value!r}")
            return float(value)
        if isinstance(value, Mapping):
            return {self._key(key): self._member(key, item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._member(index, item, depth) for index, item in enumerate(value)]
        raise Unfit(f"JSON can't say a {type(value).__name__}")

    def _key(self, key: Any) -> str:
        if isinstance(key, enum.Enum):
            key = key.value
        if not isinstance(key, str):
            raise Unfit(f"a member's name is a string, not {key!r}")
        return check_text(key)

    def _member(self, part: str | int, value: Any, depth: int) -> Any:
        try:
            return self._copy(value, depth + 1)
        except Unfit as e:
            e.path.append(part)
            raise
