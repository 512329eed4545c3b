"""Lines out of a stream of bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon.hmp.lines import LineBuffer

LIMIT = 5


def _taken(lines: LineBuffer) -> list[bytes | None]:
    return [lines.take() for _ in range(len(lines))]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a\nb\r\n\nc", [b"a", b"b", b""]),
        (b"a\rb\r\r\n", [b"a\rb\r"]),
        (b"12345\n12345\r\n", [b"12345", b"12345"]),
        (b"123456\n1\n123456\r\n2\n", [None, b"1", None, b"2"]),
        (b"1234567890\n\n", [None, b""]),
        (b"1234567890", []),
    ],
)
def test_lines(data: bytes, expected: list[bytes | None]) -> None:
    """LF ends a line, one CR before it is no part of it, and one that is too long is told in its place."""
    lines = LineBuffer(LIMIT)
    lines.feed(data)
    assert _taken(lines) == expected


def test_nothing_to_take() -> None:
    """A line is there when its end has come."""
    lines = LineBuffer(LIMIT)
    lines.feed(b"abc")
    assert len(lines) == 0
    with pytest.raises(IndexError):
        lines.take()


@given(st.lists(st.sampled_from([b"\n", b"\r", b"x", b"xxx"])), st.lists(st.integers(0, 40), max_size=4))
def test_pieces_don_t_matter(stream: list[bytes], cuts: list[int]) -> None:
    """However the stream is cut, the same lines come out, and the size is that of what is held."""
    data = b"".join(stream)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole, pieces = LineBuffer(LIMIT), LineBuffer(LIMIT)
    whole.feed(data)
    for begin, end in pairwise(edges):
        pieces.feed(data[begin:end])
    assert pieces.size == whole.size
    lines = _taken(whole)
    assert _taken(pieces) == lines
    assert whole.size == pieces.size <= LIMIT + 1
    assert all(line is None or len(line) <= LIMIT for line in lines)


def test_the_size() -> None:
    """Is that of the lines, of their ends, and of the beginning of the next; nothing is kept of one that is too long."""
    lines = LineBuffer(LIMIT)
    lines.feed(b"ab\r\n\nx")
    assert lines.size == 3 + 1 + 1
    lines.feed(b"x" * 1000)
    assert lines.size == 4
    lines.feed(b"x\n")
    assert lines.size == 5
    lines.clear()
    assert (len(lines), lines.size) == (0, 0)
