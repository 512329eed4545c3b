"""Results as tables and trees at a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest

from twisted_qmon.shell.connecting import reason_of
from twisted_qmon.shell.tables import MAX_DEPTH, write_readable


def _written(value: Any, width: int = 60) -> list[str]:
    stream = io.StringIO()
    write_readable(value, stream, colour=False, width=width)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("a\r\nb\x1b", ["a", "b\\x1b"]),
        (5, ["5"]),
        (True, ["true"]),
        (None, ["none"]),
        ({"a": 1, "longer": [1, "x"], "c": [], "d": ""}, ["a       1", "longer  1, x", "c       none", 'd       ""']),
        (["a", "b"], ["[0]  a", "[1]  b"]),
    ],
)
def test_plain_values(value: Any, lines: list[str]) -> None:
    """A scalar is text, a flat object two columns, a list of scalars its elements."""
    found = [line.replace("├── ", "").replace("└── ", "") for line in _written(value)]
    assert found == lines


def test_a_table() -> None:
    """Like objects are a table; numbers are aligned at the right, what one lacks is left empty."""
    lines = _written([{"name": "a", "n": 1, "b": False}, {"name": "bcd", "n": 20}])
    assert [line.split() for line in lines if "─" not in line] == [
        ["name", "n", "b"],
        ["a", "1", "false"],
        ["bcd", "20"],
    ]


def test_a_tree() -> None:
    """What is nested is a tree; like objects inside are a table; what is nested very deeply is text."""
    lines = "\n".join(_written({"a": {"b": [{"c": 1}, {"c": 2}]}, "d": [{"e": {"f": 1}}]}))
    for part in ("a", "b", "c", "d", "[0]", "e", "f  1"):
        assert part in lines
    deep: Any = 1
    for _ in range(MAX_DEPTH + 3):
        deep = {"x": deep}
    assert "{'x': 1}" in "".join(_written(deep, 200))


def test_objects_that_are_not_alike() -> None:
    """They are no table."""
    assert "[0]" in "\n".join(_written([{"a": 1, "b": 2, "c": 3}, {"d": 1}]))
    assert "[1]" in "\n".join(_written([{"a": 1}, 2]))


def test_a_narrow_terminal() -> None:
    """A long cell is folded, nothing of it is lost."""
    text = "".join(_written([{"a": "x" * 100, "b": 1}], 40))
    assert text.count("x") == 100


def test_reasons() -> None:
    """What is no error of connecting is told in its own words."""
    assert reason_of(ValueError("odd.")) == "odd"
