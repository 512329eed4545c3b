"""
The line that is being edited, what was killed of it, and the lines before it. No I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted_qmon.hmp.editor.cells import clusters

__all__ = [
    "MAX_EDITED",
    "MAX_HISTORY",
    "MAX_HISTORY_BYTES",
    "MAX_KILLED",
    "MAX_KILLS",
    "EditedLine",
    "History",
    "KillRing",
]

#: Bytes, in UTF-8, of what may be in the editor: many lines, if they were pasted.
MAX_EDITED = 1 << 16

#: How many lines a session remembers, and how many bytes they may have together.
MAX_HISTORY = 1000
MAX_HISTORY_BYTES = 1 << 18

#: How many pieces that were killed are remembered, and how many bytes they may have together.
MAX_KILLS = 10
MAX_KILLED = 1 << 17


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class EditedLine:
    """
    A line and a cursor in it. Positions are counted in clusters.

    :ivar clusters: what the line is made of
    :ivar cursor: how many of them are in front of the cursor
    :ivar cut: more was to be inserted than it may have
    """

    def __init__(self, text: str = "") -> None:
        self.clusters = clusters(text)
        self.cursor = len(self.clusters)
        self.cut = False
        self._size = _size(text)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.clusters)

    @property
    def before(self) -> str:
        """What is in front of the cursor."""
        return "".join(self.clusters[: self.cursor])

    @property
    def at_end(self) -> bool:
        """The cursor is behind everything."""
        return self.cursor == len(self.clusters)

    def insert(self, text: str) -> bool:
        """
        Insert text at the cursor.

        :return: whether there was room for all of it; if not, nothing is inserted
        """
        size = _size(text)
        if self._size + size > MAX_EDITED:
            self.cut = True
            return False
        self._size += size
        # Marks are combined with what is in front of them.
        before = self.clusters[self.cursor - 1 : self.cursor]
        new = clusters("".join(before) + text)
        begin = self.cursor - len(before)
        self.clusters[begin : self.cursor] = new
        self.cursor = begin + len(new)
        return True

    def remove(self, begin: int, end: int) -> str:
        """Take out what is between two positions; the cursor is there then. :return: what was there"""
        text = "".join(self.clusters[begin:end])
        del self.clusters[begin:end]
        self._size -= _size(text)
        self.cursor = begin
        if not self.clusters:
            self.cut = False
        return text

    def replace(self, begin: int, text: str) -> bool:
        """
        Put something in the place of what is before the cursor.

        :param begin: where that begins, in characters from the beginning of the line
        :return: as L{insert}
        """
        self.remove(len(clusters(self.before[:begin])), self.cursor)
        return self.insert(text)

    def transpose(self) -> bool:
        """Change the places of the two clusters at the cursor, as readline does. :return: whether there are two"""
        at = min(self.cursor, len(self.clusters) - 1)
        if at < 1:
            return False
        self.clusters[at - 1 : at + 1] = self.clusters[at], self.clusters[at - 1]
        self.cursor = at + 1
        return True

    def word_left(self, is_part: Callable[[str], bool]) -> int:
        """:return: where the word begins that the cursor is in or behind"""
        at = self.cursor
        while at and not is_part(self.clusters[at - 1]):
            at -= 1
        while at and is_part(self.clusters[at - 1]):
            at -= 1
        return at

    def word_right(self, is_part: Callable[[str], bool]) -> int:
        """:return: where the word ends that the cursor is in or before"""
        at, end = self.cursor, len(self.clusters)
        while at < end and not is_part(self.clusters[at]):
            at += 1
        while at < end and is_part(self.clusters[at]):
            at += 1
        return at


class KillRing:
    """What was killed, latest last, within limits."""

    def __init__(self) -> None:
        self._pieces: deque[str] = deque(maxlen=MAX_KILLS)

    def add(self, text: str, *, joined: bool = False, before: bool = False) -> None:
        """
        :param joined: it belongs to what was killed just before
        :param before: it stood in front of that
        """
        if joined and self._pieces:
            last = self._pieces.pop()
            text = text + last if before else last + text
        if text:
            self._pieces.append(text)
        while sum(map(len, self._pieces)) > MAX_KILLED:
            self._pieces.popleft()

    @property
    def latest(self) -> str:
        """What was killed last; empty if nothing was."""
        return self._pieces[-1] if self._pieces else ""

    def rotate(self) -> None:
        """Have what was killed before that be the latest."""
        self._pieces.rotate(1)


class History:
    """The lines of a session, oldest first, within limits. Those that begin with a blank are not kept."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque()
        self._size = 0

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, number: int) -> str:
        return self._lines[number]

    def add(self, line: str) -> None:
        """Keep a line, unless it is that before it."""
        if not line or line[0].isspace() or (self._lines and self._lines[-1] == line):
            return
        self._lines.append(line)
        self._size += _size(line)
        while len(self._lines) > MAX_HISTORY or self._size > MAX_HISTORY_BYTES:
            self._size -= _size(self._lines.popleft())

    def find(self, pattern: str, start: int, step: int) -> int | None:
        """
        :param start: the number of the line to look at first
        :param step: -1: then at older ones; 1: at newer ones
        :return: the number of the first line that has the pattern in it
        """
        end = -1 if step < 0 else len(self._lines)
        lines = list(self._lines)
        return next((number for number in range(start, end, step) if pattern in lines[number]), None)
