"""
How a handler is called with arguments as they came: by place or by name, with the request where it takes it.
"""

from __future__ import annotations

import enum
import functools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest

from twisted_qmon.core.command import Command, CommandOptions
from twisted_qmon.core.request import Request
from twisted_qmon.errors import GenericError
from twisted_qmon.qapi.signature import compile_signature
from twisted_qmon.qapi.types import Size, UInt64
from twisted_qmon.qapi.types.containers import ListType
from twisted_qmon.qapi.types.objects import ObjectType

REQUEST: Any = object()


class Color(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


SHARED: list[int] = [1]


def _nothing() -> Any:
    return ()


def _one(a: int) -> Any:
    return (a,)


def _one_by_name(*, a: int) -> Any:
    return (a,)


def _one_optional(a: int = 5) -> Any:
    return (a,)


def _several(a: int, b: str = "b", c: list[int] = SHARED, d: Point | None = None) -> Any:
    return (a, b, c, d)


def _by_name(a: int, *, b: str = "b") -> Any:
    return (a, b)


def _request_first(request: Request, a: int, b: Point | None = None) -> Any:
    return (request, a, b)


def _request_between(a: int, request: Request, b: Point | None = None) -> Any:
    return (a, request, b)


def _request_last(a: int, b: Point | None = None, request: Request | None = None) -> Any:
    return (a, b, request)


def _request_by_name(a: int, b: Point | None = None, *, request: Request) -> Any:
    return (a, b, request)


def _request_only(request: Request) -> Any:
    return (request,)


def _request_and_any(request: Request, **others: Any) -> Any:
    return (request, others)


def _any(a: int, **others: Any) -> Any:
    return (a, others)


class _Methods:
    def method(self, a: int, b: Size = 7) -> Any:
        return (a, b)

    def __call__(self, a: int, b: str) -> Any:
        return (a, b)


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(**keywords: Any) -> Any:
        return function(**keywords)

    return wrapper


def call(handler: Callable[..., Any], arguments: Any) -> Any:
    """:return: what the command's handler gives back: it is asked twice, since the first call is another one"""
    command = Command(handler, CommandOptions("x"))
    first = command.invoke(REQUEST, arguments)
    assert command.invoke(REQUEST, arguments) == first
    if command.direct is not None:
        assert Command(handler, CommandOptions("x")).direct is not None
        assert command.direct(arguments) == first
    return first


@pytest.mark.parametrize(
    ("handler", "arguments", "expected"),
    [
        (_nothing, None, ()),
        (_nothing, {}, ()),
        (_one, {"a": 1}, (1,)),
        (_one_by_name, {"a": 1}, (1,)),
        (_one_optional, None, (5,)),
        (_one_optional, {"a": 1}, (1,)),
        (_several, {"a": 1}, (1, "b", SHARED, None)),
        (_several, {"a": 1, "d": {"x": 2}, "c": []}, (1, "b", [], Point(2))),
        (_by_name, {"a": 1}, (1, "b")),
        (_by_name, {"b": "c", "a": 1}, (1, "c")),
        (_request_first, {"a": 1}, (REQUEST, 1, None)),
        (_request_first, {"a": 1, "b": {"x": 1}}, (REQUEST, 1, Point(1))),
        (_request_between, {"a": 1, "b": {"x": 1}}, (1, REQUEST, Point(1))),
        (_request_last, {"a": 1, "b": {"x": 1}}, (1, Point(1), REQUEST)),
        (_request_by_name, {"a": 1, "b": {"x": 1}}, (1, Point(1), REQUEST)),
        (_request_only, None, (REQUEST,)),
        (_request_and_any, {"a-b": 1}, (REQUEST, {"a-b": 1})),
        (_any, {"a": 1, "b": None}, (1, {"b": None})),
        (_Methods().method, {"a": 1}, (1, 7)),
        (_Methods(), {"a": 1, "b": "c"}, (1, "c")),
        (_decorated(_several), {"a": 1}, (1, "b", SHARED, None)),
        (_decorated(_one), {"a": 1}, (1,)),
        (functools.partial(_several, 1), {"c": [2]}, (1, "b", [2], None)),
        (functools.partial(_several, b="z"), {"a": 1, "c": [2]}, (1, "z", [2], None)),
    ],
)
def test_called(handler: Callable[..., Any], arguments: Any, expected: Any) -> None:
    """Whatever a handler's parameters are, it is called with the arguments, its own defaults, and the request."""
    assert call(handler, arguments) == expected


def test_own_default() -> None:
    """A default is the very object that the handler has, as in any other call of it."""
    assert call(_several, {"a": 1})[2] is SHARED


def test_factories_are_called_when_needed() -> None:
    """A default factory is called for each object that lacks the member, and never else."""
    made: list[int] = []

    @dataclass
    class Numbered:
        a: int
        number: int = field(default_factory=lambda: made.append(len(made)) or len(made))  # type: ignore[func-returns-value]

    def handler(x: Numbered, y: Numbered | None = None) -> Any:
        return (x, y)

    handler.__annotations__.update(x=Numbered, y=Numbered | None)
    assert call(handler, {"x": {"a": 1, "number": 7}}) == (Numbered(1, 7), None)
    assert made == []
    command = Command(handler, CommandOptions("x"))
    assert command.invoke(REQUEST, {"x": {"a": 1}, "y": {"a": 2}}) == (Numbered(1, 1), Numbered(2, 2))
    assert made == [0, 1]


def test_order_of_declaration() -> None:
    """Arguments whose declared order is not the handler's are given by name."""
    command = Command(_several, CommandOptions("x", args_type="b:s?,a:i"))
    assert command.invoke(REQUEST, {"a": 1, "b": "c"}) == (1, "c", SHARED, None)
    assert command.invoke(REQUEST, {"a": 1}) == (1, "b", SHARED, None)


def test_names_that_no_struct_has() -> None:
    """Arguments whose names msgspec does not take are served all the same."""
    command = Command(lambda **keywords: keywords, CommandOptions("x", args_type='a"b:s,c\\d:i?'))
    assert command.invoke(REQUEST, {'a"b': "x", "c\\d": 1}) == {'a"b': "x", "c\\d": 1}
    with pytest.raises(GenericError, match="Parameter 'a\"b' is missing"):
        command.invoke(REQUEST, {})


@pytest.mark.parametrize("handler", [_nothing, _one, _several, _by_name, _request_last, _request_only, _any])
def test_wrong_arguments(handler: Callable[..., Any]) -> None:
    """A handler is not called with wrong arguments, and no error is the reason for another."""
    command = Command(handler, CommandOptions("x"))
    for _ in range(2):
        with pytest.raises(GenericError) as caught:
            command.invoke(REQUEST, {"a": "wrong", "z": 1})
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        assert caught.value.desc.startswith(("Invalid parameter type for 'a'", "Parameter 'a' is unexpected"))


@pytest.mark.parametrize("error", [TypeError("own"), ValueError("own"), GenericError("own"), RecursionError("own")])
@pytest.mark.parametrize("arguments", [{"a": 1}, {"a": 1, "b": {"x": 1}}])
def test_own_errors(error: Exception, arguments: Any) -> None:
    """What a handler raises is its own: it is not called again, and the error has no other one as its context."""
    calls = []

    def handler(a: int, b: Point | None = None) -> None:
        calls.append(a)
        raise error

    command = Command(handler, CommandOptions("x"))
    with pytest.raises(type(error)) as caught:
        command.invoke(REQUEST, arguments)
    assert caught.value is error
    assert error.__context__ is None
    assert calls == [1]


def _lists(x: list[int]) -> Any:
    return x


def _number(x: float, y: int = 0) -> Any:
    return x


def _color(x: Color, y: int = 0) -> Any:
    return x


def _point(x: Point) -> Any:
    return x


def _size(x: Size, y: UInt64 = 0) -> Any:
    return x


def _points(x: list[Point]) -> Any:
    return x


@pytest.mark.parametrize(
    ("handler", "value", "desc"),
    [
        (_lists, {1, 2}, "Invalid parameter type for 'x', expected: array"),
        (_lists, b"ab", "Invalid parameter type for 'x', expected: array"),
        (_number, Decimal("1.5"), "Invalid parameter type for 'x', expected: number"),
        (_color, Color.RED, "Invalid parameter type for 'x', expected: string"),
        (_point, MappingProxyType({"x": 1, "z": 2}), "Parameter 'x.z' is unexpected"),
        (_point, Point(1), "Invalid parameter type for 'x', expected: object"),
        (_points, [MappingProxyType({"z": 2})], "Parameter 'x[0].x' is missing"),
        (_size, 1 << 64, "Parameter 'x' expects uint64"),
    ],
)
def test_values_that_no_reader_makes(handler: Callable[..., Any], value: Any, desc: str) -> None:
    """A local caller may give anything; what is no JSON data of the declared type is refused in the same words."""
    with pytest.raises(GenericError) as caught:
        call(handler, {"x": value})
    assert caught.value.desc == desc


@pytest.mark.parametrize(
    ("handler", "value", "expected"),
    [
        (_lists, (1, 2), [1, 2]),
        (_point, MappingProxyType({"x": 1}), Point(1)),
        (_point, OrderedDict(x=1), Point(1)),
        (_color, type("Text", (str,), {})("red"), Color.RED),
    ],
)
def test_nearly_json(handler: Callable[..., Any], value: Any, expected: Any) -> None:
    """What is nearly JSON data will do for a local caller."""
    command = Command(handler, CommandOptions("x"))
    assert command.invoke(REQUEST, {"x": value}) == expected
    assert command.invoke(REQUEST, MappingProxyType({"x": value})) == expected


def test_fast_way_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments that fit are not looked at one by one."""
    handlers: list[Callable[..., Any]] = [_several, _by_name, _request_between]
    several, by_name, request = (compile_signature(handler).caller(handler) for handler in handlers)
    monkeypatch.setattr(ObjectType, "_decode_members", None)
    assert several({"a": 1, "c": [2], "d": {"x": 3}}) == (1, "b", [2], Point(3))
    assert by_name({"a": 1}) == (1, "b")
    assert request({"a": 1, "b": {"x": 1, "y": 2}}, REQUEST) == (1, REQUEST, Point(1, 2))


def test_fast_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long lists that fit are not looked at one by one."""
    monkeypatch.setattr(ListType, "_encode_each", None)
    numbers = list(range(20))

    def finish(annotation: Any, value: Any) -> Any:
        def handler() -> Any: ...

        handler.__annotations__["return"] = annotation
        return compile_signature(handler).finish(value)

    assert finish(list[int], numbers) is numbers
    assert finish(list[Point], [Point(n) for n in numbers]) == [{"x": n, "y": 0} for n in numbers]
