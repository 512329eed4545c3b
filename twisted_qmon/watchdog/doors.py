"""
What the watchdog's thread listens at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from twisted_qmon._log_publisher import publish
from twisted_qmon.watchdog.monitor import WatchdogMonitor

if TYPE_CHECKING:
    from twisted_qmon._transport.factory import ServedFactory
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.watchdog.reactor import WatchdogReactor

__all__ = ["LINGER", "Door", "Doors", "MakeDoor"]

#: Seconds that clients of the watchdog have to read the rest when it ends.
LINGER = 1.0


class Door(Protocol):
    """
    Serves connections at one endpoint: a L{Listener<twisted_qmon.service.Listener>}.

    :ivar factory: what serves them
    """

    factory: ServedFactory

    def privilegedStartService(self) -> object:
        """Listen."""

    def stopService(self) -> Deferred[None]:
        """Listen no more. :return: fires when that is so"""


#: Makes a door of the watchdog: called with its reactor and its monitor.
MakeDoor: TypeAlias = "Callable[[WatchdogReactor, Monitor], Door]"


class Doors:
    """
    The doors of one run of the thread.

    :param reactor: the thread's
    :param main: the main monitor
    :param makers: what makes them
    """

    _log = Logger(observer=publish)

    def __init__(self, reactor: WatchdogReactor, main: Monitor, makers: Sequence[MakeDoor]) -> None:
        self._reactor = reactor
        self._monitor = WatchdogMonitor(main, reactor)
        self._doors = [make(reactor, self._monitor) for make in makers]

    def open(self) -> None:
        """
        Listen. Called before the thread runs.

        :raise SystemExit: see L{Listener<twisted_qmon.service.Listener>}
        """
        for door in self._doors:
            door.privilegedStartService()
        self._reactor.be_quiet()

    async def close(self) -> None:
        """End all connections, and listen no more. Called in the thread."""
        ends = [door.stopService() for door in self._doors]
        ends += [door.factory.close(LINGER) for door in self._doors]
        for succeeded, outcome in await DeferredList(ends, consumeErrors=True):
            if not succeeded:
                self._log.failure("while the watchdog ends", outcome)
        self._monitor.close()

    def reread(self) -> None:
        """See L{WatchdogMonitor.reread}. Called in the thread."""
        self._monitor.reread()
