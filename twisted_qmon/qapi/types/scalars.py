"""
The types of single values. To add one, see L{Type<twisted_qmon.qapi.types.base.Type>}.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from math import isfinite
from sys import float_info
from typing import Annotated, Any, Final

import msgspec

from twisted_qmon.info import JSON, TypeInfo
from twisted_qmon.qapi.types.base import Type
from twisted_qmon.qapi.types.errors import ArgumentError, ResultError
from twisted_qmon.qapi.types.fast import In, Out, bounded, one_of
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qapi.types.marks import Width
from twisted_qmon.qapi.types.plain import INT_HIGH, INT_LOW, UINT_HIGH, check_text, plain

__all__ = ["SIMPLE", "AnyType", "BoolType", "EnumType", "IntType", "NullType", "NumberType", "StrType"]


class StrType(Type):
    """C{str}."""

    info = TypeInfo("str")
    kinds = frozenset({"string"})
    native = str
    passing = str
    passes = staticmethod(str.isascii)

    def decode(self, value: JSON) -> str:
        if isinstance(value, str):
            return value
        raise ArgumentError.kind("string")

    def encode(self, value: object) -> str:
        if type(value) is str and value.isascii():
            return value
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, str):
            return check_text(value)
        raise ResultError.kind(value, "a string")


class IntType(Type):
    """
    C{int}: an integer within bounds.

    :param width: the bounds, and the name for them; C{None}: a signed 64-bit integer
    """

    kinds = frozenset({"integer"})

    passing = int

    def __init__(self, width: Width | None = None) -> None:
        self._low, self._high = (INT_LOW, INT_HIGH) if width is None else (width.low, width.high)
        self._signed = self._low < 0
        self.native = bounded(self._low, self._high)
        self.passes = range(self._low, self._high + 1).__contains__
        if width is None:
            self.info = TypeInfo("int")
        elif width.name == "size":
            self.info = TypeInfo("size")
        else:
            self.info = TypeInfo("int", width.name)

    def decode(self, value: JSON) -> int:
        if type(value) is int and self._low <= value <= self._high:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            if self._low <= value <= self._high:
                return int(value)
            # QEMU reads an unsigned integer of any width as uint64 and complains in that name. The one of its own width, which
            # it has for a value that is too large, is the C type's.
            if self._high not in (INT_HIGH, UINT_HIGH) and INT_LOW <= value <= (
                INT_HIGH if self._signed else UINT_HIGH
            ):
                raise ArgumentError("Parameter '", f"' expects {self.info.name}_t", leaf=True)
        if self._signed:
            raise ArgumentError.kind("integer")
        raise ArgumentError("Parameter '", "' expects uint64")

    def encode(self, value: object) -> int:
        if type(value) is int and self._low <= value <= self._high:
            return value
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, int) and not isinstance(value, bool):
            if self._low <= value <= self._high:
                return int(value)
            raise ResultError(f"{value} is not within {self._low}...{self._high}")
        raise ResultError.kind(value, "an integer")


class NumberType(Type):
    """C{float}: any JSON number."""

    info = TypeInfo("number")
    kinds = frozenset({"number", "integer"})
    native = float
    passing = float
    passes = staticmethod(isfinite)

    def decode(self, value: JSON) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                pass  # an integer that no float is near to: refused as what it is not
        raise ArgumentError.kind("number")

    def encode(self, value: object) -> float:
        if type(value) is float and value - value == 0.0:  # neither NaN nor infinite
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ResultError.kind(value, "a number")
        if isinstance(value, int):
            if not INT_LOW <= value <= UINT_HIGH:
                raise ResultError(f"{value} does not fit into 64 bits")
            return int(value)
        if not isfinite(value):
            raise ResultError(f"JSON has no {value!r}")
        return float(value)

    def fast_out(self) -> Out:
        finite = Annotated[float, msgspec.Meta(ge=-float_info.max, le=float_info.max)]
        return Out(bounded(INT_LOW, UINT_HIGH) | finite, frozenset({int, float}))


class BoolType(Type):
    """C{bool}."""

    info = TypeInfo("bool")
    kinds = frozenset({"boolean"})
    native = bool
    passing = bool

    def decode(self, value: JSON) -> bool:
        if isinstance(value, bool):
            return value
        raise ArgumentError.kind("boolean")

    def encode(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise ResultError.kind(value, "a bool")


class NullType(Type):
    """C{None}."""

    info = TypeInfo("null")
    kinds = frozenset({"null"})

    def decode(self, value: JSON) -> None:
        if value is not None:
            raise ArgumentError.kind("null")

    def encode(self, value: object) -> None:
        if value is not None:
            raise ResultError.kind(value, "None")


class AnyType(Type):
    """Any JSON value."""

    info = TypeInfo("any")
    kinds = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})

    def decode(self, value: JSON) -> JSON:
        return value

    def encode(self, value: object) -> JSON:
        return plain(value)

    def fast_in(self) -> In:
        return In(Any)


class EnumType(Type):
    """
    An enum, or a C{Literal}.

    :param values: the strings, and what each is in Python
    :param name: the enum's name; empty for a C{Literal} of strings
    :param cls: the enum whose members these are, all of them; C{None}: there is none
    """

    kinds = frozenset({"string"})
    passing = str

    def __init__(self, values: Mapping[str, object], name: str = "", cls: type[enum.Enum] | None = None) -> None:
        self.info = TypeInfo("enum", name, tuple(values))
        self._values = dict(values)
        self._strings = {member: value for value, member in values.items()}
        # With a method of its own for what is none of its values, an enum takes more than those.
        self._class = cls if cls is not None and _missing(cls) is _missing(enum.Enum) else None
        self._literal = all(type(member) is str for member in values.values())
        self.passes = self._values.__contains__

    def decode(self, value: JSON) -> object:
        if not isinstance(value, str):
            raise ArgumentError.kind("string")
        try:
            return self._values[value]
        except KeyError:
            raise ArgumentError.value(value) from None

    def encode(self, value: object) -> str:
        if type(value) is str and value in self._values:
            return value
        try:
            return self._strings[value]
        except (KeyError, TypeError):
            raise ResultError.kind(value, f"one of {', '.join(self._values)}") from None

    def fast_in(self) -> In:
        if self._class is not None:
            return In(self._class)
        return In(one_of(self._values), None if self._literal else self._values.__getitem__)

    def fast_out(self) -> Out | None:
        if self._class is not None:
            return Out(self._class, frozenset({self._class, str}))
        return Out(one_of(self._values), frozenset({str})) if self._literal else None


def _missing(cls: type[enum.Enum]) -> object:
    return getattr(cls._missing_, "__func__", cls._missing_)


#: The annotations that are a type by themselves.
SIMPLE: Final[Mapping[object, Callable[[], Type]]] = {
    str: StrType,
    int: IntType,
    float: NumberType,
    bool: BoolType,
    None: NullType,
    type(None): NullType,
    Any: AnyType,
    object: AnyType,
    JSONText: AnyType,
}
