"""The writer: valid JSON always, ASCII, one line, and an error for what JSON can't say."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import uuid
from collections import OrderedDict
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.json_samples import exact, read, values
from twisted_qmon import ABSENT
from twisted_qmon.qmp._server.replies import Reply
from twisted_qmon.qmp.json.writer import NEWLINE, encode, encode_line, encode_quickly, to_ascii, verbatim


class _Name(str):
    """A string that is more than a string."""


class _Count(enum.IntEnum):
    """A number with a name."""

    ONE = 1


def _parsed(data: bytes) -> Any:
    return json.loads(data.decode("ascii"))


@given(values)
@settings(max_examples=300)
def test_valid(value: Any) -> None:
    """Any JSON reader gets the value back; there are no bytes but printable ASCII."""
    for data in (encode(value), encode_line(value).removesuffix(b"\r\n")):
        assert exact(_parsed(data)) == exact(value)
        assert all(0x20 <= byte < 0x7F for byte in data)


@given(st.text(st.characters()))
def test_any_text(text: str) -> None:
    """Text of any characters gives JSON that QEMU's dialect reads, with U+FFFD for what it would refuse."""
    (seen,) = read(encode(text))
    assert len(seen) == len(text)
    for before, after in zip(text, seen, strict=True):
        assert after in (before, "\ufffd")
        if after != before:
            assert 0xD800 <= ord(before) <= 0xDFFF or 0xFDD0 <= ord(before) <= 0xFDEF or ord(before) & 0xFFFE == 0xFFFE


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ("\u00e9", rb'"\u00E9"'),
        ("a\u20acb", rb'"a\u20ACb"'),
        ("\U0001f600\U0001d11e", rb'"\uD83D\uDE00\uD834\uDD1E"'),
        ("\x7f", rb'"\u007F"'),
        ("\n\r\t\b\f\"\\/'", rb'"\n\r\t\b\f\"\\/' + b"'\""),
        ("\ud800", rb'"\uFFFD"'),
        ("\ud83d\u00e9\ude00", rb'"\uFFFD\u00E9\uFFFD"'),
        ("\ufffe", rb'"\uFFFD"'),
        ({"\u00e9": None}, rb'{"\u00E9":null}'),
        (math.inf, b"1e999"),
        ([-math.inf, 1.5], b"[-1e999,1.5]"),
        (2**64 - 1, b"18446744073709551615"),
        (2**64, b"18446744073709551616"),
        (-(2**63) - 1, b"-9223372036854775809"),
        ((1, [], {}, ()), b"[1,[],{},[]]"),
        ({"a": {"b": [{}, [[]]]}}, b'{"a":{"b":[{},[[]]]}}'),
        (True, b"true"),
        (_Name("x"), b'"x"'),
        ([_Count.ONE], b"[1]"),
        (OrderedDict(a=_Name("\u00e9")), b'{"a":"\\u00E9"}'),
        ({_Name("a"): [math.inf, None, False, (_Name("\x01"),)]}, b'{"a":[1e999,null,false,["\\u0001"]]}'),
    ],
)
def test_forms(value: Any, data: bytes) -> None:
    """How text, numbers and containers are written."""
    assert encode(value) == data
    assert encode_line(value) == data + b"\r\n"


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        b"x",
        bytearray(b"x"),
        {1},
        frozenset(),
        {1: 2},
        {None: 2},
        {b"a": 1},
        datetime.datetime(2026, 1, 1),
        datetime.date(2026, 1, 1),
        decimal.Decimal(1),
        uuid.UUID(int=0),
        enum.Enum("Colour", "RED").RED,  # type: ignore[attr-defined]
        msgspec.defstruct("S", [("a", int)])(1),
        object(),
        1j,
        range(3),
        [10**5000],
    ],
)
def test_no_json(value: Any) -> None:
    """What JSON can't say is a TypeError wherever it stands, never bytes."""
    for whole in (value, [1, value], {"a": {"b": [value]}}, {"return": value, "id": math.inf}):
        with pytest.raises(TypeError):
            encode(whole)


def test_nan_in_a_line() -> None:
    """A NaN spoils its line, and the error says what it was."""
    with pytest.raises(TypeError, match="NaN"):
        encode_line({"return": math.nan})


def test_circular() -> None:
    """A value that contains itself is an error, not an endless one."""
    items: list[Any] = [1]
    items.append(items)
    with pytest.raises(TypeError, match="containing itself"):
        encode(items)
    members: dict[str, Any] = {}
    members["a"] = [members]
    with pytest.raises(TypeError, match="containing itself"):
        encode_line(members)


@pytest.mark.parametrize("depth", [500, 1023, 1024, 5000])
def test_depth(depth: int) -> None:
    """Whatever depth the parser takes, and more, is written."""
    lists: Any = "\u00e9"
    objects: Any = math.inf
    for _ in range(depth):
        lists = [lists]
        objects = {"a": objects}
    assert encode(lists) == b"[" * depth + b'"\\u00E9"' + b"]" * depth
    assert encode_line(objects) == b'{"a":' * depth + b"1e999" + b"}" * depth + b"\r\n"


def test_lines() -> None:
    """A message is one line, whatever is in it; so are lines made in the least time."""
    messages = [
        {"return": {}, "id": 1},
        {"return": "a\r\n\u00e9\x7f"},
        {"event": "X", "data": {"a": None, "b": math.inf}},
    ]
    for message in messages:
        data = encode_line(message)
        assert data.count(b"\n") == 1
        assert data.endswith(b"\r\n")
        assert _parsed(data) == message
    assert to_ascii(b"{}\r\n") == b"{}\r\n"


def test_replies_in_one_buffer() -> None:
    """Replies that are made ASCII together are the lines that they would be each."""
    replies = (Reply({}, 1), Reply("a\r\n\u00e9\x7f", ABSENT), Reply(verbatim(b"[1]"), "x"))
    out = b"".join(encode_quickly(reply) + NEWLINE for reply in replies)
    lines = [{"return": {}, "id": 1}, {"return": "a\r\n\u00e9\x7f"}, {"return": [1], "id": "x"}]
    assert to_ascii(out) == b"".join(map(encode_line, lines))


def test_verbatim() -> None:
    """JSON that is there already is put in as it is."""
    text = verbatim(b'{"a": [null, 1]}')
    assert encode_line({"return": text, "id": 1}) == b'{"return":{"a": [null, 1]},"id":1}\r\n'
    assert encode({"return": text, "id": math.inf}) == b'{"return":{"a": [null, 1]},"id":1e999}'
