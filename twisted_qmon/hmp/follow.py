"""
What goes on at the prompt until the person types the next line, or Ctrl-C: a line that is repeated, the log as it grows. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from twisted_qmon.hmp.event_text import log_line
from twisted_qmon.info import JSON

__all__ = ["LOG_PERIOD", "LONGEST_LOG_PERIOD", "SHORTEST_PERIOD", "WATCH_PERIOD", "Activity", "LogFollower", "Watch"]

#: Seconds between two runs of a line that is watched, where the person gives none; and the shortest time that one may give.
WATCH_PERIOD = 2.0
SHORTEST_PERIOD = 0.1

#: Seconds between two looks at the log: as long as something comes, and at most, after a time in which nothing came. Each look is
#: a command, which may stand in an audit.
LOG_PERIOD = 0.5
LONGEST_LOG_PERIOD = 4.0

#: How many entries of the log are shown at first.
_CONTEXT = 10


class Activity(Protocol):
    """Something that goes on until it is stopped."""

    def stop(self) -> None:
        """Do nothing any more."""


class Watch:
    """
    Runs a line again and again.

    :param clock: for the time between
    :param period: that time, in seconds
    :param run: runs the line; returns at once. Not called while C{busy} says so.
    :param busy: whether the last run is pending, or the person does not read
    """

    def __init__(self, clock: IReactorTime, period: float, run: Callable[[], object], busy: Callable[[], bool]) -> None:
        self._clock = clock
        self._period = period
        self._run = run
        self._busy = busy
        self._timer: IDelayedCall | None = None

    def start(self) -> None:
        """Run it now, and from now on."""
        self._timer = self._clock.callLater(self._period, self.start)
        if not self._busy():
            self._run()

    def stop(self) -> None:
        """Run it no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class LogFollower:
    """
    Shows the latest entries of a monitor's log, and then those that come.

    :param clock: for the time between two looks
    :param query: executes C{query-log} with these arguments
    :param show: called with lines of text
    :param failed: called with the failure that ends it
    :param busy: whether the person does not read at present
    """

    def __init__(
        self,
        clock: IReactorTime,
        query: Callable[[Mapping[str, JSON]], Deferred[object]],
        show: Callable[[str], object],
        failed: Callable[[Failure], object],
        busy: Callable[[], bool],
    ) -> None:
        self._clock = clock
        self._query = query
        self._show = show
        self._failed = failed
        self._busy = busy
        self._timer: IDelayedCall | None = None
        self._last = 0
        self._period = LOG_PERIOD
        self._stopped = False

    def start(self) -> None:
        """Look at the log now, and from now on."""
        self._look({"limit": _CONTEXT})

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, arguments: Mapping[str, JSON]) -> None:
        self._timer = None
        if self._busy():
            self._timer = self._clock.callLater(LOG_PERIOD, self._look, arguments)
            return
        self._query(arguments).addCallbacks(self._got, self._end)

    def _got(self, entries: object) -> None:
        if self._stopped:
            return
        found = entries if isinstance(entries, list) else []
        for entry in found:
            self._show(log_line(entry))
            self._last = max(self._last, entry.get("number", 0))
        self._period = LOG_PERIOD if found else min(2 * self._period, LONGEST_LOG_PERIOD)
        if not self._stopped:
            self._timer = self._clock.callLater(self._period, self._look, {"after": self._last})

    def _end(self, failure: Failure) -> None:
        if not self._stopped:
            self._failed(failure)
