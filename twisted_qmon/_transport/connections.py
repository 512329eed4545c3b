"""
The connections of a factory: their limit, their number, and their orderly end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol as _Protocol
from twisted.logger import Logger

from twisted_qmon._log_publisher import publish
from twisted_qmon._transport.connection import LINGER

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime

__all__ = ["Counters", "EndableConnection", "EndableFactory", "Refused"]


class Counters(msgspec.Struct):
    """
    What has happened at one factory.

    :ivar accepted: connections taken
    :ivar refused: connections turned away at the limit
    :ivar slow: clients disconnected because they did not read their events
    :ivar lost: events dropped for clients that did not read (C{drop-oldest})
    :ivar vanished: clients found gone while they were not being read
    :ivar idle: clients disconnected because they sent nothing
    :ivar handshakes: clients disconnected because they did not complete the TLS handshake in time
    :ivar cut_off: connections aborted because the client did not read the rest
    """

    accepted: int = 0
    refused: int = 0
    slow: int = 0
    lost: int = 0
    vanished: int = 0
    idle: int = 0
    handshakes: int = 0
    cut_off: int = 0


class Refused(_Protocol):
    """
    A connection that is closed at once.

    Not C{None} from C{buildProtocol}, though Twisted allows it: a factory that wraps this one (TLS, policies) does not.
    """

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class EndableConnection(Protocol):
    """What a factory needs of a connection to end it."""

    def finish(self) -> None:
        """End once everything has been said."""

    def abort(self) -> None:
        """End now."""


_C = TypeVar("_C", bound=EndableConnection)


class EndableFactory(Generic[_C]):
    """
    The part of a factory that limits its connections and ends them. A class has it before Twisted's own factory among its bases.

    :ivar max_connections: connections served at a time; more are closed at once
    :ivar counters: what has happened here
    :ivar connections: those that there are
    :ivar ending: everything has been said, and the connections are about to be closed: no more input is asked for
    """

    _log = Logger(observer=publish)

    def _limit(self, max_connections: int) -> None:
        """:raise ValueError: when the limit is out of range"""
        if max_connections < 1:
            raise ValueError(f"max_connections is at least 1, not {max_connections}")
        self.max_connections = max_connections
        self.counters = Counters()
        self.connections: set[_C] = set()
        self.ending = False
        self._closing: Deferred[None] | None = None

    @property
    def clock(self) -> IReactorTime:
        """The clock of time limits."""
        raise NotImplementedError

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """See Twisted."""
        if self._closing is not None or len(self.connections) >= self.max_connections:
            self.connectionLimitExceeded(addr)
            return Refused()
        return super().buildProtocol(addr)  # type: ignore[misc]

    def connectionLimitExceeded(self, addr: IAddress | None) -> None:
        """One connection more than C{max_connections}, or one that comes while they are being ended: it is closed at once."""
        self.counters.refused += 1
        self._log.warn("refusing a connection from {peer}: {count} are open", peer=addr, count=len(self.connections))

    def connection_made(self, connection: _C) -> None:
        """A connection begins."""
        self.counters.accepted += 1
        self.connections.add(connection)

    def connection_lost(self, connection: _C) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections and self._closing is not None and not self._closing.called:
            self._closing.callback(None)

    def close(self, linger: float = LINGER) -> Deferred[None]:
        """
        End all connections: what is queued for a client still reaches it if it reads.

        :param linger: seconds that clients have for that
        :return: fires when no connection is left
        """
        if not self.connections:
            return succeed(None)
        closing: Deferred[None] = Deferred()
        self._closing = closing
        timer = self.clock.callLater(linger, self.abort)
        for connection in list(self.connections):
            connection.finish()

        def closed(_: None) -> None:
            self._closing = None
            if timer.active():
                timer.cancel()

        return closing.addCallback(closed)

    def abort(self) -> None:
        """End all connections now, whether their clients have read the rest or not."""
        for connection in list(self.connections):
            connection.abort()
