"""
Incremental search in the lines of a session, as readline's Ctrl-R does it. No I/O.
"""

from __future__ import annotations

from twisted_qmon.hmp.editor.cells import clusters
from twisted_qmon.hmp.editor.line import EditedLine, History

__all__ = ["MAX_PATTERN", "Search"]

#: Characters of the longest pattern.
MAX_PATTERN = 256


class Search:
    """
    One search, from Ctrl-R until another key ends it.

    :param history: what is searched
    :param line: what was being typed; shown until something is found
    :param step: -1: for older lines; 1: for newer ones
    :ivar line: what is shown: the line that was found, the cursor where the pattern begins
    :ivar number: the number of that line; C{None}: none was found yet
    """

    def __init__(self, history: History, line: EditedLine, step: int) -> None:
        self._history = history
        self._pattern = ""
        self._step = step
        self._failed = False
        self.line = line
        self.number: int | None = None

    @property
    def prompt(self) -> str:
        """What stands in place of the prompt, as readline has it."""
        failed = "failed " if self._failed else ""
        direction = "reverse-" if self._step < 0 else ""
        return f"({failed}{direction}i-search)`{self._pattern}': "

    def extend(self, text: str) -> bool:
        """Look for a longer pattern. :return: whether there is room for it, and a line that has it"""
        if len(self._pattern) + len(text) > MAX_PATTERN:
            return False
        self._pattern += text
        return self._look(self._start)

    def shorten(self) -> bool:
        """Look for the pattern without its last character, from the latest line on. :return: as L{extend}"""
        self._pattern = "".join(clusters(self._pattern)[:-1])
        return self._look(self._end)

    def again(self, step: int) -> bool:
        """Look for the next line that has the pattern. :return: as L{extend}"""
        self._step = step
        return self._look(self._start if self.number is None else self.number + step)

    @property
    def _end(self) -> int:
        return len(self._history) - 1 if self._step < 0 else 0

    @property
    def _start(self) -> int:
        return self._end if self.number is None else self.number

    def _look(self, start: int) -> bool:
        if not self._pattern:
            self._failed = False
            return True
        found = self._history.find(self._pattern, start, self._step)
        self._failed = found is None
        if found is None:
            return False
        self.number = found
        self.line = EditedLine(self._history[found])
        self.line.cursor = len(clusters(self._history[found].partition(self._pattern)[0]))
        return True
