"""
The watchdog's thread, as a service.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger, LogLevel

from twisted_qmon._log_publisher import diverted, publish
from twisted_qmon.watchdog.hand_over import HandOver
from twisted_qmon.watchdog.stall_watch import StallWatch

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.providers.process.stalls import Pulse, Stalls
    from twisted_qmon.watchdog.doors import Doors, MakeDoor
    from twisted_qmon.watchdog.reactor import WatchdogReactor

__all__ = ["THREAD_NAME", "Watchdog", "unusable"]

#: The name of the thread.
THREAD_NAME = "qmon-watchdog"

_log = Logger(observer=publish)


def unusable() -> str | None:
    """:return: why there can be no watchdog in this process; C{None}: there can"""
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    if not hasattr(ReactorBase, "_registerAsIOThread"):
        return "with this version of Twisted its thread would be taken for the reactor's"
    return None


class Watchdog(Service):
    """
    Runs the thread while it runs: binds the doors in C{privilegedStartService}, and starts the thread in C{startService}, which
    comes after a daemon's fork. Each start has a new reactor, monitor and thread.

    :param reactor: the main reactor
    :param monitor: the main monitor
    :param pulse: of the main reactor
    :param stalls: what keeps the stalls; C{None}: none are looked for
    :param doors: what makes the doors
    """

    name = "watchdog"

    def __init__(
        self,
        reactor: object,
        monitor: Monitor,
        pulse: Pulse,
        stalls: Stalls | None,
        doors: Sequence[MakeDoor] = (),
    ) -> None:
        self._main = reactor
        self._monitor = monitor
        self._pulse = pulse
        self._stalls = stalls
        self._makers = doors
        self._reactor: WatchdogReactor | None = None
        self._doors: Doors | None = None
        self._thread: threading.Thread | None = None
        self._ended: Deferred[None] | None = None
        self._prepared = False

    # -- in the main thread

    def privilegedStartService(self) -> None:
        """
        Make the reactor, and listen.

        :raise SystemExit: when it can't listen; see L{Listener<twisted_qmon.service.Listener>}
        """
        self._prepared = True
        if self._reactor is not None or not IReactorFromThreads.providedBy(self._main):
            # A reactor of another kind is that of a test, and never stuck.
            return
        reason = unusable()
        if reason is not None:
            level = LogLevel.warn if self._makers else LogLevel.info
            _log.emit(level, "there is no watchdog: {reason}", reason=reason)
            return
        from twisted_qmon.watchdog.reactor import WatchdogReactor

        reactor = WatchdogReactor()
        try:
            if self._makers:
                from twisted_qmon.watchdog.doors import Doors

                self._doors = Doors(reactor, self._monitor, self._makers)
                self._doors.open()
        except BaseException:
            reactor.close()
            self._doors = None
            raise
        self._reactor = reactor

    def startService(self) -> None:
        """Start the thread."""
        super().startService()
        if not self._prepared:
            self.privilegedStartService()
        reactor = self._reactor
        if reactor is None or self._thread is not None:
            return
        watch = None if self._stalls is None else StallWatch(self._stalls, self._pulse)
        ended = self._ended = Deferred()
        # A process that ends without stopping its services does not wait for it.
        thread = threading.Thread(target=self._run, args=(reactor, watch, ended), name=THREAD_NAME, daemon=True)
        try:
            thread.start()
        except RuntimeError as e:
            _log.warn("there is no watchdog: {reason}", reason=str(e))
            self._give_back()
            return
        self._thread = thread
        if self._stalls is not None:
            self._stalls.start()
        if self._doors is not None:
            self._monitor.guard.on_reload.append(self.reread)

    def stopService(self) -> Deferred[None]:
        """
        Have the thread end: it closes what it has, also if the main reactor does not run meanwhile.

        :return: fires when the thread has ended
        """
        super().stopService()
        self._prepared = False
        reactor, ended = self._reactor, self._ended
        if reactor is None or self._thread is None or ended is None:
            self._give_back()
            return succeed(None)
        if self._stalls is not None:
            self._stalls.stop()
        with suppress(ValueError):
            self._monitor.guard.on_reload.remove(self.reread)
        doors, self._reactor, self._doors, self._thread, self._ended = self._doors, None, None, None, None
        reactor.callFromThread(_end, reactor, doors)
        return ended

    def reread(self) -> None:
        """The access rules have been read again, or files are to be opened again."""
        if self._reactor is not None and self._thread is not None and self._doors is not None:
            self._reactor.callFromThread(self._doors.reread)

    def _give_back(self) -> None:
        reactor, self._reactor, self._doors, self._ended = self._reactor, None, None, None
        if reactor is not None:
            reactor.close()

    # -- in its own

    def _run(self, reactor: WatchdogReactor, watch: StallWatch | None, ended: Deferred[None]) -> None:
        main = IReactorFromThreads(self._main)
        with diverted(HandOver(main)):
            if watch is not None:
                reactor.on_wake = watch.wake
                reactor.callWhenRunning(_look, reactor, watch)
            reactor.run_here()
        main.callFromThread(_joined, threading.current_thread(), ended)


def _look(reactor: WatchdogReactor, watch: StallWatch) -> None:
    wait = 1.0
    try:
        wait = watch.look()
    finally:
        reactor.callLater(wait, _look, reactor, watch)


def _end(reactor: WatchdogReactor, doors: Doors | None) -> None:
    ending = succeed(None) if doors is None else Deferred.fromCoroutine(doors.close())
    ending.addBoth(lambda _: reactor.stop())


def _joined(thread: threading.Thread, ended: Deferred[None]) -> None:
    # It has done all that it does.
    thread.join()
    ended.callback(None)
