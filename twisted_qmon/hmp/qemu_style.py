"""
A human monitor that programs take for QEMU's own: its banner, its prompt, and its echo of each key, byte for byte.

QEMU shows the whole line again after each key that changes it: the cursor goes back to the beginning of the line, the line is
written, and what may be behind it is erased. L{Readline} does the same. It works on bytes, as QEMU does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted_qmon.hmp.editor.interface import Entered, Outcome
from twisted_qmon.hmp.protocol import MAX_LINE, HMPProtocol

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import IMonitor

__all__ = ["MAX_HISTORY", "QEMU_PROMPT", "QEMUStyleProtocol", "Readline", "qemu_banner"]

#: QEMU's prompt.
QEMU_PROMPT = "(qemu) "

#: How many lines are remembered, as in QEMU.
MAX_HISTORY = 64

_ENTER = b"\r\n"
_BACK, _FORWARD, _ERASE = b"\x1b[D", b"\x1b[C", b"\x1b[K"
_ESCAPE, _CSI = 0x1B, b"\x1b["


def qemu_banner(monitor: IMonitor) -> str:
    """:return: the line that greets at QEMU's human monitor, with the version of the QEMU that the monitor fronts"""
    version: object = getattr(monitor, "version", None)
    numbers: JSON = version.get("qemu") if isinstance(version, Mapping) else None
    found = numbers if isinstance(numbers, dict) else {}
    text = ".".join(str(found.get(part, 0)) for part in ("major", "minor", "micro"))
    return f"QEMU {text} monitor - type 'help' for more information"


class Readline:
    """
    QEMU's line editing: an L{Editor<twisted_qmon.hmp.editor.interface.Editor>}. Tab, which asks QEMU for completions, is ignored.

    :param write: called with bytes for the terminal
    :param is_blocked: the terminal takes no more for now: the echo of a long line is many times the line
    """

    max_line = MAX_LINE

    def __init__(self, write: Callable[[bytes], object], is_blocked: Callable[[], bool] = lambda: False) -> None:
        self._write = write
        self._is_blocked = is_blocked
        self._keys = bytearray()
        self._prompt = b""
        self._line = bytearray()
        self._cursor = 0
        # What the terminal shows.
        self._shown = b""
        self._shown_cursor = 0
        # ESC, ESC O or CSI, if that has come; and the number in CSI.
        self._introduced = b""
        self._parameter = 0
        self._history: list[bytes] = []
        self._recalled: int | None = None
        self._cut = False
        self.active = False

    # -- what its owner calls: see Editor

    @property
    def held(self) -> int:
        """Bytes of keys that have come and have not been looked at."""
        return len(self._keys)

    def begin(self, prompt: str) -> None:
        """Show a prompt, and edit a line."""
        self._prompt = prompt.encode()
        self._line.clear()
        self._cursor = self._shown_cursor = 0
        self._shown = b""
        self._cut = False
        self.active = True
        self._write(self._prompt)

    def receive(self, data: bytes) -> bool:
        """Take keys. :return: whether there is a Ctrl-C; there is none for QEMU"""
        self._keys += data
        return False

    def next(self) -> Outcome | None:
        """Look at the keys that have come, up to one that ends the line. :return: how it has ended, or C{None}"""
        taken = 0
        try:
            while self.active and taken < len(self._keys) and not self._is_blocked():
                key = self._keys[taken]
                taken += 1
                if self._press(key):
                    return self._enter()
                self._show_line()
        finally:
            del self._keys[:taken]
        return None

    @property
    def has_line(self) -> bool:
        """A key that ends a line has come, and has not been looked at."""
        return any(key in self._keys for key in _ENTER)

    def drop_enter(self) -> None:
        """Drop the key that has come first if it ends a line."""
        if self._keys and self._keys[0] in _ENTER:
            del self._keys[0]

    def show(self, text: str) -> None:
        """Show text: above the line, if one is edited."""
        data = text.replace("\n", "\r\n").encode("utf-8", "backslashreplace")
        if not self.active:
            self._write(data)
            return
        self._write(b"\r\n" + data + self._prompt)
        self._shown, self._shown_cursor = b"", 0
        self._show_line()

    def resize(self, columns: int, rows: int, *, paint: bool = True) -> None:
        """QEMU's lines don't know how wide the terminal is."""

    def leave(self) -> None:
        """The session is over."""
        self.active = False

    # -- the line

    def _show_line(self) -> None:
        line = bytes(self._line)
        if line != self._shown:
            self._write(_BACK * self._shown_cursor + line + _ERASE)
            self._shown, self._shown_cursor = line, len(line)
        distance = self._cursor - self._shown_cursor
        if distance:
            self._write(_FORWARD * distance if distance > 0 else _BACK * -distance)
            self._shown_cursor = self._cursor

    def _enter(self) -> Outcome:
        line = bytes(self._line)
        self.active = False
        self._remember(line)
        self._write(b"\r\n")
        if self._cut:
            return Outcome(Entered.TOO_LONG)
        return Outcome(Entered.LINE, line.decode("utf-8", "surrogateescape"))

    def _press(self, key: int) -> bool:
        """:return: whether it ends the line"""
        if self._introduced:
            introduced, self._introduced = self._introduced, b""
            self._press_in_sequence(introduced, key)
        elif key in _ENTER:
            return True
        elif key == _ESCAPE:
            self._introduced = b"\x1b"
        elif key == 0x9B:
            # The number of the one before stays, in QEMU as well.
            self._introduced = _CSI
        elif key >= 0x20 and key != 0x7F:
            self._insert(key)
        else:
            _CONTROLS.get(key, _ignore)(self)
        return False

    def _press_in_sequence(self, introduced: bytes, key: int) -> None:
        if introduced == b"\x1b":
            if key == ord("["):
                self._introduced, self._parameter = _CSI, 0
            elif key == ord("O"):
                self._introduced, self._parameter = b"\x1bO", 0
        elif introduced == b"\x1bO":
            _SINGLE_SHIFTED.get(key, _ignore)(self)
        elif ord("0") <= key <= ord("9"):
            # No number that means anything has more digits.
            self._introduced, self._parameter = _CSI, min(10 * self._parameter + key - ord("0"), 1000)
        else:
            (_NUMBERED.get(self._parameter, _ignore) if key == ord("~") else _FINAL.get(key, _ignore))(self)

    def _insert(self, key: int) -> None:
        if len(self._line) >= MAX_LINE:
            self._cut = True
            return
        self._line.insert(self._cursor, key)
        self._cursor += 1

    def _left(self) -> None:
        self._cursor = max(0, self._cursor - 1)

    def _right(self) -> None:
        self._cursor = min(len(self._line), self._cursor + 1)

    def _begin(self) -> None:
        self._cursor = 0

    def _end(self) -> None:
        self._cursor = len(self._line)

    def _delete(self) -> None:
        del self._line[self._cursor : self._cursor + 1]

    def _backspace(self) -> None:
        if self._cursor:
            self._cursor -= 1
            self._delete()

    def _delete_word(self) -> None:
        before = bytes(self._line[: self._cursor])
        words = before.rstrip()
        begin = len(words) - len(words.split()[-1]) if words else 0
        if begin == 1:
            # QEMU takes a blank at the very beginning along.
            begin = 0
        del self._line[begin : self._cursor]
        self._cursor = begin

    def _clear_screen(self) -> None:
        self._write(b"\x1b[2J\x1b[1;1H" + self._prompt)
        self._shown, self._shown_cursor = b"", 0

    # -- history

    def _remember(self, line: bytes) -> None:
        if not line:
            # What is recalled next is still the one before what was recalled last.
            return
        self._recalled = None
        if line in self._history:
            self._history.remove(line)
        self._history.append(line)
        del self._history[:-MAX_HISTORY]

    def _recall(self, number: int | None) -> None:
        self._recalled = number
        self._line = bytearray(b"" if number is None else self._history[number])
        self._cursor = len(self._line)

    def _previous(self) -> None:
        number = len(self._history) if self._recalled is None else self._recalled
        if number:
            self._recall(number - 1)

    def _next(self) -> None:
        if self._recalled is not None:
            self._recall(self._recalled + 1 if self._recalled + 1 < len(self._history) else None)


def _ignore(editor: Readline) -> None:
    """A key that does nothing."""


_Action = Callable[[Readline], None]

_CONTROLS: dict[int, _Action] = {
    0x01: Readline._begin,
    0x04: Readline._delete,
    0x05: Readline._end,
    0x08: Readline._backspace,
    0x0C: Readline._clear_screen,
    0x17: Readline._delete_word,
    0x7F: Readline._backspace,
}
# What CSI and ESC O end with, and the numbers before a tilde.
_FINAL: dict[int, _Action] = {
    ord("A"): Readline._previous,
    ord("B"): Readline._next,
    ord("C"): Readline._right,
    ord("D"): Readline._left,
    ord("E"): Readline._next,
    ord("F"): Readline._previous,
}
_SINGLE_SHIFTED: dict[int, _Action] = {ord("F"): Readline._end, ord("H"): Readline._begin}
_NUMBERED: dict[int, _Action] = {1: Readline._begin, 3: Readline._delete, 4: Readline._end}


class QEMUStyleProtocol(HMPProtocol):
    """
    One program's connection that it takes for one to QEMU: see L{HMPFactory<twisted_qmon.hmp.protocol.HMPFactory>}.

    Nothing is written that QEMU would not write: no notice, no progress, no second line that says what may have been meant.
    Ctrl-C is a key that does nothing.
    """

    # As of QEMU's plain sockets: telnet's CR NUL is Enter and a key that does nothing, its CR LF is Enter twice.
    speaks_telnet = False
    _is_told = False

    def connectionMade(self) -> None:
        self._editor = Readline(self.write_bytes, lambda: self.write_queue.blocked)
        super().connectionMade()

    def write_bytes(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.write_queue.reply(data)

    def greet(self) -> None:
        """Say nothing yet: which QEMU it is, is known later."""

    def _begin(self) -> None:
        self._write_text(qemu_banner(self.factory.monitor) + "\n")
        super()._begin()
