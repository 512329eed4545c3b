"""
Arguments, bound to annotated parameters or refused in QEMU's words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.argument_types import (
    UNSIGNED,
    Block,
    Color,
    Inheriting,
    InheritingClass,
    Line,
    Mixed,
    Named,
    Null,
    Options,
    Packed,
    Point,
    Raw,
    Ref,
    Renamed,
    Tree,
    UserName,
    taking,
    wrong,
)
from tests.support.elsewhere_types import Elsewhere
from tests.support.qemu_commands import QEMUCommands
from twisted_qmon.errors import CommandError, GenericError
from twisted_qmon.info import JSON
from twisted_qmon.qapi.signature import Signature, compile_signature
from twisted_qmon.qapi.types import Alternate, Int8, Int16, Int32, Int64, Size, UInt8, UInt16, UInt32, UInt64

DATA = Path(__file__).parent.parent / "data"


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
        ({"b0": 1, "g1": 1, "a": "", "d2": 1}, "Parameter 'b0' is unexpected"),
        ({"a": "", **{f"n{n}": 1 for n in range(20)}}, "Parameter 'n0' is unexpected"),
    ],
)
def test_first_fault(arguments: dict[str, Any], desc: str) -> None:
    """Null is not absence; the first fault in declared order is told, then the first unexpected argument that was sent."""
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
