"""
What is written while a line is edited: it appears above the line, which stays as it is.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.application.current import get_app_or_none

__all__ = ["PERIOD", "Screen"]

#: Seconds between two moments at which text appears: the line is drawn again at each.
PERIOD = 0.1

_RED, _DIM, _PLAIN = "\x1b[31m", "\x1b[2m", "\x1b[0m"


class Screen:
    """
    Standard output beside a line editor.

    :param loop: for the periods
    :param colour: with colours
    :param write: writes and flushes
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, colour: bool, write: Callable[[str], object] | None = None
    ) -> None:
        self._loop = loop
        self._colour = colour
        self._write = _write if write is None else write
        self._waiting: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0

    def text(self, text: str) -> None:
        """Write lines that are harmless already."""
        self._waiting.append(text)
        self._schedule()

    def error(self, text: str) -> None:
        """The same, as an error."""
        self.text(self._styled(_RED, text))

    def note(self, text: str) -> None:
        """The same, as what C{qmon} itself has to say."""
        self.text(self._styled(_DIM, text))

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text.removesuffix(chr(10))}{_PLAIN}\n" if self._colour else text

    def _schedule(self) -> None:
        if self._timer is None:
            delay = max(0.0, self._last + PERIOD - self._loop.time())
            self._timer = self._loop.call_later(delay, self._due)

    def _due(self) -> None:
        self._timer = None
        self._last = self._loop.time()
        app = get_app_or_none()
        if app is not None and app.is_running:
            run_in_terminal(self.flush)
        else:
            self.flush()

    def flush(self) -> None:
        """Write what waits, now. Call it where no line is edited. At Ctrl-C the rest of it is dropped."""
        text = "".join(self._waiting)
        self._waiting.clear()
        if text:
            try:
                self._write(text)
            except KeyboardInterrupt:
                # It was cut somewhere: what comes next, such as the prompt, begins on a line of its own.
                with suppress(KeyboardInterrupt):
                    self._write("\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
