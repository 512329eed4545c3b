"""
What QMP's and HMP's factories share: their limits, and what a connection asks them for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypedDict

from twisted.internet.protocol import ServerFactory

from twisted_qmon._reactor import global_reactor
from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.connections import EndableFactory
from twisted_qmon._transport.hang_up_watch import PeerWatch
from twisted_qmon._transport.write_queue import MAX_QUEUED, SLOW_CLIENT
from twisted_qmon.info import Level

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon._transport.connection import ConnectionMixin
    from twisted_qmon.interfaces import IMonitor

__all__ = ["MAX_CONNECTIONS", "READY_TIMEOUT", "Limits", "MonitorFactory", "ServedFactory"]

#: Connections that one factory (one endpoint) serves at a time.
MAX_CONNECTIONS = 4096

#: Seconds that a greeting waits for a monitor that is not ready: the QEMU behind it is not connected yet.
READY_TIMEOUT = 2.0


class Limits(TypedDict, total=False):
    """The limits of a factory, and their clock: the keywords of L{MonitorFactory}, which those of QMP and HMP pass on to it."""

    clock: IReactorTime | None
    max_connections: int
    max_queued: int
    slow_client: str
    idle_timeout: float | None
    ready_timeout: float
    level: Level | str


class ServedFactory(Protocol):
    """
    What the service needs of a factory that it serves at an endpoint: L{MonitorFactory}, or another server's.

    :ivar kind: what it serves, in the names of its service (C{'qmp'})
    :ivar level: the most that a client may do here
    :ivar endpoint: what rules know the endpoint by; set by the service
    :ivar ending: everything has been said, and the connections are about to be closed
    """

    kind: str
    level: Level
    endpoint: str
    ending: bool

    @property
    def is_restricted(self) -> bool:
        """A client must show who it is before it may do anything, or rules say who may do what."""

    def close(self, linger: float = LINGER) -> Deferred[None]:
        """End all connections within so many seconds. :return: fires when there is none left"""

    def abort(self) -> None:
        """End all connections now."""


class MonitorFactory(EndableFactory["ConnectionMixin"], ServerFactory):
    """
    The part that QMP's and HMP's factories share: limits, counters, and an orderly end.

    :param monitor: what the connections talk to
    :param clock: for time limits; by default the monitor's
    :param max_connections: connections served at a time; more are closed at once
    :param max_queued: bytes of events that wait for a client that does not read
    :param slow_client: what happens beyond that: C{"disconnect"} or C{"drop-oldest"}
    :param idle_timeout: seconds without input, with nothing pending, after which a client is disconnected; C{None}: never
    :param ready_timeout: seconds that the greeting waits for a monitor that is not ready; 0: it does not
    :param level: the most that a client may do here: C{"observe"}, C{"operate"} or C{"admin"}; rules may give it less
    :raise ValueError: when a limit is out of range, or the level is none, or less than admin in front of a monitor elsewhere
    :ivar endpoint: what rules know the endpoint by (C{"unix:ops.sock"}); empty if it was not served by its description
    """

    noisy = False
    kind = "monitor"

    def __init__(
        self,
        monitor: IMonitor,
        *,
        clock: IReactorTime | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_queued: int = MAX_QUEUED,
        slow_client: str = "disconnect",
        idle_timeout: float | None = None,
        ready_timeout: float = READY_TIMEOUT,
        level: Level | str = Level.ADMIN,
    ) -> None:
        if slow_client not in SLOW_CLIENT:
            raise ValueError(f"slow_client is one of {', '.join(SLOW_CLIENT)}, not {slow_client!r}")
        if max_queued < 0:
            raise ValueError(f"max_queued is at least 0, not {max_queued}")
        if ready_timeout < 0:
            raise ValueError(f"ready_timeout is at least 0, not {ready_timeout}")
        self.level = Level.of(level)
        if self.level is not Level.ADMIN and not hasattr(monitor, "join"):
            raise ValueError(f"level={level}: the monitor is behind a connection, and decides itself")
        self.endpoint = ""
        self.monitor = monitor
        self._limit(max_connections)
        self.max_queued = max_queued
        self.slow_client = slow_client
        self.idle_timeout = idle_timeout
        self.ready_timeout = ready_timeout
        self.connections: set[ConnectionMixin] = set()
        self._clock = clock
        self.peers = PeerWatch(lambda: self.clock)

    @property
    def clock(self) -> IReactorTime:
        """The clock of time limits: its own, the monitor's, or the global reactor."""
        if self._clock is not None:
            return self._clock
        clock: IReactorTime = getattr(self.monitor, "clock", None) or global_reactor()
        return clock

    def when_ready(self) -> Deferred[None] | None:
        """
        :return: C{None} if a greeting need not wait; else a Deferred that fires when the monitor is ready, or fails when it was
            not in time
        """
        # A remote monitor is ready when it is there.
        ready = getattr(self.monitor, "ready", None)
        waiting: Deferred[None] | None = ready() if ready is not None and self.ready_timeout else None
        if waiting is None or waiting.called:
            return None
        return waiting.addTimeout(self.ready_timeout, self.clock)

    @property
    def is_restricted(self) -> bool:
        """Rules say who may do what here, or each client has a certificate."""
        guard = getattr(self.monitor, "guard", None)
        return self.endpoint.startswith("mtls:") or (guard is not None and guard.access is not None)

    def joined(self, connection: ConnectionMixin) -> bool:
        """A connection is established. :return: whether its client may do anything here"""
        join = getattr(self.monitor, "join", None)
        if join is None:
            # A monitor elsewhere decides itself.
            connection.standing.judge(None)
            return True
        return bool(join(connection))

    def connection_lost(self, connection: ConnectionMixin) -> None:
        """A connection has ended."""
        part = getattr(self.monitor, "part", None)
        if part is not None:
            part(connection)
        self.connections.discard(connection)
        if not self.connections:
            self.peers.stop()
        super().connection_lost(connection)
