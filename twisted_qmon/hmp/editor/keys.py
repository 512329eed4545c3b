"""
The keys that a terminal sends: bytes in, keys out. No I/O.

The sequences are those of xterm, VT220, the Linux console and rxvt (U{https://invisible-island.net/xterm/ctlseqs/ctlseqs.html});
what the keys do is GNU readline's.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from enum import Enum, auto
from typing import NamedTuple

__all__ = ["MAX_SEQUENCE", "Key", "KeyDecoder", "KeyPress"]

#: Characters of the longest control sequence; what is longer is no key.
MAX_SEQUENCE = 32

_PASTE_BEGIN, _PASTE_END = "\x1b[200~", "\x1b[201~"

# Text, up to a control character; also those of ISO 6429's second set, which begin sequences in some terminals.
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")
_NOT_PASTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# A whole control sequence (ESC [, also the Linux console's ESC [ [), ESC O with a letter, or ESC with another character.
_SEQUENCE = re.compile(r"\x1b(?:\[(?:\[[A-Z]|[0-?]*[ -/]*[@-Z\\-~])|O[ -~]|[^\x00-\x1f\[O])")
_BEGINS_SEQUENCE = re.compile(r"\x1b(?:\[(?:\[|[0-?]*[ -/]*)|O)?")


class Key(Enum):
    """
    What a key asks for.

    :cvar TEXT: characters to be inserted
    :cvar PASTE: the same, pasted: ends of lines are part of it
    """

    TEXT = auto()
    PASTE = auto()
    ENTER = auto()
    INTERRUPT = auto()
    END_OF_INPUT = auto()
    ABORT = auto()
    LEFT = auto()
    RIGHT = auto()
    WORD_LEFT = auto()
    WORD_RIGHT = auto()
    HOME = auto()
    END = auto()
    PREVIOUS = auto()
    NEXT = auto()
    BACKSPACE = auto()
    DELETE = auto()
    KILL_TO_END = auto()
    KILL_TO_BEGINNING = auto()
    KILL_WORD = auto()
    KILL_WORD_BACK = auto()
    KILL_BLANK_WORD_BACK = auto()
    YANK = auto()
    YANK_OLDER = auto()
    TRANSPOSE = auto()
    SEARCH = auto()
    SEARCH_FORWARD = auto()
    COMPLETE = auto()
    CLEAR_SCREEN = auto()


class KeyPress(NamedTuple):
    """A key, and the characters of L{Key.TEXT} and L{Key.PASTE}."""

    key: Key
    text: str = ""


_CONTROLS = {
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x03": Key.INTERRUPT,
    "\x04": Key.END_OF_INPUT,
    "\x05": Key.END,
    "\x06": Key.RIGHT,
    "\x07": Key.ABORT,
    "\x08": Key.BACKSPACE,
    "\t": Key.COMPLETE,
    "\n": Key.ENTER,
    "\x0b": Key.KILL_TO_END,
    "\x0c": Key.CLEAR_SCREEN,
    "\r": Key.ENTER,
    "\x0e": Key.NEXT,
    "\x10": Key.PREVIOUS,
    "\x12": Key.SEARCH,
    "\x13": Key.SEARCH_FORWARD,
    "\x14": Key.TRANSPOSE,
    "\x15": Key.KILL_TO_BEGINNING,
    "\x17": Key.KILL_BLANK_WORD_BACK,
    "\x19": Key.YANK,
    "\x7f": Key.BACKSPACE,
}

_SEQUENCES = {
    **{f"\x1b{begin}{letter}": key for begin in "[O" for letter, key in (
        ("A", Key.PREVIOUS), ("B", Key.NEXT), ("C", Key.RIGHT), ("D", Key.LEFT), ("H", Key.HOME), ("F", Key.END),
    )},
    **{f"\x1b[1;{modifier}{letter}": key for modifier in "357" for letter, key in (
        ("C", Key.WORD_RIGHT), ("D", Key.WORD_LEFT),
    )},
    **{f"\x1b[{number}~": key for number, key in (
        ("1", Key.HOME), ("7", Key.HOME), ("4", Key.END), ("8", Key.END), ("3", Key.DELETE),
    )},
    **{f"\x1b{c}": key for c, key in (
        ("b", Key.WORD_LEFT), ("B", Key.WORD_LEFT), ("f", Key.WORD_RIGHT), ("F", Key.WORD_RIGHT),
        ("d", Key.KILL_WORD), ("D", Key.KILL_WORD), ("y", Key.YANK_OLDER), ("\x7f", Key.KILL_WORD_BACK),
    )},
    "\x1bOM": Key.ENTER,
}  # fmt: skip


class KeyDecoder:
    """
    Makes keys of bytes, however these are cut into pieces. Bytes that are not UTF-8 become U+FFFD. A key that is not known is
    dropped, as a whole.
    """

    def __init__(self) -> None:
        self._utf8 = getincrementaldecoder("utf-8")(errors="replace")
        # The beginning of a sequence, or inside of a paste that of its end.
        self._pending = ""
        self._pasting = False
        self._after_return = False

    def feed(self, data: bytes) -> list[KeyPress]:
        """
        :param data: bytes as they came
        :return: the keys that are complete with them
        """
        text = self._pending + self._utf8.decode(data)
        self._pending = ""
        found: list[KeyPress] = []
        at = 0
        while at < len(text):
            at = self._paste(text, at, found) if self._pasting else self._key(text, at, found)
        return found

    def _paste(self, text: str, at: int, found: list[KeyPress]) -> int:
        end = text.find(_PASTE_END, at)
        behind = end + len(_PASTE_END)
        if end < 0:
            behind = len(text)
            end = next(
                (behind - size for size in range(len(_PASTE_END) - 1, 0, -1) if text.endswith(_PASTE_END[:size], at)),
                behind,
            )
            self._pending = text[end:]
        else:
            self._pasting = False
        pasted = text[at:end]
        if self._after_return:
            pasted = pasted.removeprefix("\n")
        if end > at:
            self._after_return = text[end - 1] == "\r"
        pasted = _NOT_PASTED.sub("", pasted.replace("\r\n", "\n").replace("\r", "\n"))
        if pasted:
            found.append(KeyPress(Key.PASTE, pasted))
        return behind

    def _key(self, text: str, at: int, found: list[KeyPress]) -> int:
        match = _TEXT.match(text, at)
        after_return, self._after_return = self._after_return, False
        if match is not None:
            found.append(KeyPress(Key.TEXT, match[0]))
            return match.end()
        c = text[at]
        if c == "\x1b":
            return self._sequence(text, at, found)
        self._after_return = c == "\r"
        key = _CONTROLS.get(c)
        # CR LF is one key: of a paste into a terminal that does not mark it, and of telnet.
        if key is not None and not (c == "\n" and after_return):
            found.append(KeyPress(key))
        return at + 1

    def _sequence(self, text: str, at: int, found: list[KeyPress]) -> int:
        match = _SEQUENCE.match(text, at)
        if match is not None:
            key = _SEQUENCES.get(match[0])
            if match[0] == _PASTE_BEGIN:
                self._pasting = True
            elif key is not None:
                found.append(KeyPress(key))
            return match.end()
        begun = _BEGINS_SEQUENCE.match(text, at)
        assert begun is not None
        if begun.end() == len(text) and len(begun[0]) <= MAX_SEQUENCE:
            self._pending = begun[0]
        # Or else it is none: what does not belong to it is looked at again.
        return begun.end()
