"""
Signatures on their way in: annotations and C{args_type} to arguments, in QEMU's words.
"""

from __future__ import annotations

import enum
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.elsewhere_types import BaseClass, BaseDict, Elsewhere
from tests.support.qemu_commands import QEMUCommands
from twisted_qmon.core.request import Request
from twisted_qmon.errors import CommandError, GenericError, RegistrationError
from twisted_qmon.info import JSON
from twisted_qmon.qapi.signature import Signature, compile_signature, default_params
from twisted_qmon.qapi.types import (
    Alternate,
    Boxed,
    Int8,
    Int16,
    Int32,
    Int64,
    Size,
    Tagged,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
)

if TYPE_CHECKING:
    from typing_extensions import NotRequired
else:
    try:
        from typing import NotRequired
    except ImportError:
        from typing_extensions import NotRequired

DATA = Path(__file__).parent.parent / "data"


class Color(enum.Enum):
    RED = "red"
    DARK_BLUE = "dark-blue"


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Line:
    start_at: Point
    end_at: Point | None = None
    color: Color = Color.RED
    tags: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Named:
    name: str
    from_: str = "here"


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


class Options(TypedDict, total=False):
    job_id: str
    speed: int


class Mixed(Options):
    node: str
    note: NotRequired[str]
    limit: int | None


class Inheriting(BaseDict, total=False):
    color: Annotated[NotRequired[Color], "some mark"]


@dataclass
class InheritingClass(BaseClass):
    computed: int = field(init=False, default=5)
    color: Color | None = None


class Packed(msgspec.Struct):
    job_id: str
    speed: int = 3
    tags: list[str] = msgspec.field(default_factory=list)


class Renamed(msgspec.Struct, rename="camel"):
    job_id: str


@dataclass
class Raw:
    driver: Literal["raw"]
    file: Ref


@dataclass
class OtherRaw:
    driver: Literal["raw"] = "raw"


@dataclass
class Null:
    driver: Literal["null", "zero"]
    size: Size = 0


Block = Annotated[Raw | Null, Tagged("driver", "Block")]
Ref = Annotated[str | Block, Alternate("BlockRef")]
UserName = NewType("UserName", str)


def taking(annotation: Any, **more: Any) -> Signature:
    """:return: the signature of a handler with one required parameter, C{x}"""

    def handler(x: Any) -> None: ...

    handler.__annotations__["x"] = annotation
    return compile_signature(handler, **more)


def wrong(signature: Signature, arguments: Any) -> str:
    """:return: what is wrong with the arguments, once it is known to be a GenericError"""
    with pytest.raises(GenericError) as caught:
        signature.bind(arguments)
    assert caught.value.error_class == "GenericError"
    return caught.value.desc


# Annotation, and pairs of what comes and what the handler gets.
TAKEN: list[tuple[Any, list[tuple[Any, Any]]]] = [
    (str, [("", ""), ("ä", "ä")]),
    ("str", [("a", "a")]),
    (UserName, [("a", "a")]),
    (int, [(0, 0), (-(2**63), -(2**63)), (2**63 - 1, 2**63 - 1)]),
    (Int8, [(-128, -128), (127, 127)]),
    (Int16, [(-32768, -32768), (32767, 32767)]),
    (Int32, [(-(2**31), -(2**31)), (2**31 - 1, 2**31 - 1)]),
    (Int64, [(-(2**63), -(2**63)), (2**63 - 1, 2**63 - 1)]),
    (UInt8, [(0, 0), (255, 255)]),
    (UInt16, [(65535, 65535)]),
    (UInt32, [(2**32 - 1, 2**32 - 1)]),
    (UInt64, [(0, 0), (2**64 - 1, 2**64 - 1)]),
    (Size, [(0, 0), (2**64 - 1, 2**64 - 1)]),
    (float, [(1.5, 1.5), (1, 1.0), (-(2**63), -(2.0**63))]),
    (bool, [(True, True), (False, False)]),
    (Annotated[None, "no mark of ours"], [(None, None)]),
    (Any, [(None, None), ([1, {"a": None}], [1, {"a": None}])]),
    (object, [(None, None), (1.5, 1.5)]),
    (JSON, [(None, None), ([1, {"a": None}], [1, {"a": None}])]),
    (Literal["a", "b{}"], [("a", "a"), ("b{}", "b{}")]),
    (Color, [("red", Color.RED), ("dark-blue", Color.DARK_BLUE)]),
    (Literal[Color.RED], [("red", Color.RED)]),
    (list, [([], []), ([1, "a"], [1, "a"])]),
    (list[int], [([], []), ([1, 2], [1, 2])]),
    (list[Color], [(["red"], [Color.RED])]),
    (Sequence[str], [(["a"], ["a"])]),
    (tuple[int, ...], [([1, 2], (1, 2))]),
    (list[list[int]], [([[1], []], [[1], []])]),
    (dict, [({}, {}), ({"a": [1]}, {"a": [1]})]),
    (dict[str, Any], [({"a_b": None}, {"a_b": None})]),
    (dict[str, float], [({"a": 1}, {"a": 1.0}), ({}, {})]),
    (Mapping[str, Color], [({"a": "red"}, {"a": Color.RED})]),
    (Point, [({"x": 1}, Point(1, 0)), ({"y": 2, "x": 1}, Point(1, 2))]),
    (
        Line,
        [
            ({"start-at": {"x": 1}}, Line(Point(1))),
            (
                {"tags": ["t"], "color": "dark-blue", "end-at": {"x": 3}, "start-at": {"x": 1}},
                Line(Point(1), Point(3), Color.DARK_BLUE, ["t"]),
            ),
        ],
    ),
    (Named, [({"name": "n"}, Named(name="n")), ({"from": "f", "name": "n"}, Named(name="n", from_="f"))]),
    (
        Tree,
        [({"value": 1, "children": [{"value": 2}, {"value": 3, "children": []}]}, Tree(1, [Tree(2), Tree(3)]))],
    ),
    (Options, [({}, {}), ({"job-id": "j", "speed": 1}, {"job_id": "j", "speed": 1})]),
    (
        Mixed,
        [
            ({"node": "n"}, {"node": "n", "limit": None}),
            (
                {"node": "n", "job-id": "j", "note": "", "limit": 1},
                {"node": "n", "job_id": "j", "note": "", "limit": 1},
            ),
        ],
    ),
    (Packed, [({"job-id": "j"}, Packed("j")), ({"job-id": "j", "speed": 4}, Packed("j", 4))]),
    (Inheriting, [({"place": "here", "color": "red"}, {"place": Elsewhere.HERE, "color": Color.RED})]),
    (InheritingClass, [({"place": "here"}, InheritingClass(Elsewhere.HERE))]),
    (list["Point"], [([{"x": 1}], [Point(1)])]),
    (Annotated["str | None", Alternate("StrOrNull")], [(None, None)]),
    (Renamed, [({"jobId": "j"}, Renamed("j"))]),
    (str | int, [("a", "a"), (1, 1)]),
    (int | float, [(1, 1), (1.5, 1.5)]),
    (Union[bool, list[int], Point], [(True, True), ([1], [1]), ({"x": 1}, Point(1))]),  # noqa: UP007
    (Annotated[str | None, Alternate("StrOrNull")], [("a", "a"), (None, None)]),
    (Block, [({"driver": "null"}, Null("null")), ({"driver": "zero", "size": 1}, Null("zero", 1))]),
    (
        Ref,
        [
            ("name", "name"),
            ({"driver": "raw", "file": "f"}, Raw("raw", "f")),
            ({"driver": "raw", "file": {"driver": "raw", "file": "f"}}, Raw("raw", Raw("raw", "f"))),
        ],
    ),
]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [(annotation, value, expected) for annotation, pairs in TAKEN for value, expected in pairs],
)
def test_taken(annotation: Any, value: Any, expected: Any) -> None:
    """What fits an annotation reaches the handler as the Python value that the annotation says."""
    bound = taking(annotation).bind({"x": value})
    assert bound == {"x": expected}
    assert type(bound["x"]) is type(expected)


INTEGER = "Invalid parameter type for 'x', expected: integer"
UNSIGNED = "Parameter 'x' expects uint64"
NOT_UNSIGNED: list[Any] = [1.0, True, None, "1", 2**64, [], {}]

# Annotation, and pairs of what comes and what the client is told.
REFUSED: list[tuple[Any, list[tuple[Any, str]]]] = [
    *[
        (annotation, [(value, f"Invalid parameter type for 'x', expected: {kind}") for value in values])
        for annotation, kind, values in (
            (str, "string", [1, None, True, [], {}]),
            (Color, "string", [1, None, ["red"], {}]),
            (Literal["a"], "string", [1, None, ["a"], {}]),
            (int, "integer", [1.0, 1.5, True, None, "1", 2**63, -(2**63) - 1, [], {}]),
            (Int8, "integer", [1.0, False, None, "1", 2**63]),
            (Int64, "integer", [2**63]),
            (float, "number", ["1", True, None, [], {}, 10**400]),
            (bool, "boolean", [0, 1, "true", None]),
            (Annotated[None, 0], "null", [0, False, "", {}]),
            (list[int], "array", [{}, "a", None, 1]),
            (list, "array", [{}, "a", None, 1]),
            (dict, "object", [[], "a", None, 1]),
            (dict[str, int], "object", [[], "a", None, 1]),
            (Point, "object", [[], "a", None, 1]),
            (Options, "object", [[], "a", None, 1]),
            (Packed, "object", [[], "a", None, 1]),
            (Block, "object", [[], "a", None, 1]),
            (Ref, "BlockRef", [[], None, 1, True]),
            (str | int, "StrOrInt", [[], None, 1.5, True]),
            (str | Point, "StrOrPoint", [None]),
        )
    ],
    *[(t, [(v, UNSIGNED) for v in NOT_UNSIGNED]) for t in (UInt8, UInt16, UInt32, UInt64, Size)],
    # QEMU takes these for large numbers, and has aborted on what came of it.
    *[(t, [(v, UNSIGNED) for v in (-1, -(2**63))]) for t in (UInt64, Size)],
    (Int8, [(v, "Parameter 'x' expects int8_t") for v in (-129, 128, 2**63 - 1)]),
    (Int16, [(v, "Parameter 'x' expects int16_t") for v in (-32769, 32768)]),
    (Int32, [(v, "Parameter 'x' expects int32_t") for v in (-(2**31) - 1, 2**31)]),
    (UInt8, [(v, "Parameter 'x' expects uint8_t") for v in (-1, 256, 2**63, 2**64 - 1)]),
    (UInt16, [(v, "Parameter 'x' expects uint16_t") for v in (-1, 65536)]),
    (UInt32, [(v, "Parameter 'x' expects uint32_t") for v in (-1, 2**32)]),
    (
        Color,
        [("bad", "Parameter 'x' does not accept value 'bad'"), ("RED", "Parameter 'x' does not accept value 'RED'")],
    ),
    (Literal["a"], [("", "Parameter 'x' does not accept value ''")]),
    (
        list[int],
        [
            ([1, 1.5], "Invalid parameter type for 'x[1]', expected: integer"),
            ([None, "a"], "Invalid parameter type for 'x[0]', expected: integer"),
        ],
    ),
    (list[list[int]], [([[], [1, "a"]], "Invalid parameter type for 'x[1][1]', expected: integer")]),
    (list[UInt8], [([256], "Parameter 'x[0]' expects uint8_t"), ([""], "Parameter 'x[0]' expects uint64")]),
    (list[Color], [(["red", "bad"], "Parameter 'x[1]' does not accept value 'bad'")]),
    (dict[str, int], [({"a": 1, "b-c": "d"}, "Invalid parameter type for 'x.b-c', expected: integer")]),
    (
        Line,
        [
            ({}, "Parameter 'x.start-at' is missing"),
            ({"start_at": {"x": 1}}, "Parameter 'x.start-at' is missing"),
            ({"start-at": {}}, "Parameter 'x.start-at.x' is missing"),
            ({"start-at": {"x": 1, "z": 1}}, "Parameter 'x.start-at.z' is unexpected"),
            ({"start-at": {"x": 1}, "end-at": None}, "Invalid parameter type for 'x.end-at', expected: object"),
            ({"start-at": {"x": 1}, "color": "bad"}, "Parameter 'color' does not accept value 'bad'"),
            ({"start-at": {"x": 1}, "tags": [1]}, "Invalid parameter type for 'x.tags[0]', expected: string"),
        ],
    ),
    (Tree, [({"value": 1, "children": [{}]}, "Parameter 'x.children[0].value' is missing")]),
    (
        Mixed,
        [
            ({}, "Parameter 'x.node' is missing"),
            ({"node": "n", "limit": None}, "Invalid parameter type for 'x.limit', expected: integer"),
            ({"node": "n", "z": None}, "Parameter 'x.z' is unexpected"),
        ],
    ),
    (
        Packed,
        [({"speed": 1}, "Parameter 'x.job-id' is missing"), ({"job-id": "j", "z": 1}, "Parameter 'x.z' is unexpected")],
    ),
    (
        Block,
        [
            ({}, "Parameter 'x.driver' is missing"),
            ({"size": "a"}, "Parameter 'x.driver' is missing"),
            ({"driver": 1}, "Invalid parameter type for 'x.driver', expected: string"),
            ({"driver": []}, "Invalid parameter type for 'x.driver', expected: string"),
            ({"driver": "bad"}, "Parameter 'driver' does not accept value 'bad'"),
            ({"driver": "null", "file": "f"}, "Parameter 'x.file' is unexpected"),
            ({"driver": "raw", "file": {"driver": "raw"}}, "Parameter 'x.file.file' is missing"),
        ],
    ),
    (Annotated[str | None, Alternate("StrOrNull")], [(1, "Invalid parameter type for 'x', expected: StrOrNull")]),
]


@pytest.mark.parametrize(
    ("annotation", "value", "desc"),
    [(annotation, value, desc) for annotation, pairs in REFUSED for value, desc in pairs],
)
def test_refused(annotation: Any, value: Any, desc: str) -> None:
    """What does not fit is told in QEMU's words, with the path to it."""
    assert wrong(taking(annotation), {"x": value}) == desc


def _optional(a: str, b: int | None, c: int | None = 5, d: Optional[str] = None, e: float = 1.0) -> None:  # noqa: UP045
    """Each way to be optional, and one that is not."""


@pytest.mark.parametrize(
    ("arguments", "bound"),
    [
        ({"a": ""}, {"a": "", "b": None}),
        ({"a": "", "b": 1, "c": 2, "d": "d", "e": 2}, {"a": "", "b": 1, "c": 2, "d": "d", "e": 2.0}),
        ({"e": 1.5, "a": ""}, {"a": "", "b": None, "e": 1.5}),
    ],
)
def test_optional(arguments: dict[str, Any], bound: dict[str, Any]) -> None:
    """A default or C{| None} makes an argument optional; without a default, what is absent is C{None}."""
    assert compile_signature(_optional).bind(arguments) == bound


@pytest.mark.parametrize(
    ("arguments", "desc"),
    [
        ({}, "Parameter 'a' is missing"),
        ({"b": None, "a": ""}, "Invalid parameter type for 'b', expected: integer"),
        ({"c": None, "a": ""}, "Invalid parameter type for 'c', expected: integer"),
        ({"d": None, "a": ""}, "Invalid parameter type for 'd', expected: string"),
        ({"e": None, "a": ""}, "Invalid parameter type for 'e', expected: number"),
        ({"z": 1, "e": "", "d": 1, "a": ""}, "Invalid parameter type for 'd', expected: string"),
        ({"z": 1, "e": ""}, "Parameter 'a' is missing"),
        ({"z": 1, "y": 1, "a": ""}, "Parameter 'z' is unexpected"),
    ],
)
def test_first_fault(arguments: dict[str, Any], desc: str) -> None:
    """Null is not absence; of several faults the first in declared order is told, unexpected arguments last."""
    assert wrong(compile_signature(_optional), arguments) == desc


@pytest.mark.parametrize("case", json.loads((DATA / "qemu-arguments.json").read_text()), ids=str)
def test_as_recorded(case: dict[str, Any]) -> None:
    """QEMU's own commands answer what a QEMU answered."""
    command = next(c for c in QEMUCommands().commands() if c.name == case["execute"])
    try:
        answer = {"return": command.finish(command.invoke(None, case["arguments"]))}
    except CommandError as e:
        answer = {"error": e.to_wire()}
    assert answer == {key: case[key] for key in ("return", "error") if key in case}


def test_bound_anew_each_time() -> None:
    """The keywords are a new dictionary each time, and the arguments are not changed."""
    signature = taking(Options)
    arguments = {"x": {"job-id": "j"}}
    first = signature.bind(arguments)
    first["x"]["job_id"] = "other"
    assert signature.bind(arguments) == {"x": {"job_id": "j"}}
    assert arguments == {"x": {"job-id": "j"}}


def test_python_values() -> None:
    """A local caller may give what is nearly plain: subclasses, tuples and mappings."""

    class Text(str):
        pass

    signature = taking(dict[str, list[str]])
    assert signature.bind(MappingProxyType({"x": MappingProxyType({"a": (Text("b"),)})})) == {"x": {"a": ["b"]}}


def test_deep_arguments() -> None:
    """Arguments that nest deeper than Python can go are refused, not an internal error."""
    value: dict[str, Any] = {"value": 1}
    for _ in range(5000):
        value = {"value": 1, "children": [value]}
    assert wrong(taking(Tree), {"x": value}) == "JSON nesting depth limit exceeded"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**65) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "driver", "file", "start-at", "value", "children"]), inner)
    ),
    max_leaves=8,
)


SIGNATURES = [taking(annotation) for annotation, _ in TAKEN]


@settings(max_examples=200, deadline=None)
@given(signature=st.sampled_from(SIGNATURES), value=json_values)
def test_anything_is_taken_or_refused(signature: Signature, value: Any) -> None:
    """Whatever comes is bound, or refused with a GenericError about this argument."""
    try:
        bound = signature.bind({"x": value})
    except GenericError as e:
        assert e.desc.startswith(("Parameter '", "Invalid parameter type for 'x"))
    else:
        assert list(bound) == ["x"]


@settings(max_examples=200, deadline=None)
@given(signature=st.sampled_from(SIGNATURES), value=json_values)
def test_both_roads_agree(signature: Signature, value: Any) -> None:
    """The fast road takes nothing that the plain one refuses, and takes it in the same way."""
    try:
        # No dict, so never on the fast road.
        expected = signature.bind(MappingProxyType({"x": MappingProxyType(value) if type(value) is dict else value}))
    except GenericError as e:
        assert wrong(signature, {"x": value}) == e.desc
    else:
        # A mapping that may be anything stays what it is: no dict.
        assert signature.bind({"x": value}) == (
            {"x": value} if isinstance(expected["x"], MappingProxyType) else expected
        )


# -- handlers


class Provider:
    """A handler of each kind."""

    def method(self, job_id: str, from_: int = 0) -> None: ...

    def local_request(self, a: str, request: Request) -> None: ...

    def __call__(self, called: str) -> None: ...

    @classmethod
    def of_class(cls, a: str) -> None: ...

    @staticmethod
    def static(a: str) -> None: ...


def _wraps(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        (Provider().method, ["job-id", "from"]),
        (Provider(), ["called"]),
        (Provider.of_class, ["a"]),
        (Provider.static, ["a"]),
        (functools.partial(Provider().method, "j"), ["from"]),
        (functools.partial(Provider().method, job_id="j"), ["from"]),
        (_wraps(Provider().method), ["job-id", "from"]),
        (lambda a, b=1: None, ["a", "b"]),
        (lambda *args: None, []),
        (lambda: None, []),
    ],
)
def test_handlers(handler: Callable[..., Any], names: list[str]) -> None:
    """Anything that can be called with keywords is a handler; its arguments have dashes on the wire."""
    signature = compile_signature(handler)
    assert signature.parameters is not None
    assert [parameter.name for parameter in signature.parameters] == names
    assert signature.takes_nothing == (not names)


def _by_string(a: str, request: "Missing.Request") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
def _or_none(request: Request | None = None) -> None: ...
def _optional_request(request: Optional[Request] = None) -> None: ...  # noqa: UP045


@pytest.mark.parametrize("handler", [Provider().local_request, _by_string, _or_none, _optional_request])
def test_request(handler: Callable[..., Any]) -> None:
    """The parameter that takes the request is no argument, even where only a type checker knows the class."""
    signature = compile_signature(handler)
    assert signature.request_parameter == "request"
    assert "request" not in [parameter.name for parameter in signature.parameters or ()]
    arguments = {parameter.name: "a" for parameter in signature.parameters or ()}
    assert wrong(signature, {**arguments, "request": 1}) == "Parameter 'request' is unexpected"


def test_class_called_request() -> None:
    """A class of the user's that is called Request too is an argument."""

    @dataclass
    class Request:
        a: int

    def handler(request: Request) -> None: ...

    signature = compile_signature(handler)
    assert signature.request_parameter is None
    assert signature.bind({"request": {"a": 1}}) == {"request": Request(1)}


def test_local_classes() -> None:
    """Names that are known where the handler was defined are found while that function runs."""

    @dataclass
    class Inner:
        a: int

    @dataclass
    class Outer:
        inner: Inner
        more: list[Outer] = field(default_factory=list)

    class Local:
        def handler(self, x: Outer) -> Inner: ...  # type: ignore[empty-body]

    bound = compile_signature(Local().handler).bind({"x": {"inner": {"a": 1}, "more": [{"inner": {"a": 2}}]}})
    assert bound == {"x": Outer(Inner(1), [Outer(Inner(2))])}


def test_any_arguments() -> None:
    """A handler that takes keywords, and says no more, gets whatever comes as it came."""

    def handler(a: int, **arguments: Any) -> None: ...

    signature = compile_signature(handler)
    assert signature.parameters is None
    assert not signature.takes_nothing
    assert signature.bind({"a": 1, "b-c": None}) == {"a": 1, "b-c": None}
    assert wrong(signature, {"b": 1}) == "Parameter 'a' is missing"


def test_unannotated() -> None:
    """A parameter without annotation takes any JSON value."""
    assert compile_signature(lambda a, b=1: None).bind({"a": None}) == {"a": None}


def test_boxed() -> None:
    """A boxed parameter takes all arguments; those of one variant only are optional parameters."""

    def handler(options: Annotated[Block, Boxed()], request: Request) -> None: ...

    signature = compile_signature(handler)
    assert signature.request_parameter == "request"
    assert signature.bind({"driver": "null", "size": 1}) == {"options": Null("null", 1)}
    assert wrong(signature, {}) == "Parameter 'driver' is missing"
    assert [(p.name, p.optional) for p in signature.parameters or ()] == [
        ("driver", False),
        ("file", True),
        ("size", True),
    ]
    assert signature.boxed is not None
    assert signature.boxed.name == "Block"


class Rainbow(enum.Enum):
    RED = 1


@dataclass
class Twice:
    job_id: str
    job_id_: str


@dataclass
class Untagged:
    a: int


class TaggedStruct(msgspec.Struct, tag="x"):
    a: int


def _positional(a: int, /) -> None: ...
def _twice(job_id: int, job_id_: int) -> None: ...
def _missing_name(a: "NoSuchType") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
def _bad_result() -> set[int]: ...  # type: ignore[empty-body]
def _boxed_and_more(a: Annotated[Point, Boxed()], b: int) -> None: ...
def _boxed_int(a: Annotated[int, Boxed()]) -> None: ...


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (_positional, "'a' is positional only"),
        (_twice, "two parameters are 'job-id' on the wire"),
        (_missing_name, "can't find 'NoSuchType'"),
        (_bad_result, "set[int] is no type that JSON can say"),
        (_boxed_and_more, "'a' is Boxed, so there are no other parameters"),
        (_boxed_int, "all the arguments together are an object, not int"),
        (5, "can't tell the parameters"),
    ],
)
def test_handlers_refused(handler: Any, words: str) -> None:
    """A handler that can't be a command is refused when it is registered, with its name and the reason."""
    with pytest.raises(RegistrationError) as caught:
        compile_signature(handler)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bytes, "bytes is no type that JSON can say"),
        (set, "set is no type that JSON can say"),
        (set[int], "set[int] is no type that JSON can say"),
        (object(), "is no type that JSON can say"),
        (Provider, "Provider is no type that JSON can say"),
        (list[bytes], "bytes is no type that JSON can say"),
        (dict[int, str], "the names of an object's members are strings"),
        (tuple[int, str], "a list has elements of one type"),
        (Literal["a", 1], "the values of an enum are strings"),
        (Rainbow, "Rainbow: the values of an enum are strings, not 1"),
        (Twice, "two members have one name on the wire"),
        (str | Color, "two options are both a JSON string"),
        (Point | Line, "two options are both a JSON object"),
        (Any | str if hasattr(Any, "__or__") else Union[str, Any], "a union with any value is just any value"),  # noqa: UP007
        (Annotated[Point | Line, Tagged("driver")], "Point has no member 'driver' that is a Literal"),
        (Annotated[Raw | str, Tagged("driver")], "is no class with members"),
        (Annotated[Raw | OtherRaw, Tagged("driver")], "two classes have 'driver' 'raw'"),
        (TaggedStruct, "say the tag as a member with a Literal"),
        ("list[", "can't make sense of the annotation"),
    ],
)
def test_annotations_refused(annotation: Any, words: str) -> None:
    """An annotation that is no type of QAPI's world is refused, with the parameter and the reason."""
    with pytest.raises(RegistrationError) as caught:
        taking(annotation)
    assert words in str(caught.value)
    assert "x" in str(caught.value)


# -- args_type


@pytest.mark.parametrize(
    ("item", "good", "bad"),
    [
        *[(f"x:{letter}", ["a"], [(1, "Invalid parameter type for 'x', expected: string")]) for letter in "FBsS"],
        *[(f"x:{letter}", [1, -1], [(1.0, INTEGER)]) for letter in "il"],
        *[(f"x:{letter}", [1], [(-1, UNSIGNED), (1.0, UNSIGNED)]) for letter in "Mo"],
        ("x:T", [1.5, 2], [("1", "Invalid parameter type for 'x', expected: number")]),
        ("x:b", [True], [("on", "Invalid parameter type for 'x', expected: boolean")]),
        ("x:-d", [True], [(1, "Invalid parameter type for 'x', expected: boolean")]),
        ("x:-ds", ["a"], [(True, "Invalid parameter type for 'x', expected: string")]),
        ("x:O", [{"driver": "e1000"}], [("e1000", "Invalid parameter type for 'x', expected: object")]),
    ],
)
def test_letters(item: str, good: list[Any], bad: list[tuple[Any, str]]) -> None:
    """Each letter is a QMP type; what is optional on a typed line is so in QMP."""

    def handler(x: Any = None) -> None: ...

    del handler.__annotations__["x"]
    signature = compile_signature(handler, args_type=item)
    keywords = compile_signature(lambda **arguments: None, args_type=item)
    for value in good:
        assert signature.bind({"x": value}) == {"x": value}
        assert keywords.bind({"x": value}) == {"x": value}
    for value, desc in bad:
        assert wrong(signature, {"x": value}) == desc
    if "-" in item:
        assert signature.bind({}) == {}
    else:
        assert wrong(signature, {}) == "Parameter 'x' is missing"
        assert compile_signature(handler, args_type=item + "?").bind({}) == {}


def test_format() -> None:
    """C{/} stands for count, format and size."""
    signature = compile_signature(lambda **arguments: None, args_type="fmt:/,addr:l")
    assert signature.bind({"addr": 1, "count": 2, "format": "x", "size": 4}) == {
        "addr": 1,
        "count": 2,
        "format": "x",
        "size": 4,
    }
    assert signature.bind({"addr": 1}) == {"addr": 1}
    assert wrong(signature, {"addr": 1, "fmt": "x"}) == "Parameter 'fmt' is unexpected"


def test_keywords_have_python_names() -> None:
    """A handler that takes any keyword gets declared arguments by names that Python can write."""
    signature = compile_signature(lambda **arguments: None, args_type="cpu-index:i,bps_rd:l")
    assert signature.bind({"cpu-index": 1, "bps_rd": 2}) == {"cpu_index": 1, "bps_rd": 2}


def test_annotation_wins() -> None:
    """Where an annotation goes with the letter, it says what is valid; underscores of the declaration stay on the wire."""

    def handler(bps_rd: UInt8, target: Literal["vm", "vcpu"], extra: int = 0) -> None: ...

    signature = compile_signature(handler, args_type="target:s,bps_rd:i")
    assert [p.name for p in signature.parameters or ()] == ["target", "bps_rd", "extra"]
    assert wrong(signature, {"target": "bad", "bps_rd": 1}) == "Parameter 'target' does not accept value 'bad'"
    assert wrong(signature, {"target": "vm", "bps_rd": 256}) == "Parameter 'bps_rd' expects uint8_t"
    assert signature.bind({"target": "vm", "bps_rd": 1}) == {"target": "vm", "bps_rd": 1}


def _path(path: str) -> None: ...
def _path_freq(path: str, freq: int) -> None: ...


@pytest.mark.parametrize(
    ("handler", "args_type", "words"),
    [
        (_path, "path:i", "the annotation of 'path' does not go with path:i"),
        (_path, "path:s,freq:i", "no parameter takes 'freq'"),
        (_path_freq, "path:s", "does not say what the parameter 'freq' is"),
        (_path_freq, "path:s,freq:i?", "'freq' is optional in args_type, but 'freq' has no default"),
        (_boxed_int, "a:i", "args_type does not go with Boxed"),
    ],
)
def test_args_type_refused(handler: Callable[..., Any], args_type: str, words: str) -> None:
    """A declaration that does not go with the handler is refused when it is registered."""
    with pytest.raises(RegistrationError) as caught:
        compile_signature(handler, args_type=args_type)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("signature", "params"),
    [
        (compile_signature(lambda: None), ""),
        (compile_signature(lambda value, freq=1: None), "value [freq]"),
        (compile_signature(Provider().method), "job-id [from]"),
        (compile_signature(lambda **arguments: None), "[name=value...]"),
        (compile_signature(lambda **a: None, args_type="force:-f,device:B,id:s?"), "[-f] device [id]"),
        (compile_signature(lambda **a: None, args_type="fmt:/,addr:l,index:i.,d:-ds"), "/fmt addr [.index] [-d d]"),
        (compile_signature(lambda **a: None, args_type=""), ""),
    ],
)
def test_default_params(signature: Signature, params: str) -> None:
    """Help shows the parameters as QEMU does: what is required, then what may be left out in brackets."""
    assert default_params(signature) == params
