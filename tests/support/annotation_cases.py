"""
Random annotations, with JSON values for what comes in and Python values for what goes out. Most values fit their annotation, the
rest nearly do. The same seed gives the same cases.
"""

from __future__ import annotations

import dataclasses
import enum
import random
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from types import GenericAlias, MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypedDict, Union

import attr
import msgspec

from twisted_qmon.qapi.types import Alternate, Int8, Int16, Int32, Int64, Size, Tagged, UInt8, UInt16, UInt32, UInt64

try:
    from typing import NotRequired  # type: ignore[attr-defined,unused-ignore]
except ImportError:
    from typing_extensions import NotRequired

__all__ = ["Case", "make_case", "make_element_case"]


class Case(NamedTuple):
    """
    An annotation, and what is given to it.

    :ivar incoming: makes JSON data
    :ivar outgoing: makes a Python value
    """

    annotation: Any
    incoming: Callable[[], Any]
    outgoing: Callable[[], Any]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shade(str, enum.Enum):
    RED = "red"
    GREY = "grey"


class Wide(enum.Enum):
    """Takes more strings than its values."""

    ONE = "one"

    @classmethod
    def _missing_(cls, value: object) -> Wide:
        return cls.ONE


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Number(int):
    pass


_WIDTHS = {
    int: 64, Int8: 8, Int16: 16, Int32: 32, Int64: 64, UInt8: -8, UInt16: -16, UInt32: -32, UInt64: -64, Size: -64
}  # fmt: skip
_TEXTS = ["", "a", "red", "one", "grey", "ä", "\U0001f600", "long " * 9]
_FLOATS = [0.0, -0.0, 1.0, 1.5, -1e300, 2.0**63, 5e-324]
_EDGES = [sign * (1 << bits) + off for bits in (7, 8, 15, 16, 31, 32, 63, 64) for sign in (1, -1) for off in (-1, 0, 1)]
_NAMES = ["a", "b", "job_id", "from_", "name", "x_y_z", "items", "values", "self_"]

# Python values that are no plain JSON data, or that JSON can't say.
_ODD: list[Any] = [
    None, Text("a"), Text("red"), "\ud800", "a\udfff", Shade.RED, Color.RED, Level.LOW, Number(5), True, 1.0,
    float("nan"), float("-inf"), Decimal("1.5"), 10**400, b"a", object(), {1, 2}, frozenset({"a"}), (1, 2),
    OrderedDict(a=1), MappingProxyType({"a": 1}), {1: 1}, {Text("a"): 1}, {Shade.RED: 1}, {"\ud800": 1},
]  # fmt: skip


def make_case(rng: random.Random, depth: int = 0) -> Case:
    """
    :param depth: how many others this one is in
    :return: any annotation
    """
    kind = rng.randrange(12 if depth < 3 else 4)
    if kind < 4:
        made = _simple(rng)
    elif kind < 6:
        made = _list(rng, make_case(rng, depth + 1))
    elif kind == 6:
        made = _map(rng, make_case(rng, depth + 1))
    elif kind == 7:
        made = _alternate(rng, depth)
    elif kind == 8:
        made = _tagged(rng, depth)
    else:
        made = _object(rng, depth)
    return _with_odd_ones(rng, made)


def make_element_case(rng: random.Random) -> Case:
    """:return: what lists are encoded of quickly, most often: scalars, and classes with members, nested a little"""
    kind = rng.randrange(4)
    made = _simple(rng) if kind == 0 else _object(rng, rng.choice([1, 2, 3, 3]))
    return _with_odd_ones(rng, _list(rng, made) if kind == 1 else made)


def _with_odd_ones(rng: random.Random, case: Case) -> Case:
    return Case(
        case.annotation,
        lambda: _json(rng) if rng.random() < 0.02 else case.incoming(),
        lambda: _odd(rng) if rng.random() < 0.02 else case.outgoing(),
    )


def _odd(rng: random.Random) -> Any:
    return rng.choice([rng.choice(_ODD), rng.choice(_EDGES), _json(rng)])


def _json(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(7 if depth < 2 else 5)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind == 1:
        return rng.choice(_FLOATS)
    if kind == 2:
        return rng.choice([edge for edge in _EDGES if -(1 << 63) <= edge < 1 << 64])
    if kind <= 4:
        return rng.choice(_TEXTS)
    items = [_json(rng, depth + 1) for _ in range(rng.randrange(3))]
    return items if kind == 5 else {_wire(rng.choice(_NAMES)): item for item in items}


def _wire(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _simple(rng: random.Random) -> Case:
    kind = rng.randrange(9)
    if kind == 0:
        return Case(str, lambda: rng.choice(_TEXTS), lambda: rng.choice(_TEXTS))
    if kind <= 2:
        annotation = rng.choice(list(_WIDTHS))
        bits = _WIDTHS[annotation]
        low, high = (0, (1 << -bits) - 1) if bits < 0 else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        number = lambda: rng.choice([low, high, 0, 1, rng.randrange(100)])  # noqa: E731
        return Case(annotation, number, lambda: rng.choice([low - 1, high + 1]) if rng.random() < 0.02 else number())
    if kind == 3:
        numbers = [*_FLOATS, 0, 1, -(1 << 63), (1 << 64) - 1]
        return Case(float, lambda: rng.choice([*numbers, float("inf")]), lambda: rng.choice(numbers))
    if kind == 4:
        return Case(bool, lambda: rng.random() < 0.5, lambda: rng.random() < 0.5)
    if kind == 5:
        return Case(Any, lambda: _json(rng), lambda: _json(rng))
    if kind == 6:
        return Case(Literal["red", "a"], lambda: rng.choice(["red", "a"]), lambda: rng.choice(["red", "a"]))
    if kind == 7:
        return Case(Literal[Color.RED], lambda: "red", lambda: rng.choice([Color.RED, "red"]))
    enumeration: Any = rng.choice([Color, Shade, Wide])
    members: list[Any] = list(enumeration)
    return Case(
        enumeration,
        lambda: rng.choice([member.value for member in members]),
        lambda: rng.choice([*members, members[0].value]),
    )


def _list(rng: random.Random, inner: Case) -> Case:
    incoming = lambda: [inner.incoming() for _ in range(rng.randrange(4))]  # noqa: E731

    def outgoing() -> Any:
        make = rng.choice([list, list, list, tuple])
        return make(inner.outgoing() for _ in range(rng.randrange(4)))

    container = rng.choice([GenericAlias(list, inner.annotation), GenericAlias(tuple, (inner.annotation, ...))])
    return Case(container, incoming, outgoing)


def _map(rng: random.Random, inner: Case) -> Case:
    keys = ["a", "b-c", "ä"]

    def outgoing() -> Any:
        make = rng.choice([dict, dict, dict, OrderedDict, MappingProxyType])
        odd: list[Any] = [Text("t"), Shade.RED, "\ud800"] if rng.random() < 0.05 else []
        return make({key: inner.outgoing() for key in rng.sample(keys + odd, rng.randrange(4))})

    return Case(
        GenericAlias(dict, (str, inner.annotation)),
        lambda: {key: inner.incoming() for key in rng.sample(keys, rng.randrange(4))},
        outgoing,
    )


def _alternate(rng: random.Random, depth: int) -> Case:
    number = Case(int, lambda: rng.randrange(9), lambda: rng.randrange(9))
    text = Case(str, lambda: rng.choice(_TEXTS), lambda: rng.choice(_TEXTS))
    cases = [text, rng.choice([number, _object(rng, depth + 1)])]
    union: Any = Union[tuple(case.annotation for case in cases)]  # noqa: UP007
    return Case(
        Annotated[union, Alternate("Either")],
        lambda: rng.choice(cases).incoming(),
        lambda: rng.choice(cases).outgoing(),
    )


def _tagged(rng: random.Random, depth: int) -> Case:
    variants: list[Any] = []
    for tag in ("red", "blue"):
        tagged = Case(Literal[tag], lambda tag=tag: tag, lambda tag=tag: tag)  # type: ignore[misc]
        fields = [_Field("tag", tagged, False, None), _Field("b", make_case(rng, depth + 1), False, None)]
        variants.append(_object_of(rng, rng.choice(_KINDS), fields))
    union: Any = Union[tuple(variant.annotation for variant in variants)]  # noqa: UP007
    return Case(
        Annotated[union, Tagged("tag", "Union")],
        lambda: rng.choice(variants).incoming(),
        lambda: rng.choice(variants).outgoing(),
    )


# -- classes

_KINDS = ["dataclass", "slots", "struct", "attrs", "typed-dict"]


class _Field(NamedTuple):
    name: str
    case: Case
    optional: bool
    default: Any


def _object(rng: random.Random, depth: int) -> Case:
    fields = []
    for name in rng.sample(_NAMES, rng.randrange(1, 5)):
        case = make_case(rng, depth + 1)
        optional = rng.random() < 0.4
        default = case.outgoing() if optional else None
        if rng.random() < 0.25:
            case = _or_none(rng, case)
        fields.append(_Field(name, case, optional, default))
    fields.sort(key=lambda field: field.optional)
    return _object_of(rng, rng.choice(_KINDS), fields)


def _or_none(rng: random.Random, case: Case) -> Case:
    return Case(
        Optional[case.annotation],  # noqa: UP045
        case.incoming,
        lambda: None if rng.random() < 0.3 else case.outgoing(),
    )


def _object_of(rng: random.Random, kind: str, fields: list[_Field]) -> Case:
    cls = _make_class(rng, kind, fields)

    def incoming() -> Any:
        chosen = [field for field in fields if not field.optional or rng.random() < 0.5]
        rng.shuffle(chosen)
        return _spoiled(rng, {_wire(field.name): field.case.incoming() for field in chosen})

    def outgoing() -> Any:
        values = {field.name: field.case.outgoing() for field in fields if not field.optional or rng.random() < 0.5}
        if kind == "typed-dict":
            return _spoiled(rng, values) if rng.random() < 0.9 else OrderedDict(values)
        made = rng.random()
        if made < 0.9:
            return cls(**values)
        if made < 0.94:
            return type("Derived", (cls,), {})(**values)
        if made < 0.97:
            return values
        # It looks like one, but is none.
        return dataclasses.make_dataclass("Other", [(field.name, Any, None) for field in fields])(**values)

    return Case(cls, incoming, outgoing)


def _make_class(rng: random.Random, kind: str, fields: list[_Field]) -> Any:
    name = f"{kind.title().replace('-', '')}{rng.randrange(1 << 30)}"
    annotations = {field.name: field.case.annotation for field in fields}
    factories: dict[str, Any] = {
        field.name: (lambda default=field.default: default) for field in fields if field.optional
    }
    if kind == "typed-dict":
        return TypedDict(  # type: ignore[operator]
            name, {key: NotRequired[value] if key in factories else value for key, value in annotations.items()}
        )
    if kind == "attrs":
        return attr.make_class(
            name,
            {
                key: attr.ib(type=value, factory=factories[key]) if key in factories else attr.ib(type=value)
                for key, value in annotations.items()
            },
        )
    make_field: Any = msgspec.field if kind == "struct" else dataclasses.field
    declared = [
        (key, value, make_field(default_factory=factories[key])) if key in factories else (key, value)
        for key, value in annotations.items()
    ]
    if kind == "struct":
        return msgspec.defstruct(name, declared)
    return dataclasses.make_dataclass(name, declared, slots=kind == "slots")


def _spoiled(rng: random.Random, value: dict[str, Any]) -> dict[str, Any]:
    """Now and then an object with a member too many, too few, or of another type."""
    what = rng.randrange(60)
    if what == 0:
        value["zzz"] = 1
    elif value and what == 1:
        del value[rng.choice(sorted(value))]
    elif value and what == 2:
        value[rng.choice(sorted(value))] = _json(rng)
    return value
