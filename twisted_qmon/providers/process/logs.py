"""
The last log events, and those that go out as C{LOG}.
"""

from __future__ import annotations

import enum
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    LogPublisher,
    PredicateResult,
    eventAsText,
)
from zope.interface import implementer

from twisted_qmon.errors import GenericError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall

__all__ = [
    "EMIT_AT_ONCE",
    "EMIT_PERIOD",
    "KEEP",
    "KEEP_WARNINGS",
    "LEVELS",
    "MAX_ERRORS",
    "MAX_NAMESPACE",
    "MAX_NAMESPACES",
    "MAX_TEXT",
    "TELL",
    "Level",
    "LevelInfo",
    "LogInfo",
    "LogKeeper",
    "Timestamp",
]

#: How many log events are kept for C{query-log}.
KEEP = 1000

#: How many of them from the level warn upwards are kept, also when later ones have taken the place of all others: a line for each
#: connection must not be the end of what went wrong.
KEEP_WARNINGS = 200

#: Characters of a log event's text that are kept.
MAX_TEXT = 8192

#: How many errors L{LogKeeper.errors} counts at most.
MAX_ERRORS = 10_000

#: Seconds between two batches of C{LOG} events.
EMIT_PERIOD = 0.25

#: How many C{LOG} events go out in one batch; of more, the latest. The next one says how many were left out.
EMIT_AT_ONCE = 50

#: Characters of the longest namespace that may have a level of its own.
MAX_NAMESPACE = 200

#: How many namespaces may have a level of their own.
MAX_NAMESPACES = 1000


class Level(enum.Enum):
    """The levels of L{twisted.logger.LogLevel}, lowest first."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


#: The same, in their order.
LEVELS = tuple(Level)

_ERRORS = frozenset({LogLevel.error, LogLevel.critical})
_WARNINGS = frozenset(LEVELS[LEVELS.index(Level.WARN) :])


class Timestamp(TypedDict):
    """A time, as QMP's events have it: since the epoch."""

    seconds: int
    microseconds: int


#: From which level log events go out as C{LOG} unless C{set-log-level} says otherwise. Every client gets them, asked or not: a
#: line for each page that a web server serves is not what it came for.
TELL = Level.WARN


class LogInfo(msgspec.Struct):
    """
    One log event.

    :ivar number: each that is kept has the next number
    :ivar timestamp: when it was logged
    :ivar level: how grave it is
    :ivar namespace: where it comes from (C{"twisted.web.server"})
    :ivar text: its text, formatted, with the traceback if it has one; at most L{MAX_TEXT} characters
    """

    number: int
    timestamp: Timestamp
    level: Level
    namespace: str
    text: str


class LevelInfo(msgspec.Struct):
    """
    The level from which log events of a namespace are kept.

    :ivar namespace: it and what is below it; empty for all that have no level of their own
    """

    namespace: str
    level: Level


def _timestamp(event: LogEvent) -> Timestamp:
    seconds, microseconds = divmod(round(event.get("log_time", 0.0) * 1_000_000), 1_000_000)
    return {"seconds": seconds, "microseconds": microseconds}


def make_info(event: LogEvent, number: int) -> LogInfo:
    """:return: the log event as plain data, its text formatted now: what it speaks of may change, and is not kept alive"""
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 3] + "..."
    namespace = str(event["log_namespace"])
    return LogInfo(number, _timestamp(event), Level(event["log_level"].name), _sayable(namespace), _sayable(text))


def _sayable(text: str) -> str:
    # The name of a file that is no UTF-8 comes as lone surrogates, which JSON has no way to say.
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


@implementer(ILogObserver)
class _Beginning:
    """
    A log observer on behalf of a keeper that has not been started yet. The publisher holds this, and not the keeper: one that
    is never started goes like any other object.
    """

    def __init__(self, keeper: LogKeeper, publisher: LogPublisher) -> None:
        self._keeper = weakref.ref(keeper, self.remove)
        self._publisher = publisher
        publisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        keeper = self._keeper()
        if keeper is not None:
            keeper.keep(event)

    def remove(self, _: object = None) -> None:
        self._publisher.removeObserver(self)


@implementer(ILogObserver)
class LogKeeper:
    """
    A log observer that keeps the last events, and hands them on as C{LOG} events in batches.

    It looks at no more than the level filter lets through, may be called in any thread, and never emits what was logged while it
    was emitting: that would not end.

    :param publisher: where the log events come from
    :param clock: for the batches
    :param emit: called in the reactor's thread with the data of each C{LOG} event, and when it was logged
    :param keep: how many are kept
    :param tell: from which level they go out, until L{set_level} says otherwise
    """

    def __init__(
        self,
        publisher: LogPublisher,
        clock: Any,
        emit: Callable[[dict[str, Any], Mapping[str, int]], None],
        keep: int = KEEP,
        tell: Level = TELL,
    ) -> None:
        self._publisher = publisher
        self._clock = clock
        self._emit = emit
        self._levels: dict[str, Level] = {"": Level.INFO}
        self._filter = LogLevelFilterPredicate(LogLevel.info)
        self._telling = LogLevelFilterPredicate(LogLevel.levelWithName(tell.value))
        self._kept: deque[LogInfo] = deque(maxlen=keep)
        # The last warnings and errors among them.
        self._warnings: deque[LogInfo] = deque(maxlen=KEEP_WARNINGS)
        self._write_queue: deque[LogInfo] = deque()
        # When the last errors were logged, whatever the levels are.
        self._errors: deque[float] = deque(maxlen=MAX_ERRORS)
        self._numbers = count(1)
        self._suppressed = 0
        self._lock = threading.Lock()
        self._timer: IDelayedCall | None = None
        self._waiting = False
        self._emitting = False
        self._thread = 0
        self._running = False
        self._beginning: _Beginning | None = None

    def prepare(self) -> None:
        """Keep from now on, before L{start}. Nothing goes out until then."""
        if self._beginning is None and not self._running:
            self._beginning = _Beginning(self, self._publisher)

    def start(self) -> None:
        """Keep from now on. Called in the reactor's thread; again, if that is another one now."""
        self._thread = threading.get_ident()
        if not self._running:
            self._running = True
            if self._beginning is not None:
                self._beginning.remove()
                self._beginning = None
                self._number_again()
            with self._lock:
                self._write_queue.clear()
                self._waiting = False
            self._publisher.addObserver(self)

    def _number_again(self) -> None:
        """
        Each event once, in the order of time. When logging begins, Twisted publishes again what was logged before: what came
        while there was no keeper, and what this one has already.
        """
        once: dict[tuple[Any, ...], LogInfo] = {}
        for info in self._kept:
            once.setdefault((*info.timestamp.values(), info.level, info.namespace, info.text), info)
        self._kept.clear()
        self._warnings.clear()
        self._numbers = count(1)
        for info in sorted(once.values(), key=lambda info: tuple(info.timestamp.values())):
            info.number = next(self._numbers)
            self._add(info)

    def stop(self) -> None:
        """Keep no more. What is kept stays; what waits to be emitted is not."""
        if self._running:
            self._running = False
            self._publisher.removeObserver(self)
            timer, self._timer = self._timer, None
            if timer is not None and timer.active():
                timer.cancel()

    # -- what comes in

    def keep(self, event: LogEvent) -> LogInfo | None:
        """
        Keep an event that the level filter lets through.

        :return: what is kept of it
        """
        if self._filter(event) is PredicateResult.no or _about_reading(event):
            return None
        info = make_info(event, next(self._numbers))
        self._add(info)
        return info

    def _add(self, info: LogInfo) -> None:
        self._kept.append(info)
        if info.level in _WARNINGS:
            self._warnings.append(info)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") in _ERRORS:
            self._errors.append(event.get("log_time", 0.0))
        info = self.keep(event)
        if info is None or self._telling(event) is PredicateResult.no:
            return
        in_reactor_thread = threading.get_ident() == self._thread
        if in_reactor_thread and (self._emitting or _about_ourselves(info)):
            return
        with self._lock:
            self._write_queue.append(info)
            if len(self._write_queue) > EMIT_AT_ONCE:
                self._write_queue.popleft()
                self._suppressed += 1
            if self._waiting:
                return
            self._waiting = True
        if in_reactor_thread:
            self._schedule(0)
        else:
            self._clock.callFromThread(self._schedule, 0)

    # -- what goes out

    def _schedule(self, delay: float) -> None:
        if self._running:
            self._timer = self._clock.callLater(delay, self._send)

    def _send(self) -> None:
        self._timer = None
        with self._lock:
            batch = list(self._write_queue)
            self._write_queue.clear()
            suppressed, self._suppressed = self._suppressed, 0
            if not batch:
                self._waiting = False
                return
        self._emitting = True
        try:
            for info in batch:
                # The traceback is in query-log; an event goes to every client.
                first = info.text.partition("\n")[0]
                data = {"level": info.level, "namespace": info.namespace, "text": first}
                if suppressed:
                    data["suppressed"], suppressed = suppressed, 0
                self._emit(data, {"seconds": info.timestamp["seconds"], "microseconds": info.timestamp["microseconds"]})
        finally:
            self._emitting = False
            # A period in which nothing comes ends it.
            self._schedule(EMIT_PERIOD)

    # -- what is asked

    def last(
        self, limit: int | None, level: Level | None, namespace: str | None, part: str | None = None, after: int = 0
    ) -> list[LogInfo]:
        """
        :param limit: at most so many, the latest
        :param level: only from this one upwards
        :param namespace: only of this one and what is below it
        :param part: only what has this text
        :param after: only those with a number above this one
        :return: what is kept, oldest first
        """
        # In this order: what leaves the second meanwhile is still in the first.
        warnings, kept = self._warnings.copy(), self._kept.copy()
        first = kept[0].number if kept else 0
        found = [info for info in (*(each for each in warnings if each.number < first), *kept) if info.number > after]
        if level is not None:
            found = [info for info in found if LEVELS.index(info.level) >= LEVELS.index(level)]
        if namespace:
            below = namespace + "."
            found = [info for info in found if info.namespace == namespace or info.namespace.startswith(below)]
        if part:
            found = [info for info in found if part in info.text]
        return found if limit is None else found[max(0, len(found) - limit) :]

    def errors(self, since: float) -> int:
        """
        :param since: seconds since the epoch
        :return: how many errors were logged since then, whatever the levels are; at most L{MAX_ERRORS}
        """
        return sum(time > since for time in self._errors.copy())

    def set_level(self, level: Level, namespace: str) -> None:
        """
        Keep, and tell, what a namespace logs from this level upwards, from now on.

        :param namespace: it and what is below it; empty for all that have no level of their own
        :raise GenericError: when it is longer than L{MAX_NAMESPACE}, or L{MAX_NAMESPACES} have one
        """
        if len(namespace) > MAX_NAMESPACE:
            raise GenericError(f"Parameter 'namespace' has more than {MAX_NAMESPACE} characters")
        if namespace not in self._levels and len(self._levels) >= MAX_NAMESPACES:
            raise GenericError(f"More than {MAX_NAMESPACES} namespaces can't have a level of their own")
        self._levels[namespace] = level
        for predicate in (self._filter, self._telling):
            predicate.setLogLevelForNamespace(namespace, LogLevel.levelWithName(level.value))

    def levels(self) -> list[LevelInfo]:
        """:return: the levels that were set; the one for everything else first"""
        return [LevelInfo(namespace, level) for namespace, level in sorted(self._levels.copy().items())]


def _about_reading(event: LogEvent) -> bool:
    """The audit's line about a look at the log is not kept in it: a client that follows the log would find one at each look."""
    is_audit = event.get("log_namespace") == "twisted_qmon.audit" and event.get("log_level") is LogLevel.info
    return is_audit and event.get("command") == "query-log"


def _about_ourselves(info: LogInfo) -> bool:
    """
    What the monitor says of its own work at the debug level may be about delivering the last C{LOG}: each would bring the next.
    """
    return info.level is Level.DEBUG and (info.namespace + ".").startswith("twisted_qmon.")
