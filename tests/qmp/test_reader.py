"""The reader of messages: the same messages whatever the pieces and whichever path, limits, and slices."""

from __future__ import annotations

import itertools
import json
import sys
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.json_samples import errors, exact, exact_commands, inputs, mutated, objects, read, values, written
from twisted_qmon.qmp.json.fast import decode_checked, decode_plain
from twisted_qmon.qmp.json.reader import CommandMessage, Malformed, MessageReader
from twisted_qmon.qmp.json.writer import encode, encode_line

COMMAND = b'{"execute":"query-version","id":%d}'


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@given(inputs, st.lists(st.integers(0, 1 << 20), max_size=8))
@settings(max_examples=200)
def test_pieces(data: bytes, places: list[int]) -> None:
    """However the bytes are cut, the messages are the same."""
    whole = exact(read(data, fast=False))
    assert exact(read(*_cut(data, places))) == whole
    assert exact(read(*(data[at : at + 1] for at in range(len(data))))) == whole


@given(inputs)
@settings(max_examples=200)
def test_paths(data: bytes) -> None:
    """The fast path and the dialect make the same of anything, down to the types."""
    expected = read(data, fast=False)
    assert exact(read(data)) == exact(expected)
    assert exact_commands(read(data, commands=True)) == exact_commands(expected)


@given(st.lists(mutated(), max_size=4), st.sampled_from([b"\n", b"\r\n", b""]))
@settings(max_examples=200)
def test_paths_in_batches(parts: list[bytes], between: bytes) -> None:
    """That holds too where good messages and bad ones share a chunk."""
    data = (COMMAND % 1 + between).join(part + between for part in parts)
    expected = read(data, fast=False)
    assert exact(read(data)) == exact(expected)
    assert exact_commands(read(data, commands=True)) == exact_commands(expected)


@given(written())
@settings(max_examples=150)
def test_gate(data: bytes) -> None:
    """What passes the gate is what the dialect reads."""
    expected = exact_commands(read(data, fast=False))
    for decode in (decode_plain, decode_checked, partial(decode_checked, commands=True)):
        messages = decode(data)
        assert messages is None or exact_commands(messages) == expected


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":2}',
        b'{"a":1,"a":2,"b":"\\u003a"}',
        b'{"a":1,"a":":"}{"b":2}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":0e1}',
        b'{"a":-0E1}',
        b'{"a":[0e1]}',
        b'{"a":18446744073709551616}',
        b'{"a":-9223372036854775809}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\uFFFE"}',
        b'{"a":"\\ufdd0"}',
        '{"a":"\ufffe"}'.encode(),
        '{"a":"\ufdd0"}'.encode(),
        '{"a":"\U0001ffff"}'.encode(),
        b'{"a":"\xc0\x80"}',
        b'{"a":"\xed\xa0\x80"}',
        b"{'a':1}",
        b'{"a":1e400}',
        b'{"a":"\n"}',
        b'{"a":1}]',
        b"[1]",
        b"1 ",
        b'"a"',
        b'{"a":1}\x0b',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 1024 + b"]" * 1024 + b"}",
    ],
)
def test_gate_is_shut(data: bytes) -> None:
    """What msgspec may take for something else than QEMU does never passes the gate."""
    for message in (data, data.replace(b'"a"', b'"execute":"x","arguments":{"a"').replace(b"}", b"}}", 1)):
        assert decode_plain(message) is None
        assert decode_checked(message) is None
        assert decode_checked(message, commands=True) is None


@pytest.mark.parametrize(
    ("data", "plain"),
    [
        (COMMAND % 1, True),
        (b'{"execute":"x","arguments":{"a":"b","c":true,"d":null},"id":"y:z"}\r\n', True),
        (b'{"execute":"x","arguments":{"a":{"b":{"c":1,"d":2}},"e":{"f":{}}}}{"execute":"x"}', True),
        (b'{"execute":"x"}{"id":2,"execute":"x"} \r\n\n{"execute":"x","id":-922337203685477580}', True),
        (b'{"execute":"x","arguments":{"a":{"b":{"c":{}}}}}', False),
        (b'{"execute":"x","id":null}', False),
        (b'{"execute":"x","arguments":{"a":1.5}}', False),
        (b'{"execute":"x","arguments":{"a":[1,{"b":"c:\\u00e9"}]}}', False),
        ('{"execute":"\u00e9\U0001f600"}'.encode(), False),
        (b'{"execute":"\\"\\\\ \\/"}', False),
        (b'{"execute":"x","arguments":{"a":123456789012345678,"b":10e1,"c":"0e1"}}', False),
    ],
)
def test_gate_is_open(data: bytes, plain: bool) -> None:
    """Ordinary messages do pass it: the plain ones the first, others the second."""
    assert (decode_plain(data) is not None) is plain
    messages = decode_plain(data) or decode_checked(data, commands=True)
    assert messages is not None
    assert all(isinstance(message, CommandMessage) for message in messages)
    assert exact_commands(messages) == exact_commands(read(data, fast=False))
    assert exact(decode_checked(data)) == exact(read(data, fast=False))


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1.5}',
        b'{"execute":"x","arguments":null}',
        b'{"execute":"x","exec-oob":"x"}',
        b'{"exec-oob":"x"}',
        b'{"execute":1}',
        b'{"execute":"x"}{"a":["b"]}',
        b"{}",
    ],
)
def test_no_command(data: bytes) -> None:
    """What is no proper command stays the object that it is, for those who know what to say about it."""
    assert decode_plain(data) is None
    messages = decode_checked(data, commands=True)
    assert exact(messages) == exact(read(data, fast=False))


@pytest.mark.parametrize(
    "data",
    [
        b'{"execute":"x","execute":"y"}{"execute":"x"}',
        b'{"execute":"x","id":1,"id":1}{"execute":"x"}',
        b'{"execute":"x","id":"execute","id":1}{"execute":"x"}',
        b'{"execute":"x","arguments":{},"arguments":{}}{"execute":"x"}',
        b'{"execute":"x","arguments":{"a":{"b":1},"a":{"b":1,"c":2}}}{"execute":"x"}',
        b'{"execute":"x","arguments":{"a":{"b":1,"b":2}}}{"execute":"x"}',
        b'{"execute":"x","arguments":{"a":{"b":{"c":1,"c":2}}}}{"execute":"x"}',
    ],
)
def test_twice(data: bytes) -> None:
    """A key that comes twice is found, wherever it stands."""
    assert decode_plain(data) is None
    assert decode_checked(data, commands=True) is None


def test_gate_with_deep_recursion() -> None:
    """A program may raise Python's recursion limit; the nesting that is allowed stays what it is."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20000)
    try:
        for depth in (1023, 1024):
            data = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
            assert exact(read(data)) == exact(read(data, fast=False))
    finally:
        sys.setrecursionlimit(limit)


@given(values)
@settings(max_examples=300)
def test_round_trip(value: Any) -> None:
    """What the writer writes, the reader reads, by either path."""
    assert exact(read(encode(value) + b"\n")) == exact([value])
    assert exact(read(encode(value) + b"\n", fast=False)) == exact([value])


@given(st.lists(objects, max_size=5))
def test_round_trip_of_lines(messages: list[Any]) -> None:
    """A batch of lines is read back as it was."""
    assert exact(read(b"".join(map(encode_line, messages)))) == exact(messages)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_order(end: bytes) -> None:
    """Thousands of messages in one chunk come in their order, a bounded number at a time."""
    reader = MessageReader()
    reader.feed(b"".join(COMMAND % n + end for n in range(5000)))
    batches: list[list[Any]] = []
    while batch := reader.next_batch():
        batches.append(batch)
    assert [message["id"] for batch in batches for message in batch] == list(range(5000))
    assert len(batches) > 10


def test_feed_before_the_rest_is_taken() -> None:
    """Bytes may be fed at any time; nothing is parsed before it is asked for."""
    reader = MessageReader()
    assert reader.next_batch() == []
    for n in range(1000):
        reader.feed(COMMAND % n + b"\n")
        if n % 7 == 0:
            reader.next_batch()
    assert reader.buffered > 100
    rest: list[Any] = []
    while batch := reader.next_batch():
        rest += batch
    assert rest[-1]["id"] == 999
    assert reader.buffered == 0


def test_errors_come_in_slices() -> None:
    """A storm of errors is given out a few at a time, too."""
    reader = MessageReader()
    reader.feed(b"]" * 10000)
    sizes = []
    while batch := reader.next_batch():
        sizes.append(len(batch))
    assert sum(sizes) == 10000
    assert max(sizes) <= 64


@pytest.mark.parametrize("fast", [True, False])
def test_buffered(fast: bool) -> None:
    """What is held counts: bytes not looked at, and the unfinished message without its blanks."""
    reader = MessageReader()
    reader.fast = fast
    reader.feed(b'{"a":  "bcd')
    assert reader.buffered == 11
    assert reader.next_batch() == []
    assert reader.buffered == 9
    reader.feed(b'"}')
    assert reader.buffered == 11
    assert reader.next_batch() == [{"a": "bcd"}]
    assert reader.buffered == 0


SIZE = "JSON token size limit exceeded"


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 12, 40])
@given(data=inputs, size=st.integers(1, 50))
@settings(max_examples=60)
def test_limit_in_pieces(limit: int, data: bytes, size: int) -> None:
    """However small the limit and however the bytes are cut, the messages are the same, and never more is held."""
    whole = exact(read(data, fast=False, max_message=limit))
    reader = MessageReader(max_message=limit)
    messages: list[Any] = []
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        while batch := reader.next_batch():
            messages += batch
        assert reader.buffered <= 2 * limit
    assert exact(messages) == whole


@pytest.mark.parametrize("fast", [True, False])
def test_size_limit(fast: bool) -> None:
    """The tokens of a message must be less than the limit together; blanks don't count."""
    fitting = b'{"execute": "query-name",   "id": "' + b"x" * 67 + b'"}'
    assert len(fitting) - 5 == 99
    assert errors(fitting, fast=fast, max_message=100) == [""]
    assert errors(fitting, fast=fast, max_message=99) == [SIZE]
    assert errors(fitting.replace(b"xx", b"xxx", 1), fast=fast, max_message=100) == [SIZE]


def test_single_token_limit() -> None:
    """A token that alone is beyond the limit is given up where it passes it, and what follows is lexed anew."""
    # Eleven bytes, eleven more, nine letters that are a keyword, and a quote.
    assert errors(b'"' + b"a" * 30 + b'"', max_message=10) == [SIZE, SIZE, "invalid keyword 'aaaaaaaaa'"]
    assert errors(b'"' + b"a" * 28 + b" 1 ", max_message=10) == [SIZE, SIZE, "invalid keyword 'aaaaaaa'", ""]
    assert errors(b'"' + b"a" * 10 + b"@", max_message=10) == [SIZE, "stray '@'"]
    assert errors(b"1" * 25 + b" ", max_message=10) == [SIZE, SIZE, ""]


def test_limits_win() -> None:
    """A limit that is reached later replaces an error found earlier in the same message."""
    assert errors(b"[1 2 33333333333333]", max_message=10) == [SIZE, "", "expecting value"]
    assert errors(b"[1 2 @", max_message=10) == ["stray '@'"]


@pytest.mark.parametrize("count", [(1 << 21) - 1, 1 << 21, (1 << 21) + 1])
def test_token_limit(count: int) -> None:
    """A message has 2**21 tokens at most."""
    items = (count - 3) // 2  # and for an even count one item is a list, of two tokens
    data = b"[" + b"1," * items + b"1]" if count % 2 else b"[" + b"1," * (items - 1) + b"[],1]"
    reader = MessageReader()
    messages = []
    for at in range(0, len(data), 65536):
        reader.feed(data[at : at + 65536])
        messages += reader.next_batch()
    if count <= 1 << 21:
        assert len(messages) == 1
        assert isinstance(messages[0], list)
    else:
        assert messages == [Malformed("JSON token count limit exceeded")]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("shape", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")])
def test_nesting_limit(fast: bool, shape: tuple[bytes, bytes]) -> None:
    """1024 arrays and objects inside each other are read; one more is an error, and so is each bracket that remains."""
    opening, closing = shape
    times = 1024 // len(opening.replace(b'"a":', b""))
    data = opening * times + b"1" + closing * times
    assert errors(data, fast=fast) == [""]
    too_deep = errors(b"[" + data + b"]", fast=fast)
    assert too_deep[0] == "JSON nesting depth limit exceeded"
    if shape[0] == b"[":
        assert too_deep[1:] == [""] + ["expecting value"] * 1025


def test_bad_limit() -> None:
    """A limit must be positive."""
    with pytest.raises(ValueError, match="positive"):
        MessageReader(max_message=0)


def test_malformed() -> None:
    """What stands for a bad message says what was wrong, and compares by that."""
    bad = Malformed("x")
    assert repr(bad) == "Malformed('x')"
    assert bad == Malformed("x")
    assert bad != Malformed("y")
    assert bad != "x"
    assert len({bad, Malformed("x")}) == 1


def _pieces(data: bytes, size: int) -> Any:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000,
        "\u00e9" * 50_000,
        "\U0001f600" * 20_000,
        'a"\\\n\u00e9' * 10_000,
        ["x}" * 3] * 10_000,
        [{"a": {"b": [1, 2, 3, 4, 5, 6, "x"]}}] * 3_000,
        list(range(-5_000, 20_000)),
    ],
)
@pytest.mark.parametrize("size", [37, 4096, 65536])
def test_big_messages(value: Any, size: int) -> None:
    """Big messages in pieces are read whole, in the forms that different writers have."""
    for data in (encode(value), json.dumps(value, ensure_ascii=False, indent=1).encode()):
        assert read(*_pieces(b'{"id":' + data + b"}", size)) == [{"id": value}]
        quoted = data.replace(b"'", b"\\'").replace(b'\\"', b"\0").replace(b'"', b"'").replace(b"\0", b'\\"')
        assert read(*_pieces(b"{'id':" + quoted + b"}", size)) == [{"id": value}]


@pytest.mark.parametrize("bad", [b"\\z", b"\\ud800", b"\xed\xa0\x80", b"\x80", b"\xef\xbf\xbe", b"\n", b"\xff"])
@pytest.mark.parametrize("size", [1000, 4096])
def test_error_in_a_big_string(bad: bytes, size: int) -> None:
    """An error in a big string is the same wherever the pieces end."""
    whole = errors(b'["' + b"a" * 40_000 + bad + b"b" * 100 + b'"] ', fast=False)
    for before in range(39_980, 40_000):
        data = b'["' + b"a" * before + bad + b"b" * 100 + b'"] '
        got = errors(*_pieces(data, size))
        assert [len(error) for error in got] == [
            max(len(error) - (40_000 - before), 0) if "stray '\"" in error else len(error) for error in whole
        ]
