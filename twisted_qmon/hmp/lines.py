"""
Lines out of a stream of bytes, with a limit to their length. No I/O.
"""

from __future__ import annotations

from collections import deque

__all__ = ["LineBuffer"]

_LF = b"\n"


class LineBuffer:
    """
    Holds lines until they are taken.

    LF ends a line, and one CR before it is no part of it. A line that is too long is taken as C{None}, in its place; none of its
    bytes are kept.

    :param limit: bytes of the longest line, without its end
    :ivar size: bytes held, with one for the end of each line
    """

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._limit = limit
        self._lines: deque[bytes | None] = deque()
        # The beginning of a line whose end has not come; C{None}: of one that is too long already.
        self._beginning: bytearray | None = bytearray()

    def feed(self, data: bytes) -> None:
        """
        :param data: bytes as they came
        """
        *ended, beginning = data.split(_LF)
        for piece in ended:
            self._extend(piece)
            self._lines.append(self._end())
            self.size += 1
        self._extend(beginning)

    def _extend(self, piece: bytes) -> None:
        beginning = self._beginning
        if beginning is None:
            return
        beginning += piece
        self.size += len(piece)
        # One more for the CR before the end of the line.
        if len(beginning) > self._limit + 1:
            self.size -= len(beginning)
            self._beginning = None

    def _end(self) -> bytes | None:
        beginning, self._beginning = self._beginning, bytearray()
        if beginning is None:
            return None
        line = bytes(beginning).removesuffix(b"\r")
        self.size -= len(beginning) - len(line)
        if len(line) > self._limit:
            self.size -= len(line)
            return None
        return line

    def __len__(self) -> int:
        """How many complete lines are held."""
        return len(self._lines)

    def take(self) -> bytes | None:
        """
        :return: the oldest line without its end, or C{None} for one that is too long
        :raise IndexError: when no complete line is held
        """
        line = self._lines.popleft()
        self.size -= 1 + (0 if line is None else len(line))
        return line

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()
        self._beginning = bytearray()
        self.size = 0
