"""
A terminal in memory, read cell by cell.
"""

from __future__ import annotations

import unicodedata

import pyte

__all__ = ["Screen"]


class Screen(pyte.Screen):
    """
    A terminal as xterm is: a mark that comes behind a full row is combined with its last character. pyte goes on in the next row.

    :param columns: its size
    :param rows: its size
    """

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__(columns, rows)
        self._bytes = pyte.ByteStream(self)

    def feed(self, text: str) -> None:
        """Show text, and obey what is in it."""
        self._bytes.feed(text.encode())

    def draw(self, data: str) -> None:
        """See pyte."""
        for c in data:
            if unicodedata.combining(c) and self.cursor.x == self.columns:
                row = self.buffer[self.cursor.y]
                at = self.columns - 1 if row[self.columns - 1].data else self.columns - 2
                row[at] = row[at]._replace(data=unicodedata.normalize("NFC", row[at].data + c))
            else:
                super().draw(c)

    def row(self, number: int) -> str:
        """:return: the text of a row, without blanks at its end, NFC"""
        cells = (self.buffer[number][column].data for column in range(self.columns))
        return unicodedata.normalize("NFC", "".join(cells)).rstrip()

    @property
    def text(self) -> str:
        """All rows, without the empty ones at the end."""
        return "\n".join(self.row(number) for number in range(self.lines)).rstrip()

    @property
    def at(self) -> tuple[int, int]:
        """The row and the column of the cursor."""
        return self.cursor.y, self.cursor.x
