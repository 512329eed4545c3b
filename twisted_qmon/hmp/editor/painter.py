"""
Shows a prompt and a line on a terminal with as few bytes as that takes. No I/O.

It never asks the terminal anything. It knows what it has painted and where the cursor is, relative to the row in which the prompt
begins. Of a line that has more rows than the terminal, it shows those around the cursor.
"""

from __future__ import annotations

from twisted_qmon.hmp.editor.cells import LEAST_COLUMNS, Cell, Layout, width

__all__ = ["MAX_COLUMNS", "MAX_ROWS", "Painter"]

#: The largest terminal that is believed in.
MAX_COLUMNS = 4096
MAX_ROWS = 1024

_ESC = "\x1b["
_CLEAR_ROW, _CLEAR_BELOW, _CLEAR_SCREEN = f"{_ESC}K", f"{_ESC}J", f"{_ESC}H{_ESC}2J"


class Painter:
    """
    :param columns: of the terminal
    :param rows: of the terminal
    :ivar columns: how many there are; 0 of a terminal means that it does not know: then 80
    :ivar rows: how many there are; 24 if it does not know
    """

    columns: int
    rows: int

    def __init__(self, columns: int, rows: int) -> None:
        self._out: list[str] = []
        self._set_size(columns, rows)
        self._forget()

    def _set_size(self, columns: int, rows: int) -> None:
        self.columns = min(max(columns or 80, LEAST_COLUMNS), MAX_COLUMNS)
        self.rows = min(rows or 24, MAX_ROWS)

    def _forget(self) -> None:
        # What is painted, row by row; which row of the layout the first of these is; the cursor. In column self.columns the
        # terminal waits for the next character to go on in the next row.
        self._painted: list[list[Cell]] = []
        self._top = 0
        self._row = 0
        self._column = 0

    def take(self) -> str:
        """:return: what is to be sent to the terminal"""
        text = "".join(self._out)
        self._out.clear()
        return text

    # -- what its owner asks for

    def paint(self, layout: Layout) -> None:
        """Show this instead of what is shown."""
        top = min(self._top, layout.row, max(0, len(layout.rows) - self.rows))
        top = max(top, layout.row - self.rows + 1)
        if top != self._top:
            self._erase()
            self._top = top
        visible = layout.rows[top : top + self.rows]
        for number, row in enumerate(visible):
            self._paint_row(number, row)
        if len(self._painted) > len(visible):
            self._go(len(visible), 0)
            self._out.append(_CLEAR_BELOW)
        self._painted = visible
        self._go(layout.row - top, layout.column)

    def erase(self) -> None:
        """Show nothing; the cursor is where the prompt was."""
        self._erase()
        self._forget()

    def clear_screen(self) -> None:
        """Clear all of the terminal; the cursor is in its first row."""
        self._out.append(_CLEAR_SCREEN)
        self._forget()

    def leave(self, mark: str = "") -> None:
        """
        Go to the beginning of the row below, and leave what is painted as it is. The cursor is at the end of the line.

        :param mark: what is to stand there
        """
        if mark or self._painted[-1]:
            self._out.append(f"{mark}\r\n")
        self._forget()

    def resize(self, columns: int, rows: int, layout: Layout) -> None:
        """
        The terminal has another size: show nothing, and have the cursor at most in the row where the prompt was. Terminals that
        fold their rows anew keep the cursor at its character, others in its row. What remains above the lower of the two
        is not touched: it may be output.

        :param layout: what is shown, laid out for the new size
        """
        up = min(self._row, layout.row)
        self._out.append("\r" + (f"{_ESC}{up}A" if up else "") + _CLEAR_BELOW)
        self._set_size(columns, rows)
        self._forget()

    def write(self, text: str) -> None:
        """Write something at the cursor that ends where a row begins."""
        self._out.append(text)

    # -- painting

    def _erase(self) -> None:
        self._go(0, 0)
        self._out.append(_CLEAR_BELOW)
        self._painted = []

    def _paint_row(self, number: int, row: list[Cell]) -> None:
        known = number < len(self._painted)
        old = self._painted[number] if known else []
        if known and old == row:
            return
        same = 0
        for cell, other in zip(row, old, strict=False):
            if cell != other:
                break
            same += 1
        column = width(row[:same])
        if not column and self._column == self.columns and self._row == number - 1:
            # The terminal goes on in the next row by itself, and so knows that the rows belong together.
            if not row:
                self._out.append(" \r")
            self._row, self._column = number, 0
        else:
            self._go(number, column)
        self._out += [text for text, _ in row[same:]]
        self._column = width(row)
        if self._column < width(old):
            self._out.append(_CLEAR_ROW)

    def _go(self, row: int, column: int) -> None:
        if self._column == self.columns:
            self._out.append("\r")
            self._column = 0
        # Only to rows that were painted: a new one comes behind a full one, into which the terminal goes by itself.
        if row > self._row:
            self._out.append(f"{_ESC}{row - self._row}B")
        elif row < self._row:
            self._out.append(f"{_ESC}{self._row - row}A")
        self._row = row
        right = column - self._column
        if right and not column:
            self._out.append("\r")
        elif right > 0:
            self._out.append(f"{_ESC}{right}C")
        elif right < 0:
            self._out.append("\b" * -right if right > -4 else f"{_ESC}{-right}D")
        self._column = column
