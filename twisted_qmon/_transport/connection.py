"""
What both protocols need of a connection: a bounded write queue, suspended reading, a look at whether the peer is still there,
time limits, and an orderly end.

Bytes only; no word of QMP or HMP.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._log_publisher import publish
from twisted_qmon._text import printable
from twisted_qmon._transport.peer import identify
from twisted_qmon._transport.tls import await_handshake, loss_reason, tls_layer, watch_close_notify
from twisted_qmon._transport.write_queue import WriteQueue
from twisted_qmon.core.access.standing import Standing, session_name

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITransport
    from twisted.python.failure import Failure

    from twisted_qmon._transport.connections import Counters
    from twisted_qmon._transport.hang_up_watch import PeerWatch
    from twisted_qmon.errors import CommandError
    from twisted_qmon.info import JSON, Level

__all__ = [
    "HANDSHAKE_TIMEOUT",
    "LINGER",
    "ConnectionFactory",
    "ConnectionMixin",
    "Outlet",
    "pusher",
    "sender",
    "unsent",
]

#: What a write queue gives its bytes to; see L{WriteQueue}.
Outlet: TypeAlias = "tuple[Callable[[bytes], object], Callable[[], object] | None, Callable[[bytes], object] | None]"

#: Seconds that a client has to complete the TLS handshake.
HANDSHAKE_TIMEOUT = 30.0

#: Seconds that a client may leave the rest unread, once its connection is to be closed from this side.
LINGER = 5.0


class ConnectionFactory(Protocol):
    """
    What a connection needs of its factory: see L{MonitorFactory<twisted_qmon._transport.factory.MonitorFactory>}.
    """

    kind: str
    max_queued: int
    slow_client: str
    idle_timeout: float | None
    endpoint: str
    level: Level
    counters: Counters
    peers: PeerWatch

    @property
    def clock(self) -> IReactorTime:
        """The clock of time limits."""

    def connection_made(self, connection: ConnectionMixin) -> None:
        """A connection begins."""

    def joined(self, connection: ConnectionMixin) -> bool:
        """A connection is established. :return: whether its client may do anything here"""

    def connection_lost(self, connection: ConnectionMixin) -> None:
        """A connection has ended."""


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
    The part of a protocol that looks after its connection. Mix it in before L{twisted.internet.protocol.Protocol}, and say that
    it provides C{IHandshakeListener} and C{IFileDescriptorReceiver}.

    The protocol implements C{established()}, C{write_blocked()} and C{write_unblocked()}.

    :ivar standing: who the client is, and what it may do; known once the connection is established
    :ivar since: when it was made, in seconds of the factory's clock
    :ivar name: C{"qmp-3"}: unique in the process, for logs and C{query-pending}
    :ivar peer: where the client comes from, as text
    :ivar write_queue: the queue that everything is written to
    :ivar ended: C{connectionLost} has come
    """

    factory: ConnectionFactory
    # Twisted's ITransport lacks most of what its transports have.
    transport: Any
    write_queue: WriteQueue
    standing: Standing
    since = 0.0
    name = ""
    peer = ""
    ended = False
    _reading = True
    _half_closed = False
    _finishing = False
    _last_input = 0.0
    _left_over = (0, 0)
    _idle_timer: IDelayedCall | None = None
    _handshake_timer: IDelayedCall | None = None
    _linger_timer: IDelayedCall | None = None
    _log = Logger(observer=publish)

    # -- the beginning

    def begin_connection(self) -> None:
        """For C{connectionMade}, first thing: the connection counts, and its time limits run, from here on."""
        factory = self.factory
        self.name = session_name(factory.kind)
        # Looked at for each chunk: found sooner here than in the class.
        self._finishing = False
        self._reading = True
        self.peer = _peer_text(self.transport)
        self.standing = Standing.unknown(self.name, factory.endpoint, factory.level)
        write, push, send = self.outlet()
        self.write_queue = WriteQueue(
            write,
            max_queued=factory.max_queued,
            policy=factory.slow_client,
            limit_exceeded=self.queueLimitExceeded,
            blocked=self.write_blocked,
            unblocked=self._unblocked,
            push=push,
            send=send,
        )
        keep_alive = getattr(self.transport, "setTcpKeepAlive", None)
        if keep_alive is not None:
            keep_alive(True)
        factory.connection_made(self)
        self._seconds = factory.clock.seconds
        self.since = self._last_input = self._seconds()
        if factory.idle_timeout is not None:
            self._idle_timer = factory.clock.callLater(factory.idle_timeout, self._check_idle)

    def outlet(self) -> Outlet:
        """:return: what the write queue gives its bytes to (C{write}, C{push}, C{send} of L{WriteQueue}): the transport's"""
        return self.transport.write, pusher(self.transport), sender(self.transport)

    def establish(self) -> None:
        """For C{connectionMade}, last thing: C{established()} is called now, with TLS when the handshake is complete."""
        layer = tls_layer(self.transport)
        if layer is None:
            self._establish()
        else:
            self._handshake_timer = self.factory.clock.callLater(HANDSHAKE_TIMEOUT, self._handshake_is_late)
            await_handshake(layer, self)

    def handshakeCompleted(self) -> None:
        """With TLS: the client can be talked to, and its certificate is known, if it has one."""
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None
        layer = tls_layer(self.transport)
        if layer is not None and not self._finishing and not self.ended:
            watch_close_notify(layer, self.readConnectionLost)
            self._establish()

    def _establish(self) -> None:
        # Not before: what TLS says about its buffer while the handshake goes on is about the handshake.
        self.transport.registerProducer(_WriteProducer(self.write_queue), True)
        try:
            self.standing.identity = identify(self.transport, tls_layer(self.transport))
            joined = self.factory.joined(self)
        except Exception:
            # Without a verdict it may do nothing.
            self._log.failure("while finding out who {client} at {peer} is", client=self.name, peer=self.peer)
            self.abort()
            return
        if joined:
            self.established()
        else:
            self.turn_away()

    def established(self) -> None:
        """The client can be talked to, and may do something here: say the first thing."""
        raise NotImplementedError

    def turn_away(self) -> None:
        """Say that the client may do nothing here, and end the connection."""
        self.deny(self.standing.no_access)
        self.finish()

    def deny(self, error: CommandError) -> None:
        """Say, before the first thing or between two others, that the client may do nothing here."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """End the connection, once what is queued has been said."""
        self.finish()

    def describe(self) -> dict[str, JSON]:
        """
        :return: what C{query-connections-monitor} says of the connection: since when it has been there, in seconds of the clock,
            for how many seconds nothing has come, and how many bytes of events wait
        """
        return {
            "kind": self.factory.kind,
            "since": self.since,
            "idle": self.idle,
            "events-queued": self.write_queue.queued,
        }

    @property
    def idle(self) -> float:
        """For how many seconds nothing has come."""
        return max(0.0, self._seconds() - self._last_input)

    def _handshake_is_late(self) -> None:
        self._handshake_timer = None
        self.handshakeLimitExceeded()

    def handshakeLimitExceeded(self) -> None:
        """The client has not completed the TLS handshake within L{HANDSHAKE_TIMEOUT} seconds: the connection is closed."""
        self.factory.counters.handshakes += 1
        self._log.info(
            "disconnecting {client} at {peer}: no TLS handshake within {seconds} s",
            client=self.name,
            peer=self.peer,
            seconds=HANDSHAKE_TIMEOUT,
        )
        self.abort()

    def end_connection(self, reason: Failure | None = None) -> None:
        """
        For C{connectionLost}, last thing: the client has left. Its timers and its place among the connections are given back;
        what becomes of its requests is up to L{twisted_qmon.core.leaving}.
        """
        self.ended = True
        if self._handshake_timer is not None and reason is not None and not self._finishing:
            self._log.info(
                "{client} at {peer} did not complete the TLS handshake: {reason}",
                client=self.name,
                peer=self.peer,
                reason=loss_reason(reason),
            )
        self.write_queue.close()
        factory = self.factory
        factory.counters.lost += self.write_queue.lost
        factory.peers.unwatch(self.transport)
        for timer in (self._idle_timer, self._handshake_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._handshake_timer = self._linger_timer = None
        factory.connection_lost(self)

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

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        raise NotImplementedError

    def input_ended(self) -> None:
        """For C{readConnectionLost}: the peer sends no more, or has gone altogether, which only shows later."""
        self._half_closed = True
        self.factory.peers.watch(self.transport, self._vanished)

    def _vanished(self) -> None:
        self.factory.counters.vanished += 1
        self.abort()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """The client has sent a file descriptor with what comes next. It is of no use here."""
        with suppress(OSError):
            os.close(descriptor)

    # -- idling

    def input_came(self) -> None:
        """For C{dataReceived}."""
        self._last_input = self._seconds()

    @property
    def busy(self) -> bool:
        """Something is pending for this client, so that it may well be silent."""
        return False

    def _reads(self) -> bool:
        """Whether the client has read, since this was last asked, of what it had not read then."""
        before, handed_over_before = self._left_over
        now, handed_over = self._left_over = (unsent(self.transport) or 0, self.write_queue.handed_over)
        return now < before or handed_over > handed_over_before

    def _check_idle(self) -> None:
        clock = self.factory.clock
        timeout = self.factory.idle_timeout
        assert timeout is not None
        left = self._last_input + timeout - clock.seconds()
        if self._reads() or left > 0 or self.busy:
            self._idle_timer = clock.callLater(left if left > 0 else timeout, self._check_idle)
        else:
            self._idle_timer = None
            self.idleLimitExceeded()

    def idleLimitExceeded(self) -> None:
        """Nothing came, and nothing was read, for C{idle_timeout} seconds: the connection is closed."""
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
        self.abort()

    def write_blocked(self) -> None:
        """The transport's buffer is over its high-water mark: hold up whatever makes replies."""
        raise NotImplementedError

    def write_unblocked(self) -> None:
        """Everything queued has been handed to the transport, and it takes more: let that go on."""
        raise NotImplementedError

    def _unblocked(self) -> None:
        if self._finishing:
            self._end_if_written()
        else:
            self.write_unblocked()

    def finish(self) -> None:
        """
        Write what is queued, then end the connection. What arrives from now on is ignored. A client that reads nothing for
        L{LINGER} seconds does not get the rest.
        """
        if self._finishing or self.ended:
            return
        self._finishing = True
        self._reads()
        self._linger_timer = self.factory.clock.callLater(LINGER, self._check_linger)
        self._end_if_written()

    def _end_if_written(self) -> None:
        if not self.write_queue.blocked and self.write_rest():
            self._end_of_file()

    def write_rest(self) -> bool:
        """
        Write what is still to be written and is not in the write queue, as far as the transport takes it.

        :return: whether there is no more; if there is, this is called again when the transport takes more
        """
        return True

    @property
    def finishing(self) -> bool:
        """The connection is being ended from this side."""
        return self._finishing

    def abort(self) -> None:
        """End the connection now, whether the client has read everything or not."""
        self._finishing = True
        self.transport.abortConnection()

    def _end_of_file(self) -> None:
        # An event that comes now would follow the end.
        self.write_queue.close()
        # A transport with a streaming producer sends no end of file before that is unregistered.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _check_linger(self) -> None:
        if self._reads():
            self._linger_timer = self.factory.clock.callLater(LINGER, self._check_linger)
        else:
            self._linger_timer = None
            self.lingerLimitExceeded()

    def lingerLimitExceeded(self) -> None:
        """The client has read nothing of the rest for L{LINGER} seconds: the connection is aborted."""
        self.factory.counters.cut_off += 1
        self._log.info(
            "aborting the connection of {client} at {peer}: it has read nothing of the rest for {seconds} s",
            client=self.name,
            peer=self.peer,
            seconds=LINGER,
        )
        self.abort()


def unsent(transport: Any) -> int | None:
    """
    :return: bytes that one of Twisted's transports has been given and has not sent, below TLS if that is there; C{None} of a
        transport of another kind, which may say so by its attribute C{unsent}
    """
    known = getattr(transport, "unsent", None)
    if isinstance(known, int):
        return known
    try:
        left: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
    except AttributeError:
        return None
    return left


def pusher(transport: object) -> Callable[[], None] | None:
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


def sender(transport: object) -> Callable[[bytes], None] | None:
    """
    :return: writes bytes and has the transport send them at once, as far as the peer takes them: C{write} and then L{pusher}, but
        if nothing waits in the transport, it is not told first to wait for the socket and then to wait no more; C{None}: this one
        can't
    """
    push = pusher(transport)
    if push is None:
        return None
    assert isinstance(transport, FileDescriptor)

    def send(data: bytes) -> None:
        if (
            transport.connected
            and not (transport.disconnecting or transport.dataBuffer or transport._tempDataLen)
            and not getattr(transport, "TLS", False)
            and not transport._writeDisconnected
        ):
            sent = transport.writeSomeData(data)
            if sent == len(data):
                return
            if isinstance(sent, int) and sent > 0:
                data = data[sent:]
            # The rest when the socket takes more. If the connection is lost, the reactor finds that when it tries.
            transport.write(data)
            return
        transport.write(data)
        push()

    return send


def _peer_text(transport: ITransport) -> str:
    peer = transport.getPeer()
    host = getattr(peer, "host", None)
    if host is not None:
        return f"{host}:{getattr(peer, 'port', '')}"
    name = getattr(peer, "name", None)
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    # The client chose it; it stands in log files.
    return f"unix:{printable(name)}" if name else "unix" if hasattr(peer, "name") else str(peer)
