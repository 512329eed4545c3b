"""
What a QMP client reads: messages cut anywhere, and garbage between them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.qmp_server import GREETING, line
from twisted_qmon import ABSENT
from twisted_qmon.qmp._client.replies import Malformed, Message, MessageTooLong, RawMessage, ReplyReader, excerpt


def kinds(found: list[Any]) -> list[Any]:
    """What a reader found, for comparison."""
    return ["malformed" if isinstance(each, Malformed) else each for each in found]


@given(st.lists(st.integers(min_value=1, max_value=40), max_size=30))
def test_reader_cut_anywhere(cuts: list[int]) -> None:
    """However the bytes are cut, the same messages come out."""
    data = line(GREETING) + line({"return": {"a": "x\n"}, "id": 1}) + b"\r\n" + line({"event": "STOP", "timestamp": {}})
    whole = ReplyReader().feed(data)
    reader = ReplyReader()
    found: list[Any] = []
    for cut in cuts:
        found += reader.feed(data[:cut]) if data[:cut] else []
        data = data[cut:]
    found += reader.feed(data) if data else []
    assert found == whole
    assert len(whole) == 3
    assert reader.buffered == 0


def test_reader_raw() -> None:
    """In raw mode a result stays as it came, and the rest is decoded."""
    (reply, error) = ReplyReader(raw=True).feed(
        b'{"return": {"b": 1.0, "a": [1,2]}, "id": 7}\r\n{"id": 8, "error": {"class": "GenericError", "desc": "no"}}\r\n'
    )
    assert isinstance(reply, RawMessage)
    assert bytes(reply.returned) == b'{"b": 1.0, "a": [1,2]}'
    assert reply.id == 7
    assert isinstance(error, RawMessage)
    assert error == RawMessage(id=8, error={"class": "GenericError", "desc": "no"})


@pytest.mark.parametrize("raw", [False, True])
def test_reader_pretty(raw: bool) -> None:
    """Messages that are spread over many lines are put together, and lines afterwards are read as before."""
    reader = ReplyReader(raw=raw)
    pretty = b"".join(
        json.dumps(each, indent=4).replace("\n", "\r\n").encode() + b"\r\n"
        for each in (GREETING, {"return": {"a": [1, {"x": {}}]}, "id": 3})
    )
    found: list[Any] = reader.feed(pretty)
    assert [each.id for each in found] == [ABSENT, 3]
    assert found[0].greeting == GREETING["QMP"]
    if raw:
        assert json.loads(bytes(found[1].returned)) == {"a": [1, {"x": {}}]}
    else:
        assert found[1].returned == {"a": [1, {"x": {}}]}
    assert reader.buffered == 0
    (after,) = reader.feed(b'{"return": 1, "id": 4}\n')
    assert after.id == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "garbage",
    [
        b"@@@\r\n",
        b'{"return": tru}\r\n',
        b"GET / HTTP/1.1\r\n",
        b"\xff\xfe\x00\r\n",
        b'"text"\r\n',
        b"[1, 2]\r\n",
        b'{"a": 1 "b"}\r\n',
    ],
)
def test_reader_garbage(garbage: bytes) -> None:
    """A line of garbage is told as such, and the message after it is read."""
    found = ReplyReader().feed(garbage + b'{"return": 1, "id": 4}\r\n')
    assert found[-1] == Message(id=4, returned=1)
    assert len(found) > 1
    assert all(isinstance(each, Malformed) for each in found[:-1])


def test_reader_open_garbage() -> None:
    """Garbage that never ends does not swallow the messages that follow."""
    reader = ReplyReader()
    found = reader.feed(b'{"half": [1, 2\r\n') + reader.feed(b'{"return": 1, "id": 4}\r\n{"return": 2, "id": 5}\r\n')
    assert kinds(found) == ["malformed", Message(id=4, returned=1), Message(id=5, returned=2)]
    assert reader.buffered == 0


def test_reader_part_of_a_message() -> None:
    """A line of a message that is spread over many may be an object by itself: it is a part of that message."""
    (message,) = ReplyReader().feed(b'{"return":\r\n{"a": 1}\r\n, "id": 4}\r\n')
    assert message == Message(id=4, returned={"a": 1})


def test_reader_inf() -> None:
    """A reply with QEMU's C{inf}, which is no JSON, is an error for the one who waits for it."""
    (reply,) = ReplyReader(raw=True).feed(b'{"return": {"x": inf}, "id": 12}\r\n')
    assert (reply.id, reply.error["class"]) == (12, "GenericError")  # type: ignore[union-attr]


UNREADABLE = [
    pytest.param(b'{"return": "\xff", "id": 12}\r\n', "is not UTF-8", id="one line, the id last"),
    pytest.param(
        b'{"id": 12, "error": {"class": "GenericError", "desc": "\xff"}}\r\n', "is not UTF-8", id="the id first"
    ),
    pytest.param(b'{\r\n    "return": ["\xff"],\r\n    "id": 12\r\n}\r\n', "is not UTF-8", id="many lines"),
    pytest.param(b'{"return": [1, inf], "id": 12}\r\n', "can't be decoded", id="inf"),
    pytest.param(b'{\r\n    "return": [1, inf],\r\n    "id": 12\r\n}\r\n', "can't be decoded", id="inf, many lines"),
    pytest.param(b'{"return": {"a": 1, "id": 12}\r\n', "can't be decoded", id="a brace is missing"),
]


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(("data", "reason"), UNREADABLE)
def test_unreadable_reply(data: bytes, reason: str, raw: bool) -> None:
    """A reply that can't be read is an error for the request with its id, that shows what came; the next one is read."""
    reader = ReplyReader(raw=raw)
    found: list[Any] = reader.feed(data + b'{"return": 1, "id": 13}\r\n')
    assert [each.id for each in found] == [12, 13]
    assert found[0].returned is ABSENT
    assert found[0].error["class"] == "GenericError"
    assert found[0].error["desc"].startswith(f"The server's reply {reason}: {{")
    assert found[1].error is ABSENT
    assert reader.buffered == 0


@pytest.mark.parametrize("raw", [False, True])
def test_unreadable_reply_is_shown_in_part(raw: bool) -> None:
    """Of an unreadable reply of megabytes the error shows the beginning."""
    (reply,) = ReplyReader(raw=raw).feed(b'{"return": "%b", "id": 12}\r\n' % (b"\xff" * 1_000_000))
    assert len(reply.error["desc"]) < 1000  # type: ignore[union-attr]


@pytest.mark.parametrize("raw", [False, True])
def test_id_in_the_middle(raw: bool) -> None:
    """Where the id of a reply that is not UTF-8 can't be found without reading it, what is not UTF-8 is replaced."""
    (reply,) = ReplyReader(raw=raw).feed(b'{"return": "\xff", "id": 12, "more": 1}\r\n')
    assert (reply.id, reply.error) == (12, ABSENT)  # type: ignore[union-attr]
    returned = reply.returned  # type: ignore[union-attr]
    assert json.loads(bytes(returned)) == "\ufffd" if raw else returned == "\ufffd"


def test_excerpt() -> None:
    """An excerpt is short, however big or deep the message is."""
    (deep,) = ReplyReader().feed(b'{"id": 1, "x": 5, "error": %b}\r\n' % (b"[" * 900 + b"]" * 900))
    (big,) = ReplyReader(raw=True).feed(b'{"id": 1, "error": {"desc": "%b"}}\r\n' % (b"x" * 1_000_000))
    for message in (deep, big):
        assert isinstance(message, Message)
        text = excerpt(message)
        assert len(text) < 1000
        assert "'id': 1" in text


@given(
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"{", b"[1,", b'{"a": {', b'"', b"}", b"]}", b"\\"])))
)
def test_reader_finds_messages_in_garbage(garbage: list[bytes]) -> None:
    """Whatever lines come between them, each message that has a line to itself is found, in order."""
    reader = ReplyReader()
    found: list[Any] = []
    for number, noise in enumerate(garbage):
        data = b'%b\r\n{"return": {}, "id": "id-%d"}\r\n' % (noise.replace(b"\n", b" "), number)
        found += reader.feed(data)
    # Garbage may be a message by chance, but has none of these ids.
    ours = [each.id for each in found if type(each) is Message and each.returned == {} and type(each.id) is str]
    assert ours == [f"id-{number}" for number in range(len(garbage))]


def test_reader_limit() -> None:
    """A message beyond the limit is refused as soon as that is known, with or without line breaks in it."""
    reader = ReplyReader(max_message=100)
    assert reader.feed(b'{"return": "' + b"x" * 60) == []
    with pytest.raises(MessageTooLong, match="more than 100 bytes"):
        reader.feed(b"x" * 60)
    reader = ReplyReader(max_message=100)
    found = [each for _ in range(60) for each in reader.feed(b'{"a":\n')]
    assert {type(each) for each in found} == {Malformed}
    assert reader.buffered <= 100


def test_reader_linear() -> None:
    """A reply of 16 MiB in pieces of 4 KiB is joined once."""
    data = b'{"return": "' + b"x" * (16 << 20) + b'", "id": 1}\r\n'
    reader = ReplyReader()
    found = []
    for start in range(0, len(data), 4096):
        found += reader.feed(data[start : start + 4096])
    assert len(found[0].returned) == 16 << 20  # type: ignore[union-attr]
    assert reader.buffered == 0
