"""Telnet's negotiation does no harm."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon.hmp.telnet import MAX_SUBNEGOTIATION, TelnetFilter


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff\xfd\x03\xff\xfb\x18info\r\n", b"info\r\n"),
        (b"in\xff\xf1fo\n", b"info\n"),
        (b"\xff\xfa\x18\x00xterm\xff\xf0info\n", b"info\n"),
        (b"\xff\xfa\x1f\x00\x0a\x00\x0a\xff\xf0info\n", b"info\n"),
        (b"\xff\xfa\x1f\x00\xff\xff\x00\x18\xff\xf0info\n", b"info\n"),
        (b"a\xff\xffb\n", b"a\xffb\n"),
        (b"\xff\xfb\x01info\r\0help\r\0", b"info\r\nhelp\r\n"),
        (b"info\r\0", b"info\r\0"),
        ("Grüße 世界\n".encode(), "Grüße 世界\n".encode()),
    ],
)
def test_commands_are_taken_out(data: bytes, text: bytes) -> None:
    """Whole, or byte by byte."""
    assert TelnetFilter().feed(data) == text
    filter = TelnetFilter()
    assert b"".join(filter.feed(data[at : at + 1]) for at in range(len(data))) == text


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe\nx\n",
        b"\xff\x01x\n",
        b"\xff\nx\n",
        b"\xff\xfaxyz\nx\n",
        b"\xff\xfa" + b"x" * MAX_SUBNEGOTIATION + b"\n",
    ],
)
def test_what_is_no_telnet_stays(data: bytes) -> None:
    """So that no line is swallowed: it will be refused as what it is."""
    assert TelnetFilter().feed(data) == data


@given(st.binary(max_size=40), st.lists(st.integers(1, 40), max_size=5))
def test_pieces_don_t_matter(data: bytes, cuts: list[int]) -> None:
    """However a stream is cut, the same comes out."""
    whole, pieces = TelnetFilter(), TelnetFilter()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [pieces.feed(data[begin:end]) for begin, end in pairwise(edges)]
    assert b"".join(parts) == whole.feed(data)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_passes_unchanged(text: str) -> None:
    """A client that speaks no telnet may say anything that is text."""
    assert TelnetFilter().feed(text.encode()) == text.encode()
