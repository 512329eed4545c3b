"""
The words that are about a person's session itself: C{exit}, C{events on}, C{log follow}, C{watch}. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from twisted_qmon.hmp.commands.command_index import SESSION, Names
from twisted_qmon.hmp.event_text import event_line
from twisted_qmon.hmp.follow import SHORTEST_PERIOD, WATCH_PERIOD, Activity, LogFollower, Watch
from twisted_qmon.hmp.lines.expression import LineError
from twisted_qmon.hmp.notices import NOTICES
from twisted_qmon.info import JSON, Level

if TYPE_CHECKING:
    from twisted_qmon.interfaces import ICaller, IMonitor

__all__ = ["SessionWords"]

_WATCH = re.compile(r"\s*watch(?:\s+(?P<seconds>[0-9]+(?:\.[0-9]*)?|\.[0-9]+))?(?:\s+(?P<line>\S.*))?$", re.DOTALL)


class SessionWords:
    """
    What the words do, and what of it goes on.

    :param monitor: whose events and log
    :param caller: on whose behalf
    :param clock: for what is repeated; without one nothing can be
    :param leave: called when the person wants to leave; C{None}: there is no way
    :param show: called with lines to print where no prompt is
    :param announce: called with lines that were not asked for, to be printed above a new prompt if the person is at one
    :param run: runs a line as if it had been typed
    :param stalled: whether the person does not read
    :param busy: whether a command is pending, or the person does not read
    """

    def __init__(
        self,
        monitor: IMonitor,
        caller: ICaller,
        *,
        clock: IReactorTime | None,
        leave: Callable[[], object] | None,
        show: Callable[[str], object],
        announce: Callable[[str], object],
        run: Callable[[str], object],
        stalled: Callable[[], bool],
        busy: Callable[[], bool],
    ) -> None:
        self._monitor = monitor
        self._caller = caller
        self._clock = clock
        self._leave = leave
        self._show = show
        self._announce = announce
        self._run = run
        self._stalled = stalled
        self._busy = busy
        self._activity: Activity | None = None
        self._no_events: Callable[[], None] | None = None
        # How many events were not printed because the person did not read.
        self._missed = 0

    @property
    def following(self) -> bool:
        """A line is repeated, or the log is followed: there is no prompt until that is stopped."""
        return self._activity is not None

    @property
    def shows_events(self) -> bool:
        """Events are printed as they happen."""
        return self._no_events is not None

    def stop(self) -> None:
        """End what goes on at the prompt."""
        activity, self._activity = self._activity, None
        if activity is not None:
            activity.stop()

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._events_off()

    def run(self, text: str, names: Names) -> bool:
        """
        :param text: a line that begins with one of the words
        :return: whether it has one of their exact forms, and was run
        :raise LineError: when what stands behind C{watch} can't be repeated
        """
        word, *more = text.split()
        if word in ("exit", "logout") and not more and self._leave is not None:
            self._leave()
        elif word == "events" and more[:1] == ["on"]:
            self._events_on(" ".join(more[1:]).replace(",", " ").split())
        elif word == "events" and more == ["off"]:
            self._events_off()
        elif word == "log" and more == ["follow"]:
            self._follow_log(names)
        elif word == "watch":
            self._watch(text, names)
        else:
            return False
        return True

    # -- events

    def _events_on(self, names: Sequence[str]) -> None:
        self._events_off()
        self._no_events = self._monitor.subscribe(self._happened, names or None)

    def _events_off(self) -> None:
        no_events, self._no_events = self._no_events, None
        if no_events is not None:
            no_events()

    def _happened(self, event: Mapping[str, JSON]) -> None:
        # A person is told of the notices in other words, asked for or not. A remote monitor sends what its client may know.
        if event["event"] in NOTICES or getattr(event, "level", Level.OBSERVE) > self._caller.level:
            return
        if self._stalled():
            self._missed += 1
            return
        missed, self._missed = self._missed, 0
        line = event_line(event)
        self._announce(f"({missed:,} events before this one were not shown)\n{line}" if missed else line)

    # -- what goes on

    def _follow_log(self, names: Names) -> None:
        if "query-log" not in names.commands:
            raise LineError("log follow: this monitor has no query-log")

        def query(arguments: Mapping[str, JSON]) -> Deferred[object]:
            return self._monitor.execute("query-log", arguments, caller=self._caller)

        follower = LogFollower(self._timed("log follow"), query, self._show, self._ended, self._busy)
        self._activity = follower
        follower.start()

    def _timed(self, word: str) -> IReactorTime:
        if self._clock is None:
            raise LineError(f"{word}: this session has no clock")
        return self._clock

    def _ended(self, failure: Failure) -> None:
        self.stop()
        self._announce(f"Error: {failure.getErrorMessage()}")

    def _watch(self, text: str, names: Names) -> None:
        match = _WATCH.match(text)
        if match is None or match["line"] is None:
            raise LineError('watch: line expected\nTry "help watch" for more information')
        period = WATCH_PERIOD if match["seconds"] is None else float(match["seconds"])
        if not SHORTEST_PERIOD <= period < 1e6:
            raise LineError(f"watch: seconds: at least {SHORTEST_PERIOD:g} expected, got '{match['seconds']}'")
        line: str = match["line"]
        first = line.split()[0]
        entry = names.find(first)
        if entry is not None and (entry in SESSION or entry.info.confirm):
            raise LineError(f"watch: '{first}' can't be repeated")
        watch = Watch(self._timed("watch"), period, lambda: self._run(line), self._busy)
        self._activity = watch
        watch.start()
