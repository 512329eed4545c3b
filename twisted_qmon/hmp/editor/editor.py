"""
The line editor: L{LineEditor} is given the bytes that a terminal sends, gives lines, and writes what the terminal shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted_qmon._text import printable
from twisted_qmon.hmp.editor.candidates import choices, in_columns
from twisted_qmon.hmp.editor.cells import Cell, Layout, cells_of, lay_out
from twisted_qmon.hmp.editor.interface import Entered, Outcome
from twisted_qmon.hmp.editor.keys import Key, KeyDecoder, KeyPress
from twisted_qmon.hmp.editor.line import MAX_EDITED, EditedLine, History, KillRing
from twisted_qmon.hmp.editor.painter import Painter
from twisted_qmon.hmp.editor.search import Search

if TYPE_CHECKING:
    from twisted_qmon.hmp.commands.completion import Completion

__all__ = ["Entered", "LineEditor", "Outcome"]

#: Have the terminal say where a paste begins and ends (xterm's mode 2004), or not.
_MARK_PASTES, _DONT_MARK_PASTES = "\x1b[?2004h", "\x1b[?2004l"

_BELL = "\a"


def _common_beginning(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    same = (number for number, (c, other) in enumerate(zip(first, last, strict=False)) if c != other)
    return first[: next(same, min(len(first), len(last)))]


def _is_letter(cluster: str) -> bool:
    return cluster[0].isalnum()


def _is_not_blank(cluster: str) -> bool:
    return not cluster[0].isspace()


# Where the cursor goes.
_MOVES: dict[Key, Callable[[EditedLine], int]] = {
    Key.HOME: lambda line: 0,
    Key.END: lambda line: len(line.clusters),
    Key.LEFT: lambda line: max(0, line.cursor - 1),
    Key.RIGHT: lambda line: min(len(line.clusters), line.cursor + 1),
    Key.WORD_LEFT: lambda line: line.word_left(_is_letter),
    Key.WORD_RIGHT: lambda line: line.word_right(_is_letter),
}

# What is killed. Pieces that are killed one after another are one.
_KILLS: dict[Key, Callable[[EditedLine], tuple[int, int]]] = {
    Key.KILL_TO_END: lambda line: (line.cursor, len(line.clusters)),
    Key.KILL_TO_BEGINNING: lambda line: (0, line.cursor),
    Key.KILL_WORD: lambda line: (line.cursor, line.word_right(_is_letter)),
    Key.KILL_WORD_BACK: lambda line: (line.word_left(_is_letter), line.cursor),
    Key.KILL_BLANK_WORD_BACK: lambda line: (line.word_left(_is_not_blank), line.cursor),
}


class LineEditor:
    """
    Edits one line after another. Between two lines, while a command runs, keys are held, and what is shown passes through.

    :param write: called with text for the terminal
    :param columns: of the terminal
    :param rows: of the terminal
    :param complete: says how a line could go on of which this is in front of the cursor
    :ivar active: a line is being edited
    :ivar held: bytes of keys that have come and have not been looked at
    :ivar max_line: bytes of the longest line
    :ivar history: the lines that were entered
    """

    max_line = MAX_EDITED

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        columns: int = 0,
        rows: int = 0,
        complete: Callable[[str], Completion | None] = lambda text: None,
    ) -> None:
        self._write = write
        self._complete = complete
        self._painter = Painter(columns, rows)
        self._decoder = KeyDecoder()
        self._keys: deque[KeyPress] = deque()
        self.held = 0
        self.active = False
        self.history = History()
        self._kills = KillRing()
        self._marks_pastes = False
        self._prompt: list[Cell] = []
        self._line = EditedLine()
        # Up and down the history: the number of the line that is shown, and what was typed before.
        self._recalled: int | None = None
        self._draft = EditedLine()
        self._search: Search | None = None
        self._last_key = Key.ENTER
        self._before_yank = 0
        # What is shown is not what it should be; and the terminal has another size by now.
        self._dirty = False
        self._new_size: tuple[int, int] | None = None

    # -- what its owner calls

    def begin(self, prompt: str) -> None:
        """Show a prompt, and edit a line."""
        if not self._marks_pastes:
            self._marks_pastes = True
            self._painter.write(_MARK_PASTES)
        self._prompt = cells_of(prompt)
        self._start_line()
        self.active = True
        self._paint()

    def receive(self, data: bytes) -> bool:
        """
        Take what the terminal sends. L{next} looks at it.

        :return: whether Ctrl-C is in it while no line is edited; what was typed before it is dropped then
        """
        interrupted = False
        self.held += len(data)
        for press in self._decoder.feed(data):
            if press.key is Key.INTERRUPT and not self.active:
                interrupted = True
                self._keys.clear()
            else:
                self._keys.append(press)
        if not self._keys:
            self.held = 0
        return interrupted

    def next(self) -> Outcome | None:
        """
        Look at the keys that have come, up to one that ends the line; what the terminal shows follows.

        :return: how the line has ended; C{None}: it goes on, and there are no more keys
        """
        while self._keys and self.active:
            press = self._keys.popleft()
            outcome = self._press(press)
            self._last_key = press.key
            if outcome is not None:
                if not self._keys:
                    self.held = 0
                return outcome
            self._dirty = True
        if not self._keys:
            self.held = 0
        if self._dirty and self.active:
            self._paint()
        return None

    @property
    def has_line(self) -> bool:
        """A key that ends a line has come, and has not been looked at."""
        return any(press.key in (Key.ENTER, Key.END_OF_INPUT) for press in self._keys)

    def drop_enter(self) -> None:
        """Drop the key that has come first if it is Enter, or Ctrl-D."""
        if self._keys and self._keys[0].key in (Key.ENTER, Key.END_OF_INPUT):
            self._keys.popleft()

    def show(self, text: str) -> None:
        """
        Show text: above the line, if one is edited.

        :param text: whole lines that end in C{\\n}, made printable
        """
        text = text.replace("\n", "\r\n")
        if not self.active:
            self._write(text)
            return
        self._fit()
        self._painter.erase()
        self._painter.write(text)
        self._paint()

    def resize(self, columns: int, rows: int, *, paint: bool = True) -> None:
        """
        The terminal has another size; 0 means that it does not know.

        :param paint: show the line anew; else what is shown next does
        """
        self._new_size = (columns, rows)
        self._dirty = True
        if paint and self.active:
            self._paint()

    def leave(self) -> None:
        """The session is over: leave the terminal as it was."""
        self._end_line()
        if self._marks_pastes:
            self._marks_pastes = False
            self._painter.write(_DONT_MARK_PASTES)
        self._send()

    # -- what is shown

    def _lay_out(self, columns: int) -> Layout:
        prompt, line = self._prompt, self._line
        if self._search is not None:
            prompt, line = cells_of(self._search.prompt), self._search.line
        return lay_out(prompt, line.clusters, line.cursor, columns)

    def _fit(self) -> None:
        """Take note of the size that the terminal has by now."""
        size, self._new_size = self._new_size, None
        if size is not None:
            columns = Painter(*size).columns
            self._painter.resize(*size, self._lay_out(columns))

    def _paint(self) -> None:
        self._fit()
        self._dirty = False
        self._painter.paint(self._lay_out(self._painter.columns))
        self._send()

    def _send(self) -> None:
        text = self._painter.take()
        if text:
            self._write(text)

    def _ring(self) -> None:
        self._painter.write(_BELL)

    # -- lines

    def _start_line(self) -> None:
        self._line = EditedLine()
        self._search = None
        self._recalled = None
        self._last_key = Key.ENTER

    def _end_line(self, mark: str = "") -> None:
        """Leave the line on the terminal as it is, the cursor below it."""
        if self.active:
            self._fit()
            self._search = None
            self._line.cursor = len(self._line.clusters)
            self._painter.paint(self._lay_out(self._painter.columns))
            self._painter.leave(mark)
            self.active = self._dirty = False

    def _press(self, press: KeyPress) -> Outcome | None:
        if self._search is not None and self._press_in_search(self._search, press):
            return None
        if press.key in _ENDINGS:
            return _ENDINGS[press.key](self)
        _ACTIONS[press.key](self, press)
        return None

    def _enter(self) -> Outcome:
        text, cut = self._line.text, self._line.cut
        self._end_line()
        self._send()
        if cut:
            return Outcome(Entered.TOO_LONG)
        # Of a paste: line by line, each as if it had been typed. The last one ends here, whether the paste's did or not.
        first, *more = text.removesuffix("\n").split("\n") if "\n" in text else (text,)
        for line in reversed(more):
            self._keys.appendleft(KeyPress(Key.ENTER))
            self._keys.appendleft(KeyPress(Key.TEXT, line))
        self.history.add(first)
        return Outcome(Entered.LINE, first)

    def _interrupt(self) -> Outcome:
        self._end_line("^C")
        self._send()
        return Outcome(Entered.INTERRUPT)

    def _delete_or_end(self) -> Outcome | None:
        if self._line.clusters:
            self._delete(KeyPress(Key.DELETE))
            return None
        self._end_line()
        self._send()
        return Outcome(Entered.END_OF_INPUT)

    # -- search

    def _press_in_search(self, search: Search, press: KeyPress) -> bool:
        """:return: whether the key is for the search; if not, it ended it with the line that was found, and is for that"""
        found = True
        if press.key is Key.SEARCH:
            found = search.again(-1)
        elif press.key is Key.SEARCH_FORWARD:
            found = search.again(1)
        elif press.key is Key.TEXT:
            found = search.extend(press.text)
        elif press.key is Key.BACKSPACE:
            found = search.shorten()
        elif press.key is Key.ABORT:
            self._search = None
        else:
            if search.number is not None:
                self._recall(search.number)
                self._line.cursor = search.line.cursor
            self._search = None
            return False
        if not found:
            self._ring()
        return True

    def _begin_search(self, press: KeyPress) -> None:
        self._search = Search(self.history, self._line, -1 if press.key is Key.SEARCH else 1)

    # -- history

    def _recall(self, number: int) -> None:
        if self._recalled is None:
            self._draft = self._line
        self._recalled = number
        self._line = EditedLine(self.history[number])

    def _previous(self, press: KeyPress) -> None:
        number = len(self.history) if self._recalled is None else self._recalled
        if number:
            self._recall(number - 1)
        else:
            self._ring()

    def _next(self, press: KeyPress) -> None:
        if self._recalled is None:
            self._ring()
        elif self._recalled + 1 < len(self.history):
            self._recall(self._recalled + 1)
        else:
            self._recalled = None
            self._line = self._draft

    # -- editing

    def _insert(self, press: KeyPress) -> None:
        if not self._line.insert(press.text):
            self._ring()

    def _move(self, press: KeyPress) -> None:
        self._line.cursor = _MOVES[press.key](self._line)

    def _backspace(self, press: KeyPress) -> None:
        if self._line.cursor:
            self._line.remove(self._line.cursor - 1, self._line.cursor)
        else:
            self._ring()

    def _delete(self, press: KeyPress) -> None:
        if self._line.at_end:
            self._ring()
        else:
            self._line.remove(self._line.cursor, self._line.cursor + 1)

    def _kill(self, press: KeyPress) -> None:
        line = self._line
        begin, end = _KILLS[press.key](line)
        before = end == line.cursor
        self._kills.add(line.remove(begin, end), joined=self._last_key in _KILLS, before=before)

    def _yank(self, press: KeyPress) -> None:
        self._before_yank = self._line.cursor
        self._insert(KeyPress(Key.TEXT, self._kills.latest))

    def _yank_older(self, press: KeyPress) -> None:
        if self._last_key not in (Key.YANK, Key.YANK_OLDER):
            self._ring()
            return
        self._line.remove(min(self._before_yank, self._line.cursor), self._line.cursor)
        self._kills.rotate()
        self._yank(press)

    def _transpose(self, press: KeyPress) -> None:
        if not self._line.transpose():
            self._ring()

    def _clear_screen(self, press: KeyPress) -> None:
        self._painter.clear_screen()

    def _abort(self, press: KeyPress) -> None:
        self._ring()

    # -- completion

    def _complete_word(self, press: KeyPress) -> None:
        before = self._line.before
        completion = self._complete(before)
        found = [] if completion is None else choices(completion)
        if completion is None or not found:
            self._ring()
            return
        word = before[completion.start :]
        common = _common_beginning([candidate.text for candidate in found])
        if len(found) == 1:
            common += " " if found[0].ends and self._line.at_end else ""
        if common != word and common.startswith(word):
            if not self._line.replace(completion.start, common):
                self._ring()
        elif len(found) > 1:
            self.show(printable(in_columns(found, self._painter.columns), keep="\n"))


_ENDINGS: dict[Key, Callable[[LineEditor], Outcome | None]] = {
    Key.ENTER: LineEditor._enter,
    Key.INTERRUPT: LineEditor._interrupt,
    Key.END_OF_INPUT: LineEditor._delete_or_end,
}

_ACTIONS: dict[Key, Callable[[LineEditor, KeyPress], None]] = {
    Key.TEXT: LineEditor._insert,
    Key.PASTE: LineEditor._insert,
    Key.ABORT: LineEditor._abort,
    **dict.fromkeys(_MOVES, LineEditor._move),
    Key.PREVIOUS: LineEditor._previous,
    Key.NEXT: LineEditor._next,
    Key.BACKSPACE: LineEditor._backspace,
    Key.DELETE: LineEditor._delete,
    **dict.fromkeys(_KILLS, LineEditor._kill),
    Key.YANK: LineEditor._yank,
    Key.YANK_OLDER: LineEditor._yank_older,
    Key.TRANSPOSE: LineEditor._transpose,
    Key.SEARCH: LineEditor._begin_search,
    Key.SEARCH_FORWARD: LineEditor._begin_search,
    Key.COMPLETE: LineEditor._complete_word,
    Key.CLEAR_SCREEN: LineEditor._clear_screen,
}
