"""
Progress for a person: at most one line a second for the command that is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["PROGRESS_INTERVAL", "ProgressLine"]

#: The shortest time between two lines of progress, in seconds.
PROGRESS_INTERVAL = 1.0


class ProgressLine:
    """
    Prints the progress of one command: the first news at once, then the latest at most once in L{PROGRESS_INTERVAL}.

    :param name: what the command is called
    :param clock: for the interval
    :param write: called with each line
    """

    def __init__(self, name: str, clock: IReactorTime, write: Callable[[str], object]) -> None:
        self._name = name
        self._clock = clock
        self._write = write
        self._latest: tuple[int, int] | None = None
        self._timer: IDelayedCall | None = None
        self._live = False

    def begin(self, deferred: Deferred[Any]) -> None:
        """
        Print from now on, until the Deferred fires. What was told before is printed if the command is still pending.
        """

        def end(result: Any) -> Any:
            self._live = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return result

        self._live = True
        deferred.addBoth(end)
        if self._live:
            self._print()

    def update(self, current: int, total: int) -> None:
        """Take note of what the monitor tells."""
        self._latest = (current, total)
        if self._live and self._timer is None:
            self._print()

    def _print(self) -> None:
        self._timer = None
        if self._latest is None:
            return
        current, total = self._latest
        self._latest = None
        if total > 0:
            percent = min(100.0, 100.0 * current / total)
            self._write(f"{self._name}: {percent:.0f} % ({current} of {total})")
        else:
            self._write(f"{self._name}: {current}")
        self._timer = self._clock.callLater(PROGRESS_INTERVAL, self._print)
