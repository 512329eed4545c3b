"""
Telnet commands, taken out of what a client sends (RFC 854). No I/O.

Options are negotiated only with a client that offers to tell the size of its window (see L{CharacterMode}). Two commands
matter of all clients, those that a telnet client sends for Ctrl-C: C{IAC IP} and C{IAC DO TIMING-MARK}
(RFC 860). The client discards all output until the timing mark is answered.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

__all__ = [
    "MAX_SUBNEGOTIATION",
    "TIMING_MARK_REFUSED",
    "CharacterMode",
    "TelnetCommand",
    "TelnetFilter",
    "TelnetOption",
    "WindowSize",
]

#: Bytes of the longest subnegotiation (RFC 855) that is skipped; a longer one is no telnet.
MAX_SUBNEGOTIATION = 256

#: The answer to C{IAC DO TIMING-MARK}: C{IAC WONT TIMING-MARK}. A client goes on showing output at either answer.
TIMING_MARK_REFUSED = b"\xff\xfc\x06"

_LF = 0x0A
_SE, _IP, _SB, _WILL, _WONT, _DO, _DONT, _IAC = 0xF0, 0xF4, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF
_ECHO, _NO_GO_AHEAD, _TIMING_MARK, _WINDOW_SIZE = 1, 3, 6, 31

# IAC SB NAWS and four bytes, each of which may be doubled: only the size of a window may contain a line feed.
_WINDOW_SIZE_BYTES = 11

_NOTABLE = re.compile(rb"[\xff\n]")


class TelnetCommand(Enum):
    """
    A command that the session acts on.

    :cvar INTERRUPT: C{IAC IP}: Ctrl-C
    :cvar TIMING_MARK: C{IAC DO TIMING-MARK}: to be answered with L{TIMING_MARK_REFUSED}
    """

    INTERRUPT = auto()
    TIMING_MARK = auto()


class TelnetOption(NamedTuple):
    """An option that the client offers (WILL), refuses (WONT), asks for (DO) or does not want (DONT)."""

    verb: int
    option: int


class WindowSize(NamedTuple):
    """The size of the client's window (RFC 1073); 0: it does not know."""

    columns: int
    rows: int


class CharacterMode:
    """
    Agrees with a client that it sends each key and shows no more than it is told: the server echoes (RFC 857), and there is no
    "go ahead" (RFC 858). Only a client that offers to tell the size of its window, unasked, is asked: such a one has a terminal.
    All others see no byte of it.

    :ivar agreed: the client sends each key
    :ivar size: of its window, as far as it has told
    """

    def __init__(self) -> None:
        self._asked = False
        self._wanted: set[int] = set()
        self.size = WindowSize(0, 0)

    @property
    def agreed(self) -> bool:
        """Both options are in effect."""
        return self._asked and self._wanted >= {_ECHO, _NO_GO_AHEAD}

    def receive(self, part: TelnetOption | WindowSize) -> bytes:
        """
        :param part: what the client says
        :return: what it is answered
        """
        if isinstance(part, WindowSize):
            self.size = part
        elif part.verb == _DO:
            self._wanted.add(part.option)
        elif part.verb == _DONT:
            before = self.agreed
            self._wanted.discard(part.option)
            if before and not self.agreed:
                # From now on as it was before: a client that changes its mind is not asked again.
                self._asked = False
                return bytes((_IAC, _WONT, _ECHO, _IAC, _WONT, _NO_GO_AHEAD))
        elif part == (_WILL, _WINDOW_SIZE) and not self._asked:
            self._asked = True
            return bytes((_IAC, _DO, _WINDOW_SIZE, _IAC, _WILL, _ECHO, _IAC, _WILL, _NO_GO_AHEAD))
        return b""


class TelnetFilter:
    """
    Separates telnet commands from text, however the stream is cut into pieces. Each byte is looked at a fixed number of times.

    UTF-8 has no byte 255, so that text passes unchanged. What only begins like telnet passes too: no line may be swallowed.

    :param tells_options: options and sizes of windows are told too
    :ivar seen: the client has sent a telnet command
    """

    def __init__(self, *, tells_options: bool = False) -> None:
        self.seen = False
        self._tells_options = tells_options
        # A command that is not complete: IAC, or IAC and a verb, or a subnegotiation up to here.
        self._command = bytearray()
        # The last byte of it is the IAC of IAC SE, or of IAC IAC.
        self._escaping = False
        self._after_return = False
        # Behind what was no subnegotiation, everything up to the end of the line is text.
        self._rest_is_text = False

    def feed(self, data: bytes) -> list[bytes | TelnetCommand | TelnetOption | WindowSize]:
        """
        :param data: bytes as they came
        :return: text without telnet commands, and the commands to act on, in their order. CR NUL, with which telnet clients
            may end a line, becomes CR LF.
        """
        parts: list[bytes | TelnetCommand | TelnetOption | WindowSize] = []
        text: list[bytes] = []
        at = 0
        while at < len(data):
            at, found = self._step(data, at)
            if isinstance(found, bytes):
                text.append(found)
            elif found is not None:
                self._add_text(parts, text)
                parts.append(found)
        self._add_text(parts, text)
        return parts

    def _add_text(self, parts: list[bytes | TelnetCommand | TelnetOption | WindowSize], pieces: list[bytes]) -> None:
        text = b"".join(pieces)
        pieces.clear()
        if text:
            if self._after_return and text[0] == 0:
                text = b"\n" + text[1:]
            self._after_return = text.endswith(b"\r")
            parts.append(text.replace(b"\r\0", b"\r\n"))

    def _step(self, data: bytes, at: int) -> tuple[int, bytes | TelnetCommand | TelnetOption | WindowSize | None]:
        """
        Take some bytes, at least one.

        :return: where to go on; and the text they are, or the command they complete, or nothing
        """
        command = self._command
        if self._rest_is_text:
            end = data.find(_LF, at)
            self._rest_is_text = end < 0
            end = len(data) if end < 0 else end + 1
            return end, data[at:end]
        if not command:
            begin = data.find(_IAC, at)
            if begin == at:
                command.append(_IAC)
                return at + 1, None
            end = len(data) if begin < 0 else begin
            return end, data[at:end]
        if len(command) == 1:
            return at + 1, self._verb(data[at])
        if command[1] == _SB:
            return self._subnegotiation(data, at)
        return at + 1, self._option(data[at])

    def _verb(self, verb: int) -> bytes | TelnetCommand | None:
        """The byte behind IAC."""
        if _SB <= verb <= _DONT:
            self._command.append(verb)
            return None
        self._command.clear()
        if verb == _IAC:
            return b"\xff"
        if verb < _SE:
            # No telnet: the bytes belong to the line, which is refused because of them.
            return bytes((_IAC, verb))
        self.seen = True
        return TelnetCommand.INTERRUPT if verb == _IP else None

    def _option(self, option: int) -> bytes | TelnetCommand | TelnetOption | None:
        """The byte behind IAC and WILL, WONT, DO or DONT."""
        verb = self._command[1]
        self._command.clear()
        if option == _LF:
            return bytes((_IAC, verb, option))
        self.seen = True
        if (verb, option) == (_DO, _TIMING_MARK):
            return TelnetCommand.TIMING_MARK
        return TelnetOption(verb, option) if self._tells_options else None

    def _subnegotiation(self, data: bytes, at: int) -> tuple[int, bytes | WindowSize | None]:
        """The bytes behind IAC SB, up to IAC SE."""
        command = self._command
        if self._escaping:
            # IAC IAC is the byte 255; any other byte behind IAC is skipped as well.
            self._escaping = False
            end = at + 1
            if data[at] == _SE:
                self.seen = True
                told = bytes(command[2:-1]).replace(b"\xff\xff", b"\xff")
                command.clear()
                if self._tells_options and told[:1] == bytes((_WINDOW_SIZE,)) and len(told) == 5:
                    return end, WindowSize(int.from_bytes(told[1:3], "big"), int.from_bytes(told[3:], "big"))
                return end, None
        else:
            end = min(len(data), at + MAX_SUBNEGOTIATION + 1 - len(command))
            notable = _NOTABLE.search(data, at, end)
            if notable is not None:
                end = notable.end()
                self._escaping = data[end - 1] == _IAC
        command += data[at:end]
        if self._may_go_on():
            return end, None
        text = bytes(command)
        command.clear()
        self._escaping = False
        self._rest_is_text = text[-1] != _LF
        return end, text

    def _may_go_on(self) -> bool:
        command = self._command
        if command[-1] == _LF:
            return command[2] == _WINDOW_SIZE and len(command) <= _WINDOW_SIZE_BYTES
        return len(command) <= MAX_SUBNEGOTIATION
