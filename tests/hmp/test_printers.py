"""The default form of a result for a person."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon.hmp.printers import MAX_TABLE_WIDTH, present, readable_size, render
from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo

SIZE = TypeInfo("size")


@pytest.mark.parametrize("value", [None, {}, [], ""])
def test_nothing_for_an_empty_result(value: Any) -> None:
    """A command that just did its work prints nothing."""
    assert render(value) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (False, "false"),
        (True, "true"),
        (1.5, "1.5"),
        ("a b", "a b"),
        ("a\r\nb\n", "a\nb"),
        ("\x1b[2J", "\\x1b[2J"),
    ],
)
def test_a_line_for_a_scalar(value: Any, text: str) -> None:
    """And nothing that a terminal would obey."""
    assert render(value) == text


def test_an_object_is_aligned() -> None:
    """Keys in one column, values in the next; what is nested is indented."""
    value = {
        "name": "x",
        "running": True,
        "memory": {"total": 1, "parts": [1, 2, 3], "other": []},
        "nothing": None,
        "empty": "",
    }
    assert render(value).splitlines() == [
        "name:    x",
        "running: true",
        "memory:",
        "  total: 1",
        "  parts: 1, 2, 3",
        "  other: none",
        "nothing: none",
        'empty:   ""',
    ]


def test_a_table_of_like_objects() -> None:
    """Numbers at the right, text at the left, a gap where a member is missing."""
    assert render([{"id": 1, "name": "x"}, {"id": 222, "name": "yy", "tags": ["a", "b"]}]).splitlines() == [
        " id  name  tags",
        "  1  x",
        "222  yy    a, b",
    ]


def test_columns_stand_in_the_order_of_the_type() -> None:
    """And sizes have their readable form beside the exact one."""
    kind = TypeInfo(
        "list",
        element=TypeInfo("object", members=(ParameterInfo("name", TypeInfo("str")), ParameterInfo("size", SIZE))),
    )
    assert render([{"size": 1 << 30, "name": "a", "x": 1}], kind).splitlines() == [
        "name  size                x",
        "a     1073741824 (1 GiB)  1",
    ]


def test_objects_that_make_no_table() -> None:
    """Blocks, an empty line between them."""
    assert render([{"a": {"b": 1}}, {"a": {"b": 2}, "l": [{"x": 1}, {"x": 2}]}]).splitlines() == [
        "a:",
        "  b: 1",
        "",
        "a:",
        "  b: 2",
        "l:",
        "  x",
        "  1",
        "  2",
    ]


def test_a_table_too_wide_is_printed_as_blocks() -> None:
    """Lines that wrap are no table."""
    text = render([{"a": "x" * MAX_TABLE_WIDTH, "b": 1}, {"a": "y", "b": 2}])
    assert text.splitlines()[-2:] == ["a: y", "b: 2"]


def test_lists() -> None:
    """One line for each scalar; a list in a list keeps its brackets."""
    assert render(["a", 1]).splitlines() == ["a", "1"]
    assert render({"l": [1, [2], {"x": {"y": 1}}]}).splitlines() == ["l:", "  1", "  [2]", "  - x:", "      y: 1"]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1024 (1 KiB)"),
        (1536, "1536 (1.5 KiB)"),
        (1000000, "1000000 (977 KiB)"),
        (1 << 30, "1073741824 (1 GiB)"),
        (2**64 - 1, "18446744073709551615 (16 EiB)"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """The exact number, and one that a person can read."""
    assert readable_size(size) == text
    assert render(size, SIZE) == text


def test_any_depth() -> None:
    """What is nested deeper than anyone reads is still printed, whatever its depth."""
    value: Any = 1
    for _ in range(900):
        value = [{"x": value, "y": {"z": []}}]
    assert "y" in render(value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


@given(_JSON)
def test_any_result_is_printed(value: Any) -> None:
    """Every value has a form, without control characters, and without blanks at the ends of lines that it does not have."""
    text = render(value)
    assert all(c == "\n" or c == "\t" or not ("\0" <= c < " ") for c in text)
    text.encode("utf-8")
    if value not in (None, "", [], {}) and not isinstance(value, str):
        assert text or json.dumps(value)


@pytest.mark.parametrize(
    ("printer", "text"),
    [
        (lambda value: f"<{value}>", "<1>"),
        (lambda value, arguments: f"{value} {arguments}", "1 {'x': 2}"),
        (lambda value, arguments, caller: f"{value} {arguments} {caller}", "1 {'x': 2} None"),
        (lambda value, indent="-": f"{indent}{value}", "-1"),
        (str, "1"),
        (None, "1"),
    ],
)
def test_printers(printer: Any, text: str) -> None:
    """One with a second parameter is given the arguments as well, one with a third also who asked."""
    assert present(CommandInfo("x", printer=printer), 1, {"x": 2}) == text
