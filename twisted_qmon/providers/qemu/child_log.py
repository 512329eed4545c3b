"""
What a child process prints, in the log: line by line, and not more of it than the log can bear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger, LogLevel

from twisted_qmon._text import printable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["MAX_LINE", "MAX_LINES", "ChildLog"]

#: Bytes of a line that are logged; the rest of it is left out.
MAX_LINE = 2000

#: Lines that are logged in a second; the others are counted.
MAX_LINES = 100


class ChildLog:
    """
    The lines of one stream.

    :param stream: what they are called: C{"standard error"}
    :param level: of the log's lines
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, stream: str, level: LogLevel) -> None:
        self._clock = clock
        self._stream = stream
        self._level = level
        self._partial = b""
        # The rest of a line that is too long.
        self._skipping = False
        self._second = clock.seconds()
        self._lines = 0
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Log what has been printed, as far as it is whole lines."""
        *lines, rest = (self._partial + data).split(b"\n")
        for line in lines:
            if not self._skipping:
                self._line(line)
            self._skipping = False
        if self._skipping:
            rest = b""
        elif len(rest) > MAX_LINE:
            self._line(rest)
            rest = b""
            self._skipping = True
        self._partial = rest

    def end(self) -> None:
        """Log the rest: there is no more."""
        if self._partial:
            self._line(self._partial)
            self._partial = b""
        self._tell_left_out()

    def _line(self, line: bytes) -> None:
        now = self._clock.seconds()
        if now - self._second >= 1:
            self._tell_left_out()
            self._second = now
            self._lines = 0
        self._lines += 1
        if self._lines > MAX_LINES:
            self._left_out += 1
            return
        text = line[:MAX_LINE].decode("utf-8", "backslashreplace").rstrip("\r")
        more = "..." if len(line) > MAX_LINE else ""
        self._log.emit(self._level, "QEMU: {line}", line=printable(text) + more, stream=self._stream)

    def _tell_left_out(self) -> None:
        if self._left_out:
            self._log.warn(
                "{count} lines of QEMU's {stream} were left out: there were more than {limit} in a second",
                count=self._left_out,
                stream=self._stream,
                limit=MAX_LINES,
            )
            self._left_out = 0
