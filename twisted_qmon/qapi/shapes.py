"""
Shapes: what an annotation comes to. A shape checks and converts values on their way in (C{take}) and out (C{give}).

In and out differ. What comes in comes from a client: what is wrong with it is the client's error, told in QEMU's words
(L{Misfit}). What goes out comes from a handler: what is wrong with it is the program's error
(L{Unfit<twisted_qmon.qapi.plain.Unfit>}).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from twisted_qmon.info import TypeInfo
from twisted_qmon.qapi.plain import INT_HIGH, INT_LOW, UINT_HIGH, Unfit, check_text, join_path, plain
from twisted_qmon.qapi.types import Width

__all__ = ["Misfit", "Shape", "anything", "boolean", "enumeration", "integer", "null", "number", "refuse", "text"]


class Misfit(Exception):
    """
    An argument that is not what was declared. The path to it is put together on the way out.

    :param before: QEMU's words before the argument's name
    :param after: and after it
    :param leaf: only the innermost name is told, not the path: QEMU does so where a string or integer of the right JSON type
        has a value that is not allowed
    :ivar path: the names and indexes that lead to the argument, innermost first
    """

    def __init__(self, before: str, after: str, *path: str | int, leaf: bool = False) -> None:
        super().__init__(before, after)
        self.before = before
        self.after = after
        self.leaf = leaf
        self.path: list[str | int] = list(path)

    @classmethod
    def kind(cls, expected: str) -> Misfit:
        """:return: the one for a wrong JSON type"""
        return cls("Invalid parameter type for '", f"', expected: {expected}")

    @classmethod
    def value(cls, text: str) -> Misfit:
        """:return: the one for a string that is not a value of the enum"""
        return cls("Parameter '", f"' does not accept value '{text}'", leaf=True)

    def __str__(self) -> str:
        path = self.path
        if self.leaf:
            name = next((i for i, part in enumerate(path) if isinstance(part, str)), len(path))
            path = path[: name + 1]
        return f"{self.before}{join_path(path)}{self.after}"


def _by_default(value: Any) -> Any:
    """Stands for the plain road."""
    raise AssertionError(value)


@dataclass(eq=False, slots=True)
class Shape:
    """
    A type and its two roads, in each direction. The plain road says what holds: it converts, or finds the words for what is
    wrong. The fast one only ever accepts: it raises whatever happens to be raised at what it does not understand. Whoever has
    a value tries the fast road first, then the plain one; the roads themselves never change over, or a value that is wrong deep
    inside would be looked at again and again.

    :ivar info: the type, for the schema and for help
    :ivar take: the plain road in: what comes in -> the Python value; raises L{Misfit}
    :ivar give: the plain road out: the Python value -> plain JSON data, the value itself if it is that; raises
        L{Unfit<twisted_qmon.qapi.plain.Unfit>}
    :ivar kinds: the JSON types it takes: C{string integer number boolean object array null}
    :ivar take_as_is: source of an expression over C{{v}}, true only of values that C{take} returns as they are; empty: none
    :ivar give_as_is: the same for C{give}
    :ivar quick_take: the fast road in; by default the plain one
    :ivar quick_give: the fast road out; by default the plain one
    """

    info: TypeInfo
    take: Callable[[Any], Any]
    give: Callable[[Any], Any]
    kinds: frozenset[str]
    take_as_is: str = ""
    give_as_is: str = ""
    quick_take: Callable[[Any], Any] = _by_default
    quick_give: Callable[[Any], Any] = _by_default

    def __post_init__(self) -> None:
        if self.quick_take is _by_default:
            self.quick_take = self.take
        if self.quick_give is _by_default:
            self.quick_give = self.give


_IS_TEXT = "type({v}) is str"
_IS_BOOL = "type({v}) is bool"


def refuse(value: Any, expected: str) -> Unfit:
    """:return: what says that a handler's value is of another type than expected"""
    return Unfit(f"expected {expected}, not {_brief(value)}")


def _brief(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def text() -> Shape:
    """:return: the shape of C{str}"""

    def take(value: Any) -> str:
        if isinstance(value, str):
            return value
        raise Misfit.kind("string")

    def give(value: Any) -> str:
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, str):
            return check_text(value)
        raise refuse(value, "a string")

    return Shape(TypeInfo("str"), take, give, frozenset({"string"}), _IS_TEXT, _IS_TEXT + " and {v}.isascii()")


def integer(width: Width | None = None) -> Shape:
    """:return: the shape of an integer; without a width, of a signed 64-bit one"""
    low, high = (INT_LOW, INT_HIGH) if width is None else (width.low, width.high)
    signed = low < 0
    # QEMU reads an unsigned integer of any width as uint64 and complains in that name. The one of its own width, which it
    # has for a value that is too large, is the C type's.
    if width is None or width.high in (INT_HIGH, UINT_HIGH):
        range_misfit = None
    else:
        range_misfit = f"' expects {width.name}_t"

    def take(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            if low <= value <= high:
                return int(value)
            if range_misfit is not None and (INT_LOW <= value <= (INT_HIGH if signed else UINT_HIGH)):
                raise Misfit("Parameter '", range_misfit, leaf=True)
        if signed:
            raise Misfit.kind("integer")
        raise Misfit("Parameter '", "' expects uint64")

    def give(value: Any) -> int:
        if isinstance(value, enum.Enum):
            value = value.value
        if isinstance(value, int) and not isinstance(value, bool):
            if low <= value <= high:
                return int(value)
            raise Unfit(f"{value} is not within {low}...{high}")
        raise refuse(value, "an integer")

    if width is None:
        info = TypeInfo("int")
    elif width.name == "size":
        info = TypeInfo("size")
    else:
        info = TypeInfo("int", width.name)
    fits = f"type({{v}}) is int and {low} <= {{v}} <= {high}"
    return Shape(info, take, give, frozenset({"integer"}), fits, fits)


def number() -> Shape:
    """:return: the shape of C{float}: any JSON number"""

    def take(value: Any) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                pass  # an integer that no float is near to: refused as what it is not
        raise Misfit.kind("number")

    def give(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise refuse(value, "a number")
        if isinstance(value, int):
            if not INT_LOW <= value <= UINT_HIGH:
                raise Unfit(f"{value} does not fit into 64 bits")
            return int(value)
        if not isfinite(value):
            raise Unfit(f"JSON has no {value!r}")
        return float(value)

    return Shape(
        TypeInfo("number"),
        take,
        give,
        frozenset({"number", "integer"}),
        "type({v}) is float",
        # Infinity minus itself is not a number, and that is not equal to anything.
        "type({v}) is float and {v} - {v} == 0.0",
    )


def boolean() -> Shape:
    """:return: the shape of C{bool}"""

    def take(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise Misfit.kind("boolean")

    def give(value: Any) -> bool:
        if isinstance(value, bool):
            return value
        raise refuse(value, "a bool")

    return Shape(TypeInfo("bool"), take, give, frozenset({"boolean"}), _IS_BOOL, _IS_BOOL)


def null() -> Shape:
    """:return: the shape of C{None}"""

    def take(value: Any) -> None:
        if value is not None:
            raise Misfit.kind("null")

    def give(value: Any) -> None:
        if value is not None:
            raise refuse(value, "None")

    return Shape(TypeInfo("null"), take, give, frozenset({"null"}), "{v} is None", "{v} is None")


def anything() -> Shape:
    """:return: the shape of any JSON value"""
    kinds = frozenset({"string", "integer", "number", "boolean", "object", "array", "null"})
    return Shape(TypeInfo("any"), lambda value: value, plain, kinds, "True", "{v} is None or " + _IS_BOOL)


def enumeration(values: Mapping[str, Any], name: str = "") -> Shape:
    """
    :param values: the strings, and what each is in Python
    :param name: the enum's name; empty for a C{Literal}
    :return: the shape of an enum
    """
    members = {member: value for value, member in values.items()}
    literal = all(value is member or value == member for value, member in values.items()) and not any(
        isinstance(member, enum.Enum) for member in values.values()
    )

    def take(value: Any) -> Any:
        if not isinstance(value, str):
            raise Misfit.kind("string")
        try:
            return values[value]
        except KeyError:
            raise Misfit.value(value) from None

    def give(value: Any) -> str:
        try:
            return members[value]
        except (KeyError, TypeError):
            if type(value) is str and value in values:
                return value
        raise refuse(value, f"one of {', '.join(values)}")

    as_is = ""
    if literal:
        listed = repr(tuple(values)).replace("{", "{{").replace("}", "}}")
        as_is = f"type({{v}}) is str and {{v}} in {listed}"
    return Shape(TypeInfo("enum", name, tuple(values)), take, give, frozenset({"string"}), as_is, as_is)
