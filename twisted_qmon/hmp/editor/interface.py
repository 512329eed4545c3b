"""
What an editor of lines gives to the connection that it edits for. This module needs nothing.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple, Protocol

__all__ = ["Editor", "Entered", "Outcome"]


class Entered(Enum):
    """
    How the editing of a line ends.

    :cvar LINE: Enter
    :cvar TOO_LONG: Enter, but not all that was pasted has found room
    :cvar INTERRUPT: Ctrl-C
    :cvar END_OF_INPUT: Ctrl-D on an empty line
    """

    LINE = auto()
    TOO_LONG = auto()
    INTERRUPT = auto()
    END_OF_INPUT = auto()


class Outcome(NamedTuple):
    """How the editing of a line has ended, and the line. A byte that is not UTF-8 is a surrogate in it."""

    how: Entered
    line: str = ""


class Editor(Protocol):
    """
    Edits one line after another. Between two lines, while a command runs, keys are held, and what is shown passes through.

    :ivar active: a line is being edited
    :ivar max_line: bytes of the longest line
    """

    active: bool
    max_line: int

    @property
    def held(self) -> int:
        """Bytes of keys that have come and have not been looked at."""

    def begin(self, prompt: str) -> None:
        """Show a prompt, and edit a line."""

    def receive(self, data: bytes) -> bool:
        """
        Take what the terminal sends. L{next} looks at it.

        :return: whether Ctrl-C is in it while no line is edited; what was typed before it is dropped then
        """

    def next(self) -> Outcome | None:
        """
        Look at the keys that have come, up to one that ends the line; what the terminal shows follows.

        :return: how the line has ended; C{None}: it goes on, or the terminal takes no more for now
        """

    @property
    def has_line(self) -> bool:
        """A key that ends a line has come, and has not been looked at."""

    def drop_enter(self) -> None:
        """Drop the key that has come first if it ends a line."""

    def show(self, text: str) -> None:
        """Show text: whole lines that end in C{\\n}, made printable; above the line, if one is edited."""

    def resize(self, columns: int, rows: int, *, paint: bool = True) -> None:
        """The terminal has another size; 0 means that it does not know."""

    def leave(self) -> None:
        """The session is over: leave the terminal as it was."""
