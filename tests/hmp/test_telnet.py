"""Telnet commands are no part of a line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon.hmp import telnet
from twisted_qmon.hmp.telnet import MAX_SUBNEGOTIATION, TelnetCommand, TelnetFilter

IP, TM = TelnetCommand.INTERRUPT, TelnetCommand.TIMING_MARK


def fed(*pieces: bytes) -> list[object]:
    """What comes out of a filter, adjacent text joined."""
    filter = TelnetFilter()
    joined: list[object] = []
    for part in (part for piece in pieces for part in filter.feed(piece)):
        last = joined[-1] if joined else None
        if isinstance(part, bytes) and isinstance(last, bytes):
            joined[-1] = last + part
        else:
            joined.append(part)
    return joined


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff\xfd\x03\xff\xfb\x18info\r\n", b"info\r\n"),
        (b"in\xff\xf1fo\n", b"info\n"),
        (b"\xff\xfa\x18\x00xterm\xff\xf0info\n", b"info\n"),
        (b"\xff\xfa\x1f\x00\x0a\x00\x0a\xff\xf0info\n", b"info\n"),
        (b"\xff\xfa\x1f\x00\xff\xff\x00\x18\xff\xf0info\n", b"info\n"),
        (b"\xff\xfa\x18\xff\xff\xff\xf0info\n", b"info\n"),
        (b"a\xff\xffb\n", b"a\xffb\n"),
        (b"\xff\xfb\x01info\r\0help\r\0", b"info\r\nhelp\r\n"),
        (b"info\r\0", b"info\r\n"),
        (b"info\r\0\r\n", b"info\r\n\r\n"),
        (b"info\0\r\n", b"info\0\r\n"),
        ("Grüße 世界\n".encode(), "Grüße 世界\n".encode()),
    ],
)
def test_commands_are_taken_out(data: bytes, text: bytes) -> None:
    """Whole, or byte by byte. CR NUL ends a line, whether the client has sent a telnet command or not."""
    assert fed(data) == [text]
    assert fed(*single_bytes(data)) == [text]


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"slow\r\n\xff\xf4\xff\xfd\x06info\r\n", [b"slow\r\n", IP, TM, b"info\r\n"]),
        (b"\xff\xf4", [IP]),
        (b"\xff\xfb\x06\xff\xfd\x01\xff\xf3", []),
    ],
)
def test_commands_to_act_on(data: bytes, parts: list[object]) -> None:
    """An interrupt and a request for a timing mark are told where they stand; others are not."""
    assert fed(data) == parts
    assert fed(*single_bytes(data)) == parts


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\nx\n",
        b"\xff\x01x\n",
        b"\xff\nx\n",
        b"\xff\xfaxyz\nx\n",
        b"\xff\xfaxyz\xff\nx\n",
        b"\xff\xfa" + b"x" * MAX_SUBNEGOTIATION + b"\n",
        b"\xff\xfa" * MAX_SUBNEGOTIATION + b"\n",
    ],
)
def test_what_is_no_telnet_stays(data: bytes) -> None:
    """So that no line is swallowed: it will be refused as what it is."""
    assert fed(data) == [data]


def test_a_line_behind_what_is_no_telnet() -> None:
    """Is a line again, and may have telnet commands."""
    assert fed(b"\xff\xfaxyz\nin\xff\xf1fo\n") == [b"\xff\xfaxyz\ninfo\n"]
    long = b"\xff\xfa" + b"x" * 1000 + b"\xff\xf1\n"
    assert fed(long + b"in\xff\xf1fo\n") == [long + b"info\n"]


@given(st.lists(st.sampled_from([b"\xff", b"\xfa", b"\xf0", b"\xf4", b"\x1f", b"\n", b"\r", b"\0", b"x"])), st.data())
def test_pieces_don_t_matter(data: list[bytes], more: Any) -> None:
    """However a stream is cut, the same comes out."""
    stream = b"".join(data)
    cuts = more.draw(st.lists(st.integers(0, len(stream)), max_size=5))
    edges = [0, *sorted(cuts), len(stream)]
    assert fed(*(stream[begin:end] for begin, end in pairwise(edges))) == fed(stream)


@given(st.binary(max_size=40), st.lists(st.integers(1, 40), max_size=5))
def test_pieces_of_anything_don_t_matter(data: bytes, cuts: list[int]) -> None:
    """The same with any bytes."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert fed(*(data[begin:end] for begin, end in pairwise(edges))) == fed(data)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_passes_unchanged(text: str) -> None:
    """A client that speaks no telnet may say anything that is text; only the end of a line is made one."""
    expected = text.encode().replace(b"\r\0", b"\r\n")
    assert fed(text.encode()) == ([expected] if text else [])


def _lines_executed(call: Callable[[], object]) -> int:
    """How many lines of the filter's module a call executes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != telnet.__file__:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("piece", [b"\xff\xfa", b"\xff", b"\xff\xfa\xff", b"\xff\xfa\n", b"\xff\xf4", b"\xff\xfb\n"])
def test_the_work_is_linear(piece: bytes) -> None:
    """Twice the input is twice the work, whatever it is, and each byte costs a few lines of code at most."""
    half, whole = (piece * (size // len(piece)) for size in (4096, 8192))
    work = _lines_executed(lambda: TelnetFilter().feed(half)), _lines_executed(lambda: TelnetFilter().feed(whole))
    assert work[1] <= 2.1 * work[0] + 100
    assert work[1] <= 25 * len(whole)
