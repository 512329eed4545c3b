"""
Classes as types of arguments and results: attrs classes, and what the constructors of all kinds of classes have to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

import attr
import msgspec
import pytest
from attr import define

from twisted_qmon.errors import GenericError, RegistrationError
from twisted_qmon.qapi.signature import Signature, compile_signature
from twisted_qmon.qapi.types import Boxed, Size


@define
class Point:
    x: int
    y: int = 0


@define(kw_only=True)
class Named:
    name: str
    size: Size = 0


@define(frozen=True)
class Line:
    start_at: Point
    end_at: Point | None = None
    tags: list[str] = attr.Factory(list)
    length: int = attr.Factory(lambda self: self.start_at.x, takes_self=True)
    _secret: str = "none"
    seen: bool = attr.field(init=False, default=False)


@define
class Child(Point):
    color: str = "red"
    others: list[Child] = attr.Factory(list)


@define
class Renamed:
    count: int = attr.field(alias="number")


Old: Any = attr.make_class("Old", {"a": attr.ib(type=int), "b": attr.ib(default=None)})


def _stripped(text: str) -> str:
    return text.strip()


@define
class Checked:
    percent: int = attr.field(validator=[attr.validators.ge(0), attr.validators.le(100)])
    name: str = attr.field(default="", converter=_stripped)


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError(f"{self.value} is not positive")


class PositiveStruct(msgspec.Struct):
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError(f"{self.value} is not positive")


@dataclass
class Absent:
    value: int

    def __post_init__(self) -> None:
        raise GenericError(f"There is no {self.value}")


@dataclass
class Broken:
    value: int

    def __post_init__(self) -> None:
        raise KeyError(self.value)


@dataclass
class Mixed:
    line: Line
    points: dict[str, Point] = field(default_factory=dict)


def taking(annotation: Any) -> Signature:
    """:return: the signature of a handler with one required parameter, C{x}"""

    def handler(x: Any) -> Any: ...

    handler.__annotations__["x"] = handler.__annotations__["return"] = annotation
    return compile_signature(handler)


def given(annotation: Any, arguments: Any) -> Any:
    """:return: what the handler gets, whichever way it takes"""
    signature = taking(annotation)
    bound = signature.bind(arguments)
    called = signature.caller(lambda x: {"x": x})(arguments)
    assert called == bound
    return bound["x"]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Point, {"x": 1}, Point(1)),
        (Point, {"y": 2, "x": 1}, Point(1, 2)),
        (Named, {"name": "n"}, Named(name="n")),
        (Named, {"size": 1, "name": "n"}, Named(name="n", size=1)),
        (Line, {"start-at": {"x": 3}}, Line(Point(3))),
        (
            Line,
            {"start-at": {"x": 1}, "end-at": {"x": 2}, "tags": ["t"], "length": 9, "secret": "s"},
            Line(Point(1), Point(2), ["t"], 9, "s"),
        ),
        (Child, {"x": 1, "others": [{"x": 2, "color": "blue"}]}, Child(1, others=[Child(2, color="blue")])),
        (Renamed, {"number": 1}, Renamed(1)),
        (Old, {"a": 1, "b": [None]}, Old(1, [None])),
        (Old, {"a": 1}, Old(1)),
        (Checked, {"percent": 5, "name": " n "}, Checked(5, "n")),
        (list[Point], [{"x": 1}], [Point(1)]),
        (
            Mixed,
            {"line": {"start-at": {"x": 1}}, "points": {"a": {"x": 1}}},
            Mixed(Line(Point(1)), {"a": Point(1)}),
        ),
    ],
)
def test_attrs_in(annotation: Any, value: Any, expected: Any) -> None:
    """An object becomes an instance of an attrs class: by its constructor's names, with its defaults and converters."""
    assert given(annotation, {"x": value}) == expected


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Point, Point(1, 2), {"x": 1, "y": 2}),
        (Named, Named(name="n"), {"name": "n", "size": 0}),
        (Line, Line(Point(1)), {"start-at": {"x": 1, "y": 0}, "tags": [], "length": 1, "secret": "none"}),
        (Child, Child(1, others=[Child(2)]), {
            "x": 1, "y": 0, "color": "red", "others": [{"x": 2, "y": 0, "color": "red", "others": []}],
        }),
        (Point, Child(1), {"x": 1, "y": 0}),
        (Renamed, Renamed(1), {"number": 1}),
        (Old, Old(1, {"a": None}), {"a": 1, "b": {"a": None}}),
        (list[Line], [Line(Point(n), Point(n)) for n in range(9)], [
            {"start-at": {"x": n, "y": 0}, "end-at": {"x": n, "y": 0}, "tags": [], "length": n, "secret": "none"}
            for n in range(9)
        ]),
    ],
)  # fmt: skip
def test_attrs_out(annotation: Any, value: Any, expected: Any) -> None:
    """An instance of an attrs class becomes an object, without the members that are C{None} for absent."""
    assert taking(annotation).finish(value) == expected


@pytest.mark.parametrize(
    ("annotation", "value", "why"),
    [
        (Point, {"x": 1}, "expected a Point, not dict"),
        (Point, Point("a"), "x: expected an integer, not str 'a'"),  # type: ignore[arg-type]
        (list[Point], [Point(1)] * 9 + [Named(name="n")], "[9]: expected a Point, not Named"),
    ],
)
def test_attrs_unfit(annotation: Any, value: Any, why: str) -> None:
    """What is no instance, or has a member of another type, is a TypeError that says where and why."""
    with pytest.raises(TypeError) as caught:
        taking(annotation).finish(value)
    assert str(caught.value) == why


Odd = TypedDict("Odd", {'a"b': int})


@dataclass
class WithOdd:
    odd: Odd
    n: int = 0


def test_names_that_no_struct_has() -> None:
    """Members whose names msgspec does not take are served all the same, in and out."""
    odd: Odd = {'a"b': 1}
    assert given(WithOdd, {"x": {"odd": {'a"b': 1}, "n": 2}}) == WithOdd(odd, 2)
    assert taking(list[WithOdd]).finish([WithOdd(odd)] * 9) == [{"odd": {'a"b': 1}, "n": 0}] * 9


class Listed(list[int]):
    pass


@dataclass
class Indexed:
    """It looks like a mapping, of other members."""

    a: int

    def __getitem__(self, name: str) -> int:
        return 100

    def keys(self) -> list[str]:
        return ["a"]


@dataclass
class Derived(dict[str, int]):
    a: int = 1


def test_classes_that_are_something_else_too() -> None:
    """The members of a class are its attributes, also if it is a dictionary or looks like one."""
    assert taking(list[Indexed]).finish([Indexed(n) for n in range(9)]) == [{"a": n} for n in range(9)]
    assert taking(list[Derived]).finish([Derived(n) for n in range(9)]) == [{"a": n} for n in range(9)]
    assert taking(list[int]).finish(Listed(range(9))) == list(range(9))
    assert type(taking(list[int]).finish(Listed(range(9)))) is list


@pytest.mark.parametrize("count", [1, 9])
def test_missing_attributes(count: int) -> None:
    """An object without an attribute for a required member does not fit; an optional one is left out."""
    partly = Line(Point(1))
    object.__delattr__(partly, "tags")
    expected = {"start-at": {"x": 1, "y": 0}, "length": 1, "secret": "none"}
    assert taking(list[Line]).finish([partly] * count) == [expected] * count
    object.__delattr__(partly, "start_at")
    with pytest.raises(TypeError) as caught:
        taking(list[Line]).finish([partly] * count)
    assert str(caught.value) == "[0].start-at: is missing"


def test_attrs_described() -> None:
    """An attrs class is described as the object that it is."""
    [parameter] = taking(Line).parameters or ()
    assert parameter.type.name == "Line"
    assert [(member.name, member.type.kind, member.optional) for member in parameter.type.members or ()] == [
        ("start-at", "object", False),
        ("end-at", "object", True),
        ("tags", "list", True),
        ("length", "int", True),
        ("secret", "str", True),
    ]


def test_attrs_refused() -> None:
    """A member that JSON can't say is refused when the command is registered, with the names of class and member."""

    @define
    class Odd:
        data: bytes

    with pytest.raises(RegistrationError, match="Odd: data: bytes is no type that JSON can say"):
        taking(Odd)


@pytest.mark.parametrize(
    ("annotation", "value", "desc"),
    [
        (Checked, {"percent": 101}, "Invalid parameter 'x': 'percent' must be <= 100: 101"),
        (Positive, {"value": 0}, "Invalid parameter 'x': 0 is not positive"),
        (PositiveStruct, {"value": 0}, "Invalid parameter 'x': 0 is not positive"),
        (list[Positive], [{"value": 1}, {"value": -1}], "Invalid parameter 'x[1]': -1 is not positive"),
        (dict[str, Positive], {"a": {"value": -1}}, "Invalid parameter 'x.a': -1 is not positive"),
        (Annotated[Positive, Boxed()], {"value": 0}, "0 is not positive"),
        (Absent, {"value": 7}, "There is no 7"),
        (Positive, {"value": "0"}, "Invalid parameter type for 'x.value', expected: integer"),
        (Checked, {"percent": 5, "name": None}, "Invalid parameter type for 'x.name', expected: string"),
    ],
)
def test_constructor_refuses(annotation: Any, value: Any, desc: str) -> None:
    """What a constructor says is wrong is the client's error, once the members are of the right types."""
    signature = taking(annotation)
    arguments = value if signature.boxed else {"x": value}
    for call in (signature.bind, signature.caller(lambda x: x)):
        with pytest.raises(GenericError) as caught:
            call(arguments)
        assert caught.value.desc == desc


def test_constructor_fails() -> None:
    """Any other exception of a constructor is the program's error, and is passed on."""
    signature = taking(Broken)
    for call in (signature.bind, signature.caller(lambda x: x)):
        with pytest.raises(KeyError):
            call({"x": {"value": 1}})
