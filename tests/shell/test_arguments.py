"""Arguments as they are typed in a shell."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_qmon.shell.errors import UsageError
from twisted_qmon.shell.oneshot.arguments import parse_arguments


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ([], {}),
        (["a=b"], {"a": "b"}),
        (["a="], {"a": ""}),
        (["a=b=c"], {"a": "b=c"}),
        (["a=1", "b:=1", "c:=true", "d:=null"], {"a": "1", "b": 1, "c": True, "d": None}),
        (['a:={"b": [1.5, "x"]}'], {"a": {"b": [1.5, "x"]}}),
        (["a=:=b"], {"a": ":=b"}),
        (
            ["file.driver=file", "file.filename=x", "node-name=n"],
            {"file": {"driver": "file", "filename": "x"}, "node-name": "n"},
        ),
        (["a:={}", "a.b:=1"], {"a": {"b": 1}}),
        (["__com.example_a=1"], {"__com.example_a": "1"}),
    ],
)
def test_arguments(words: list[str], arguments: dict[str, Any]) -> None:
    """C{key=value} is text, C{key:=JSON} anything; dots lead into objects."""
    assert parse_arguments(words) == arguments


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a"], "is not an argument"),
        (["=b"], "is not an argument"),
        ([":=1"], "is not an argument"),
        (["a:=x"], "is not JSON"),
        (["a:="], "is not JSON"),
        (["a:=NaN"], "NaN is no JSON"),
        (["a:=" + "[" * 100_000], "is not JSON"),
        (["a=1", "a=2"], "argument 'a' is given twice"),
        (["a=1", "a.b=2"], "argument 'a.b' is given twice"),
        (["a.b=1", "a=2"], "argument 'a' is given twice"),
    ],
)
def test_what_is_no_argument(words: list[str], reason: str) -> None:
    """Anything else is a usage error that says which word it is."""
    with pytest.raises(UsageError, match=reason):
        parse_arguments(words)
