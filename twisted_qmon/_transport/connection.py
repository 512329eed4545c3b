"""
What both protocols need of a connection: a bounded write queue, suspended reading, a look at whether the peer is still there,
and a factory that counts its connections and ends them.

Bytes only; no word of QMP or HMP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._text import printable
from twisted_qmon._transport.hang_up import PeerWatch
from twisted_qmon._transport.write_queue import MAX_QUEUED, SLOW_CLIENT, WriteQueue

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime

    from twisted_qmon.core.monitor import Monitor

__all__ = ["LINGER", "MAX_CONNECTIONS", "ConnectionFactory", "ConnectionMixin", "Counters", "MonitorFactory", "pusher"]

#: Connections that one factory (one endpoint) serves at a time.
MAX_CONNECTIONS = 4096

#: Seconds that a client has to read the rest, once its connection is to be closed from this side.
LINGER = 5.0

_serial = count(1)


@dataclass
class Counters:
    """
    What has happened at one factory.

    :ivar accepted: connections taken
    :ivar refused: connections turned away at the limit
    :ivar slow: clients disconnected because they did not read their events
    :ivar lost: events dropped for clients that did not read (C{drop-oldest})
    :ivar vanished: clients found gone while they were not being read
    :ivar idle: clients disconnected because they sent nothing
    """

    accepted: int = 0
    refused: int = 0
    slow: int = 0
    lost: int = 0
    vanished: int = 0
    idle: int = 0


class ConnectionFactory(Protocol):
    """What a connection needs of its factory: see L{MonitorFactory}. C{kind} is the first part of the connections' names."""

    kind: str
    max_queued: int
    slow_client: str
    idle_timeout: float | None
    counters: Counters
    peers: PeerWatch

    @property
    def clock(self) -> IReactorTime:
        """The clock of time limits."""

    def connection_made(self, connection: ConnectionMixin) -> None:
        """A connection begins."""

    def connection_lost(self, connection: ConnectionMixin) -> None:
        """A connection has ended."""


class MonitorFactory(ServerFactory):
    """
    The part that QMP's and HMP's factories share: limits, counters, and an orderly end.

    :param monitor: what the connections talk to
    :param clock: for time limits; by default the monitor's
    :param max_connections: connections served at a time; more are closed at once
    :param max_queued: bytes of events that wait for a client that does not read
    :param slow_client: what happens beyond that: C{"disconnect"} or C{"drop-oldest"}
    :param idle_timeout: seconds without input, with nothing pending, after which a client is disconnected; C{None}: never
    :raise ValueError: when a limit makes no sense
    :ivar counters: what has happened here
    :ivar ending: everything has been said, and the connections are about to be closed: nobody is asked for more
    """

    noisy = False
    kind = "monitor"
    _log = Logger()

    def __init__(
        self,
        monitor: Monitor,
        *,
        clock: IReactorTime | None = None,
        max_connections: int = MAX_CONNECTIONS,
        max_queued: int = MAX_QUEUED,
        slow_client: str = "disconnect",
        idle_timeout: float | None = None,
    ) -> None:
        if slow_client not in SLOW_CLIENT:
            raise ValueError(f"slow_client is one of {', '.join(SLOW_CLIENT)}, not {slow_client!r}")
        if max_connections < 1 or max_queued < 0:
            raise ValueError("a limit of connections is at least 1, one of queued bytes at least 0")
        self.monitor = monitor
        self.max_connections = max_connections
        self.max_queued = max_queued
        self.slow_client = slow_client
        self.idle_timeout = idle_timeout
        self.counters = Counters()
        self.connections: set[Any] = set()
        self._clock = clock
        self.ending = False
        self.peers = PeerWatch(lambda: self.clock)
        self._closing: Deferred[None] | None = None

    @property
    def clock(self) -> IReactorTime:
        """The clock of time limits."""
        return self.monitor.clock if self._clock is None else self._clock

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._closing is not None or len(self.connections) >= self.max_connections:
            self.connectionLimitExceeded(addr)
            return None
        return super().buildProtocol(addr)

    def connectionLimitExceeded(self, addr: Any) -> None:
        """One connection more than C{max_connections}, or one that comes while they are being ended: it is closed at once."""
        self.counters.refused += 1
        self._log.warn("refusing a connection from {peer}: {count} are open", peer=addr, count=len(self.connections))

    def connection_made(self, connection: ConnectionMixin) -> None:
        """A connection begins."""
        self.counters.accepted += 1
        self.connections.add(connection)

    def connection_lost(self, connection: ConnectionMixin) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self.peers.stop()
            if self._closing is not None and not self._closing.called:
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
        timer = self.clock.callLater(linger, self._abort_all)
        for connection in list(self.connections):
            connection.finish()

        def closed(_: None) -> None:
            self._closing = None
            if timer.active():
                timer.cancel()

        return closing.addCallback(closed)

    def _abort_all(self) -> None:
        for connection in list(self.connections):
            connection.transport.abortConnection()


@implementer(IPushProducer)
class _WriteProducer:
    """What the transport tells about its write buffer goes to the write queue. Not the protocol itself: its pauseProducing is
    the other direction."""

    __slots__ = ("_write_queue",)

    def __init__(self, write_queue: WriteQueue) -> None:
        self._write_queue = write_queue

    def pauseProducing(self) -> None:
        """The transport's buffer is over its high-water mark."""
        self._write_queue.block()

    def resumeProducing(self) -> None:
        """It is empty again."""
        self._write_queue.unblock()

    def stopProducing(self) -> None:
        """The transport is about to tell C{connectionLost}."""


class ConnectionMixin:
    """
    The part of a protocol that looks after its connection. Mix it in before L{twisted.internet.protocol.Protocol}.

    The protocol implements C{write_blocked()} and C{write_unblocked()}: hold up, or let go on, whatever makes replies.

    :ivar name: C{"qmp-3"}: unique in the process, for logs and C{query-pending}
    :ivar peer: where the client comes from, as text
    :ivar write_queue: the queue that everything is written to
    :ivar ended: C{connectionLost} has come
    """

    factory: ConnectionFactory
    transport: Any
    write_queue: WriteQueue
    name = ""
    peer = ""
    ended = False
    _reading = True
    _half_closed = False
    _finishing = False
    _last_input = 0.0
    _idle_timer: IDelayedCall | None = None
    _log = Logger()

    def begin_connection(self) -> None:
        """For C{connectionMade}, first thing."""
        factory = self.factory
        self.name = f"{factory.kind}-{next(_serial)}"
        # Looked at for each chunk: found sooner here than in the class.
        self._finishing = False
        self._reading = True
        self.peer = _peer_text(self.transport)
        self.write_queue = WriteQueue(
            self.transport.write,
            max_queued=factory.max_queued,
            policy=factory.slow_client,
            limit_exceeded=self.queueLimitExceeded,
            blocked=self.write_blocked,
            unblocked=self._unblocked,
            push=pusher(self.transport),
        )
        self.transport.registerProducer(_WriteProducer(self.write_queue), True)
        keep_alive = getattr(self.transport, "setTcpKeepAlive", None)
        if keep_alive is not None:
            keep_alive(True)
        factory.connection_made(self)
        if factory.idle_timeout is not None:
            self._last_input = factory.clock.seconds()
            self._idle_timer = factory.clock.callLater(factory.idle_timeout, self._check_idle)

    def end_connection(self) -> None:
        """For C{connectionLost}, last thing."""
        self.ended = True
        self.write_queue.close()
        self.factory.counters.lost += self.write_queue.lost
        self.factory.peers.unwatch(self.transport)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self.factory.connection_lost(self)

    # -- reading

    def read(self, wanted: bool) -> None:
        """Let the transport read, or not; it is told only when that changes."""
        if wanted is self._reading or self.ended or self._finishing:
            return
        self._reading = wanted
        if wanted:
            if not self._half_closed:
                self.factory.peers.unwatch(self.transport)
                self.transport.resumeProducing()
        else:
            self.factory.peers.watch(self.transport, self._vanished)
            if not self._half_closed:
                self.transport.pauseProducing()

    def input_ended(self) -> None:
        """For C{readConnectionLost}: the peer sends no more, or has gone altogether, which only shows later."""
        self._half_closed = True
        self.factory.peers.watch(self.transport, self._vanished)

    def _vanished(self) -> None:
        self.factory.counters.vanished += 1
        self.transport.abortConnection()

    # -- idling

    def input_came(self) -> None:
        """For C{dataReceived}, where there is an idle timeout."""
        self._last_input = self.factory.clock.seconds()

    @property
    def busy(self) -> bool:
        """Something is pending for this client, so that it may well be silent."""
        return False

    def _check_idle(self) -> None:
        clock, timeout = self.factory.clock, self.factory.idle_timeout
        assert timeout is not None
        left = self._last_input + timeout - clock.seconds()
        if left > 0 or self.busy:
            self._idle_timer = clock.callLater(left if left > 0 else timeout, self._check_idle)
        else:
            self._idle_timer = None
            self.idleLimitExceeded()

    def idleLimitExceeded(self) -> None:
        """Nothing came for C{idle_timeout} seconds: the connection is closed."""
        self.factory.counters.idle += 1
        self._log.info(
            "disconnecting {client} at {peer}: it sent nothing for {seconds} s",
            client=self.name,
            peer=self.peer,
            seconds=self.factory.idle_timeout,
        )
        self.finish()

    # -- writing and ending

    def queueLimitExceeded(self) -> None:
        """The client does not read its events: it is disconnected."""
        self.factory.counters.slow += 1
        self._log.warn(
            "disconnecting {client} at {peer}: it does not read, and more than {limit} bytes of events wait for it",
            client=self.name,
            peer=self.peer,
            limit=self.factory.max_queued,
        )
        # Not loseConnection: it would wait for the client to read.
        self.transport.abortConnection()

    def write_blocked(self) -> None:
        """The transport's buffer is over its high-water mark."""
        raise NotImplementedError

    def write_unblocked(self) -> None:
        """Everything queued has been handed to the transport, and it takes more."""
        raise NotImplementedError

    def _unblocked(self) -> None:
        if self._finishing:
            self._end_of_file()
        else:
            self.write_unblocked()

    def finish(self) -> None:
        """Write what is queued, then end the connection. What arrives from now on is ignored."""
        if self._finishing or self.ended:
            return
        self._finishing = True
        if not self.write_queue.blocked:
            self._end_of_file()

    @property
    def finishing(self) -> bool:
        """The connection is being ended from this side."""
        return self._finishing

    def _end_of_file(self) -> None:
        # A transport with a streaming producer sends no end of file before that is unregistered.
        self.transport.unregisterProducer()
        self.transport.loseConnection()


def pusher(transport: Any) -> Callable[[], None] | None:
    """
    :return: has the transport send what it has been given at once, not in the next turn of the reactor, as far as the peer
        takes it; C{None}: this one can't. One that wraps another (TLS) only looks as if it could.
    """
    if not isinstance(transport, FileDescriptor):
        return None

    def push() -> None:
        # What doWrite returns says that the connection has ended. An end that comes from the peer the reactor finds too; when
        # this side is ending it, doWrite is the reactor's alone.
        if not transport.disconnecting:
            transport.doWrite()

    return push


def _peer_text(transport: Any) -> str:
    peer = transport.getPeer()
    host = getattr(peer, "host", None)
    if host is not None:
        return f"{host}:{peer.port}"
    name = getattr(peer, "name", None)
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    # The client chose it; it stands in log files.
    return f"unix:{printable(name)}" if name else "unix" if hasattr(peer, "name") else str(peer)
