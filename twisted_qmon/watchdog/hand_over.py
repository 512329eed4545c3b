"""
Log events on their way from a thread to the main reactor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from zope.interface import implementer

from twisted_qmon._log_publisher import publish

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorFromThreads

__all__ = ["MAX_HANDED_OVER", "HandOver"]

#: How many log events wait for a main reactor that does not run; beyond it the oldest are lost, and counted.
MAX_HANDED_OVER = 1000

_log = Logger(observer=publish)


@implementer(ILogObserver)
class HandOver:
    """
    Takes log events in one thread, and has them published in that of a reactor.

    :param reactor: the reactor
    :param publish: called with each of them, in its thread
    :ivar lost: how many were lost because there were too many
    """

    def __init__(
        self, reactor: IReactorFromThreads, publish: Callable[[LogEvent], object] = globalLogPublisher
    ) -> None:
        self.lost = 0
        self._told = 0
        self._reactor = reactor
        self._publish = publish
        self._events: deque[LogEvent] = deque(maxlen=MAX_HANDED_OVER)
        self._called = False

    def __call__(self, event: LogEvent) -> None:
        if len(self._events) == MAX_HANDED_OVER:
            self.lost += 1
        self._events.append(event)
        if not self._called:
            self._called = True
            self._reactor.callFromThread(self._take)

    def _take(self) -> None:
        # First: an event that comes from here on is taken now, or has this called again.
        self._called = False
        lost = self.lost
        if lost > self._told:
            _log.warn("{count} log events of the watchdog are lost: the reactor did not run", count=lost - self._told)
            self._told = lost
        with suppress(IndexError):
            while True:
                self._publish(self._events.popleft())
