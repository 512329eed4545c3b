"""
Plain JSON data: what every result is in the end. Strings, integers of 64 bits, finite floats, booleans, C{None}, and lists and
string-keyed dictionaries of them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, Final, TypeGuard

from twisted_qmon.info import JSON
from twisted_qmon.qapi.types.errors import ResultError

__all__ = ["INT_HIGH", "INT_LOW", "MAX_DEPTH", "UINT_HIGH", "check_text", "is_as_read", "is_plain", "plain"]

INT_LOW: Final = -(1 << 63)
INT_HIGH: Final = (1 << 63) - 1
UINT_HIGH: Final = (1 << 64) - 1

#: How deep lists and dictionaries may nest. QEMU's parser takes 1024 levels, the reply around the result included.
MAX_DEPTH: Final = 1000


def plain(value: object) -> JSON:
    """
    Verify that a value is plain JSON data.

    :return: the value itself, untouched, if it is; if it only holds subclasses (of C{dict}, C{str}...), mappings or enums, a
        copy without them
    :raise ResultError: when JSON can't say it
    """
    return value if is_plain(value) else _Copier().copy(value)


def is_as_read(arguments: object) -> TypeGuard[dict[str, JSON]]:
    """:return: whether arguments are JSON data as a reader makes it: of the very types, integers of 64 bits"""
    return type(arguments) is dict and is_plain(arguments)


def is_plain(value: object) -> TypeGuard[JSON]:
    """:return: whether a value is plain JSON data, made of the very types: no subclasses"""
    # On every reply without an annotation, so with everything in one loop; no recursion, so that depth is counted here and
    # not by the interpreter.
    outer: list[Iterator[Any]] = []
    inner: Iterator[Any] = iter((value,))
    while True:
        for item in inner:
            kind = type(item)
            if (
                (kind is str and (item.isascii() or _encodable(item)))
                or (kind is int and INT_LOW <= item <= UINT_HIGH)
                or item is None
                or kind is bool
                or (kind is float and isfinite(item))
            ):
                continue
            if kind is dict:
                for key in item:
                    if type(key) is not str or not (key.isascii() or _encodable(key)):
                        return False
            elif kind is not list and kind is not tuple:
                return False
            outer.append(inner)
            inner = iter(item.values() if kind is dict else item)
            break
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
    :raise ResultError: when it has a lone surrogate
    """
    if not value.isascii() and not _encodable(value):
        raise ResultError(f"{value!r} has a lone surrogate, which JSON can't say")
    return value if type(value) is str else str.__str__(value)


class _Copier:
    """Makes plain data out of what is nearly so, and finds what is wrong."""

    def copy(self, value: object) -> JSON:
        try:
            return self._copy(value, 0)
        except RecursionError:
            raise ResultError("lists and dictionaries nest too deeply, or within themselves") from None

    def _copy(self, value: object, depth: int) -> JSON:
        if depth > MAX_DEPTH:
            raise RecursionError
        if isinstance(value, enum.Enum):
            return self._copy(value.value, depth)
        if isinstance(value, Mapping):
            return {self._key(key): self._member(key, item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._member(index, item, depth) for index, item in enumerate(value)]
        return self._scalar(value)

    def _scalar(self, value: object) -> JSON:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return check_text(value)
        if isinstance(value, int):
            if not INT_LOW <= value <= UINT_HIGH:
                raise ResultError(f"{value} does not fit into 64 bits")
            return int(value)
        if isinstance(value, float):
            if not isfinite(value):
                raise ResultError(f"JSON has no {value!r}")
            return float(value)
        raise ResultError(f"JSON can't say a {type(value).__name__}")

    def _key(self, key: object) -> str:
        if isinstance(key, enum.Enum):
            key = key.value
        if not isinstance(key, str):
            raise ResultError(f"a member's name is a string, not {key!r}")
        return check_text(key)

    def _member(self, part: str | int, value: object, depth: int) -> JSON:
        try:
            return self._copy(value, depth + 1)
        except ResultError as e:
            e.path.append(part)
            raise
