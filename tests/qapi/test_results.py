"""
Signatures on their way out: what a handler gave to plain JSON data. And the data of events, which goes the same way.
"""

from __future__ import annotations

import enum
import json
from collections import OrderedDict
from collections.abc import Awaitable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Literal, NoReturn, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, inlineCallbacks

from twisted_qmon.errors import RegistrationError
from twisted_qmon.info import JSON
from twisted_qmon.qapi.signature import compile_members, compile_signature
from twisted_qmon.qapi.types import Alternate, Int8, Size, Tagged, UInt8
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qapi.types.plain import MAX_DEPTH


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclass
class Point:
    x: int
    y_axis: int = 0


@dataclass
class Info:
    job_id: str
    point: Point | None = None
    color: Color = Color.RED
    points: list[Point] = field(default_factory=list)
    error: str | None = None


@dataclass
class More(Info):
    secret: int = 0


@dataclass
class Tree:
    children: list[Tree] = field(default_factory=list)


class Packed(msgspec.Struct):
    job_id: str
    note: str | None = None


class Options(TypedDict, total=False):
    job_id: str
    speed: int


class Simple(TypedDict):
    a: int
    b: str | None


@dataclass
class Raw:
    driver: Literal["raw"]


class Null(TypedDict):
    driver: Literal["null"]
    size: int


Block = Annotated[Raw | Null, Tagged("driver")]
Ref = Annotated[str | Block | None, Alternate("Ref")]


def finish(annotation: Any, result: Any) -> Any:
    """:return: the result of a handler with this annotation, finished"""

    def handler() -> Any: ...

    handler.__annotations__["return"] = annotation
    return compile_signature(handler).finish(result)


GIVEN: list[tuple[Any, Any, Any]] = [
    (None, None, {}),
    (str, "ä", "ä"),
    (str, Color.RED, "red"),
    (int, 2**63 - 1, 2**63 - 1),
    (int, Level.LOW, 1),
    (Size, 2**64 - 1, 2**64 - 1),
    (Int8, -128, -128),
    (float, 1.5, 1.5),
    (float, 1, 1),
    (bool, True, True),
    (Color, Color.RED, "red"),
    (Color, "red", "red"),
    (Literal["a"], "a", "a"),
    (list, (1, "a"), [1, "a"]),
    (list[int], (1, 2), [1, 2]),
    (list[Color], [Color.RED], ["red"]),
    (tuple[int, ...], (1, 2), [1, 2]),
    (dict, {"a_b": [None]}, {"a_b": [None]}),
    (dict[str, Point], {"a_b": Point(1)}, {"a_b": {"x": 1, "y-axis": 0}}),
    (Mapping[str, int], MappingProxyType({"a": 1}), {"a": 1}),
    (Point, Point(1, 2), {"x": 1, "y-axis": 2}),
    (Info, Info("j"), {"job-id": "j", "color": "red", "points": []}),
    (
        Info,
        Info("j", Point(1), points=[Point(2)], error=""),
        {"job-id": "j", "point": {"x": 1, "y-axis": 0}, "color": "red", "points": [{"x": 2, "y-axis": 0}], "error": ""},
    ),
    (Info, More("j", secret=1), {"job-id": "j", "color": "red", "points": []}),
    (Packed, Packed("j"), {"job-id": "j"}),
    (Options, {}, {}),
    (Options, {"job_id": "j"}, {"job-id": "j"}),
    (Options, {"job-id": "j", "speed": 1}, {"job-id": "j", "speed": 1}),
    (Options, OrderedDict(speed=1), {"speed": 1}),
    (Simple, {"a": 1, "b": None}, {"a": 1}),
    (Simple, {"a": 1}, {"a": 1}),
    (list[Simple], [{"a": 1, "b": "b"}, {"a": 2, "b": None}], [{"a": 1, "b": "b"}, {"a": 2}]),
    (str | int, "a", "a"),
    (str | Point, Point(1), {"x": 1, "y-axis": 0}),
    (Ref, None, None),
    (Ref, "a", "a"),
    (Ref, Raw("raw"), {"driver": "raw"}),
    (Ref, {"driver": "null", "size": 1}, {"driver": "null", "size": 1}),
    (list[Block], [Raw("raw"), {"driver": "null", "size": 1}], [{"driver": "raw"}, {"driver": "null", "size": 1}]),
    (Point | None, Point(1), {"x": 1, "y-axis": 0}),
    (Point | None, None, {}),
    (Any, None, {}),
    (Any, [None], [None]),
    (object, "a", "a"),
    (JSON, [None], [None]),
    (NoReturn, "a", "a"),
    (Deferred[int], 1, 1),
    ("Deferred[None]", None, {}),
    (Deferred, "any", "any"),
    (Awaitable[Point], Point(1), {"x": 1, "y-axis": 0}),
    (Coroutine[Any, Any, list[Color]], [Color.RED], ["red"]),
    (int | Deferred[int], 1, 1),
    (int | JSONText, 1, 1),
    (JSONText | None, None, {}),
]


@pytest.mark.parametrize(("annotation", "result", "expected"), GIVEN)
def test_given(annotation: Any, result: Any, expected: Any) -> None:
    """A result that fits its annotation is plain JSON data, with dashes in the names of its members."""
    finished = finish(annotation, result)
    assert finished == expected
    assert type(finished) is type(expected)
    json.dumps(finished, allow_nan=False)


@pytest.mark.parametrize(
    ("annotation", "result", "why"),
    [
        (None, 1, "the result is annotated None, but is int"),
        (int, None, "expected an integer, not NoneType None"),
        (Simple, None, "expected a dict, not NoneType"),
        (str, 1, "expected a string, not int 1"),
        (str, "\ud800", "'\\ud800' has a lone surrogate, which JSON can't say"),
        (int, True, "expected an integer, not bool True"),
        (int, 1.0, "expected an integer, not float 1.0"),
        (int, 2**63, "9223372036854775808 is not within -9223372036854775808...9223372036854775807"),
        (UInt8, -1, "-1 is not within 0...255"),
        (float, "1", "expected a number, not str '1'"),
        (float, True, "expected a number, not bool True"),
        (float, float("nan"), "JSON has no nan"),
        (float, float("-inf"), "JSON has no -inf"),
        (float, 2**64, "18446744073709551616 does not fit into 64 bits"),
        (bool, 1, "expected a bool, not int 1"),
        (Color, "bad", "expected one of red, not str 'bad'"),
        (Color, ["red"], "expected one of red, not list ['red']"),
        (list[int], "ab", "expected a list, not str 'ab'"),
        (list[int], {1}, "expected a list, not set {1}"),
        (list[int], [1, "a" * 99], "[1]: expected an integer, not str '" + "a" * 56 + "..."),
        (list[int], (1, None), "[1]: expected an integer, not NoneType None"),
        (dict[str, int], [], "expected a dict, not list []"),
        (dict[str, int], {1: 1}, "a member's name is a string, not 1"),
        (dict[str, int], {"a": {"b": 1}}, "a: expected an integer, not dict {'b': 1}"),
        (Point, {"x": 1}, "expected a Point, not dict"),
        (Point, Point("a"), "x: expected an integer, not str 'a'"),  # type: ignore[arg-type]
        (Info, Info("j", points=[Point(1), Point(None)]), "points[1].x: expected an integer, not NoneType None"),  # type: ignore[arg-type]
        (Simple, [], "expected a dict, not list"),
        (Simple, {"b": ""}, "a: is missing"),
        (Simple, {"a": 1, "z": 2}, "z: there is no such member"),
        (Options, {"job_id": "a", "job-id": "b"}, "'job_id' is there twice, as 'job-id' too"),
        (Ref, 1, "expected a string, not int 1"),
        (Ref, {"driver": "null", "size": "a"}, "size: expected an integer, not str 'a'"),
        (Block, Point(1), "expected one of RawOrNull, not Point"),
        (Block, {"driver": "bad"}, "expected one of RawOrNull, not dict"),
        (Point | None, 1, "expected a Point, not int"),
        (Annotated[None, 0], 1, "expected None, not int 1"),
    ],
)
def test_unfit(annotation: Any, result: Any, why: str) -> None:
    """A result that does not fit is a TypeError that says where and why."""
    with pytest.raises(TypeError) as caught:
        finish(annotation, result)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("annotation", "result"),
    [
        (Any, {"a": [1, 1.5, "ä", None, True, {}, [], ()]}),
        (dict, {"a": [1]}),
        (list[Any], [{"a": 1}]),
        (list[int], [1, 2]),
        (list[Simple], [{"a": 1, "b": "b"}]),
        (Simple, {"a": 1, "b": "b"}),
        (dict[str, list[int]], {"a_b": [1]}),
        (Options, {"job-id": "j", "speed": 1}),
        (str, "a"),
    ],
)
def test_untouched(annotation: Any, result: Any) -> None:
    """A result that is plain data already is passed on as it is, not copied."""
    assert finish(annotation, result) is result


def test_already_encoded() -> None:
    """JSON text that is there already passes whatever the annotation says."""
    text = JSONText(b"1")
    for annotation in (None, int, Any, Point, JSONText):
        assert finish(annotation, text) is text


def test_inline_callbacks() -> None:
    """Of a function with inlineCallbacks, the result is what its generator returns."""

    @inlineCallbacks
    def handler() -> Generator[Deferred[Any], Any, Point]:
        yield Deferred()
        return Point(1)

    assert compile_signature(handler).finish(Point(1)) == {"x": 1, "y-axis": 0}


def test_nothing() -> None:
    """A command that returns nothing answers an empty object, a new one each time."""

    def handler() -> None: ...

    signature = compile_signature(handler)
    assert signature.returns.members == ()
    unannotated = compile_signature(lambda: None)
    assert unannotated.returns.kind == "any"
    for each in (signature, unannotated):
        first: Any = each.finish(None)
        first["a"] = 1
        assert each.finish(None) == {}


# -- without annotation


class Text(str):
    pass


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Text("a"), "a"),
        (Level.LOW, 1),
        (Color.RED, "red"),
        (OrderedDict(a=Text("b")), {"a": "b"}),
        (MappingProxyType({"a": (Level.LOW,)}), {"a": [1]}),
        ({Color.RED: 1}, {"red": 1}),
        (type("Float", (float,), {})(1.5), 1.5),
    ],
)
def test_nearly_plain(result: Any, expected: Any) -> None:
    """Without an annotation, subclasses and enums become the plain values that they are."""
    finished = finish(Any, result)
    assert finished == expected
    assert json.dumps(finished) == json.dumps(expected)
    assert type(finished) is type(expected)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (b"a", "JSON can't say a bytes"),
        ({"a": [1, {2}]}, "a[1]: JSON can't say a set"),
        ({"a": {"b": object()}}, "a.b: JSON can't say a object"),
        ({1: 2}, "a member's name is a string, not 1"),
        ([2**64], "[0]: 18446744073709551616 does not fit into 64 bits"),
        ([-(2**63) - 1], "[0]: -9223372036854775809 does not fit into 64 bits"),
        ({"a": float("inf")}, "a: JSON has no inf"),
        ([float("nan")], "[0]: JSON has no nan"),
        (["\udfff"], "[0]: '\\udfff' has a lone surrogate, which JSON can't say"),
        ({"\udfff": 1}, "'\\udfff' has a lone surrogate, which JSON can't say"),
        (Point(1), "JSON can't say a Point"),
    ],
)
def test_not_plain(result: Any, why: str) -> None:
    """Without an annotation, what JSON can't say is a TypeError that says where it is."""
    with pytest.raises(TypeError) as caught:
        finish(Any, result)
    assert str(caught.value) == why


def nested(depth: int) -> list[Any]:
    """:return: lists within lists"""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def cyclic() -> list[Any]:
    """:return: a list that has itself as an element, twice"""
    value: list[Any] = []
    value += [value, value]
    return value


def deep_tree() -> Tree:
    """:return: a tree that no call per level can walk"""
    tree = Tree()
    for _ in range(5000):
        tree = Tree([tree])
    return tree


@pytest.mark.parametrize(
    ("annotation", "result"),
    [(Any, nested(MAX_DEPTH + 2)), (Any, nested(100_000)), (list, cyclic()), (Any, cyclic()), (Tree, deep_tree())],
)
def test_too_deep(annotation: Any, result: Any) -> None:
    """What nests too deeply, or within itself, is a TypeError like any other."""
    with pytest.raises(TypeError) as caught:
        finish(annotation, result)
    assert "too deeply" in str(caught.value)


def test_deep_enough() -> None:
    """As deep as the limit is fine, at any depth of the caller's stack."""
    result = nested(MAX_DEPTH)
    assert finish(Any, result) is result


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(plain_values)
def test_any_plain_value(value: Any) -> None:
    """Whatever is plain JSON data passes untouched."""
    assert finish(Any, [value])[0] is value


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.sampled_from([None, b"", 2**64, float("nan"), "\ud800", object(), Color.RED, 1, "a"]),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=1) | st.integers(), inner) | st.tuples(inner),
        max_leaves=5,
    )
)
def test_any_value(value: Any) -> None:
    """Whatever passes, JSON can say; the rest is a TypeError."""
    try:
        finished = finish(Any, [value])
    except TypeError:
        return
    assert json.loads(json.dumps(finished, allow_nan=False)) == json.loads(
        json.dumps([value], default=lambda e: e.value)
    )


# -- events


def test_record() -> None:
    """The data of an event goes by Python names or those of the wire; plain data is not copied."""
    record = compile_members({"job_id": str, "node-name": str | None, "point": Point | None})
    assert [(member.name, member.optional) for member in record.members] == [
        ("job-id", False),
        ("node-name", True),
        ("point", True),
    ]
    assert record.encode({"job_id": "j", "point": Point(1)}) == {"job-id": "j", "point": {"x": 1, "y-axis": 0}}
    data = {"job-id": "j", "node-name": "n"}
    assert record.encode(data) == data
    simple = compile_members({"a": int, "b": str | None})
    plain = {"a": 1, "b": "b"}
    assert simple.encode(plain) is plain
    assert simple.encode({"a": 1, "b": None}) == {"a": 1}
    assert compile_members({}).encode({}) == {}


@pytest.mark.parametrize(
    ("data", "path", "why"),
    [
        ({}, "", "a: is missing"),
        ({}, "data", "data.a: is missing"),
        ({"a": "1"}, "", "a: expected an integer, not str '1'"),
        ({"a": 1, "z": 1}, "", "z: there is no such member"),
        ([], "", "expected a dict, not list"),
    ],
)
def test_record_refused(data: Any, path: str, why: str) -> None:
    """Data that does not fit its event is a TypeError that says where and why."""
    with pytest.raises(TypeError) as caught:
        compile_members({"a": int}).encode(data, path)
    assert str(caught.value) == why


def test_record_too_deep() -> None:
    """Data that nests too deeply is a TypeError too."""
    with pytest.raises(TypeError, match="too deeply"):
        compile_members({"tree": Tree}).encode({"tree": deep_tree()})


@pytest.mark.parametrize("members", [{"a_b": int, "a-b": int}, {"a": bytes}])
def test_members_refused(members: dict[str, Any]) -> None:
    """Members that have one name, or a type that JSON can't say, are refused when the event is defined."""
    with pytest.raises(RegistrationError):
        compile_members(members)
