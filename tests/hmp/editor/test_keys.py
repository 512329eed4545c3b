"""Bytes of a terminal become keys."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_qmon.hmp.editor.keys import MAX_SEQUENCE, Key, KeyDecoder, KeyPress


def keys(*pieces: bytes) -> list[KeyPress]:
    """The keys in pieces of a stream; text in one piece."""
    decoder = KeyDecoder()
    found: list[KeyPress] = []
    for press in (press for piece in pieces for press in decoder.feed(piece)):
        if found and found[-1].key is press.key and press.key in (Key.TEXT, Key.PASTE):
            found[-1] = KeyPress(press.key, found[-1].text + press.text)
        else:
            found.append(press)
    return found


def text(characters: str) -> KeyPress:
    return KeyPress(Key.TEXT, characters)


def paste(characters: str) -> KeyPress:
    return KeyPress(Key.PASTE, characters)


ENTER = KeyPress(Key.ENTER)

TABLE = [
    (b"info", [text("info")]),
    ("Grüße 世界 e\u0301".encode(), [text("Grüße 世界 e\u0301")]),
    (b"a\rb\r", [text("a"), ENTER, text("b"), ENTER]),
    (b"a\r\nb\n\n", [text("a"), ENTER, text("b"), ENTER, ENTER]),
    (b"\x1b[A\x1bOA\x1b[B\x1b[C\x1b[D", [KeyPress(k) for k in (Key.PREVIOUS, Key.PREVIOUS, Key.NEXT, Key.RIGHT, Key.LEFT)]),
    (b"\x1b[H\x1bOH\x1b[1~\x1b[7~", [KeyPress(Key.HOME)] * 4),
    (b"\x1b[F\x1bOF\x1b[4~\x1b[8~", [KeyPress(Key.END)] * 4),
    (b"\x1b[3~", [KeyPress(Key.DELETE)]),
    (b"\x1b[1;5C\x1b[1;3D", [KeyPress(Key.WORD_RIGHT), KeyPress(Key.WORD_LEFT)]),
    (b"\x1bb\x1bf\x1bd\x1b\x7f", [KeyPress(k) for k in (Key.WORD_LEFT, Key.WORD_RIGHT, Key.KILL_WORD, Key.KILL_WORD_BACK)]),
    (b"\x01\x05\x0b\x15\x17\x19\x0c", [KeyPress(k) for k in (
        Key.HOME, Key.END, Key.KILL_TO_END, Key.KILL_TO_BEGINNING, Key.KILL_BLANK_WORD_BACK, Key.YANK, Key.CLEAR_SCREEN)]),
    (b"\x02\x06\x0e\x10", [KeyPress(k) for k in (Key.LEFT, Key.RIGHT, Key.NEXT, Key.PREVIOUS)]),
    (b"\x03\x04\x07\t\x12\x13\x14\x7f\x08", [KeyPress(k) for k in (
        Key.INTERRUPT, Key.END_OF_INPUT, Key.ABORT, Key.COMPLETE, Key.SEARCH, Key.SEARCH_FORWARD, Key.TRANSPOSE,
        Key.BACKSPACE, Key.BACKSPACE)]),
    # Keys that nothing is bound to, one by one: F1 of xterm and of the Linux console, Page Up,
    # Ctrl-Shift-F5, Alt-x, C1 controls.
    (b"a\x1bOPb", [text("ab")]),
    (b"a\x1b[[Ab", [text("ab")]),
    (b"a\x1b[5~b", [text("ab")]),
    (b"a\x1b[15;6~b", [text("ab")]),
    (b"a\x1bxb", [text("ab")]),
    (b"a\x00\x1c\xc2\x9bb", [text("ab")]),
    # What a key ends that is no sequence: it is a key of its own.
    (b"\x1b\x03", [KeyPress(Key.INTERRUPT)]),
    (b"\x1b[\x03", [KeyPress(Key.INTERRUPT)]),
    (b"\x1b[12\r", [ENTER]),
    (b"\x1b\x1b[A", [KeyPress(Key.PREVIOUS)]),
    # Bytes that are not UTF-8.
    (b"a\xffb", [text("a\ufffdb")]),
    (b"a\xc3\r", [text("a\ufffd"), ENTER]),
    # Pastes: ends of lines are part of it, other control characters are left out.
    (b"\x1b[200~a\rb\x1b[201~c", [paste("a\nb"), text("c")]),
    (b"\x1b[200~a\r\nb\nc\td\x1b[201~", [paste("a\nb\nc\td")]),
    (b"\x1b[200~a\x03\x1b[Ab\x7f\x1b[201~\x03", [paste("a[Ab"), KeyPress(Key.INTERRUPT)]),
    (b"\x1b[200~\x1b[201~", []),
    (b"\x1b[201~a", [text("a")]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), TABLE)
def test_keys(data: bytes, expected: list[KeyPress]) -> None:
    """Whole, or byte by byte."""
    assert keys(data) == expected
    assert keys(*(data[at : at + 1] for at in range(len(data)))) == keys(data)


PIECES = st.sampled_from([b"\x1b", b"[", b"O", b"2", b"0", b"1", b"~", b";", b"A", b"\r", b"\n", b"\xe4", b"\xb8\x96", b"\x03",
                          b"\x1b[200~", b"\x1b[201~", b"x"])  # fmt: skip


@given(st.lists(PIECES), st.data())
def test_pieces_don_t_matter(pieces: list[bytes], more: st.DataObject) -> None:
    """However a stream is cut, the same keys come out."""
    stream = b"".join(pieces)
    cuts = more.draw(st.lists(st.integers(0, len(stream)), max_size=5))
    edges = [0, *sorted(cuts), len(stream)]
    assert keys(*(stream[begin:end] for begin, end in pairwise(edges))) == keys(stream)


@given(st.binary(max_size=40))
def test_no_control_character_gets_through(data: bytes) -> None:
    """Text has no control characters, whatever comes; a paste has ends of lines and tabs at most."""
    for press in keys(data):
        allowed = "\n\t" if press.key is Key.PASTE else ""
        assert not [c for c in press.text if (c < " " or "\x7f" <= c < "\xa0") and c not in allowed]


def test_a_sequence_has_a_limit() -> None:
    """Of a sequence that does not end, not more than so much is kept."""
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b[" + b"1" * (MAX_SEQUENCE - 2)) == []
    assert decoder.feed(b"1") == []
    assert decoder.feed(b"11A") == [KeyPress(Key.TEXT, "11A")]
