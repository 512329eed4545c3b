"""
In-memory clients of a monitor: no socket, no reactor, no waiting.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._transport.connections import Refused
from twisted_qmon.hmp.protocol import HMPFactory
from twisted_qmon.qmp.protocol import QMPFactory

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol, IProtocolFactory
    from twisted.test.iosim import IOPump

    from twisted_qmon.core.access.identity import Identity
    from twisted_qmon.core.monitor import Monitor

__all__ = ["Connection", "HMPConnection", "MemoryEndpoint", "MemoryTransport", "QMPConnection", "connected_client"]


class MemoryTransport(StringTransport):
    """
    A transport with a write buffer: once its peer stops reading and more than the high-water mark is in it, it tells its producer
    to pause, as a socket's does.

    :ivar high_water: bytes that may be in the buffer before the producer is paused
    :ivar reading: the peer reads: what is written is taken at once
    :ivar taken: what the peer has read
    :ivar pauses: how often reading from it was paused
    :ivar disconnected: C{connectionLost} has been told
    :ivar identity: who is at the other end, if that is known
    """

    high_water = 1 << 16

    def __init__(self) -> None:
        super().__init__()
        self.identity: Identity | None = None
        self.reading = True
        self.pauses = 0
        self.taken = bytearray()
        self.protocol: Any = None
        self._producer_paused = False
        self.disconnected = False

    def write(self, data: bytes) -> None:
        if self.disconnected:
            return
        super().write(data)
        if self.reading:
            self._take()
        elif len(self.value()) > self.high_water and self.producer is not None:
            self._producer_paused = True
            self.producer.pauseProducing()

    def _take(self) -> None:
        self.taken += self.value()
        self.clear()

    def stop_reading(self) -> None:
        """The peer reads no more."""
        self.reading = False

    def read_on(self) -> None:
        """The peer reads again: the buffer empties, and the producer may go on."""
        self.reading = True
        self.read_buffer()
        self._close_if_done()

    def read_buffer(self) -> None:
        """The peer reads what is in the buffer, and no more: the producer may go on."""
        self._take()
        if self._producer_paused and self.producer is not None:
            self._producer_paused = False
            self.producer.resumeProducing()

    def pauseProducing(self) -> None:
        self.pauses += 1
        super().pauseProducing()

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.disconnecting and self.reading and self.producer is None:
            self.disconnect(ConnectionDone())

    def unregisterProducer(self) -> None:
        super().unregisterProducer()
        self._close_if_done()

    def abortConnection(self) -> None:
        self.disconnect(ConnectionAborted())

    def disconnect(self, reason: Exception) -> None:
        """Tell the protocol that the connection is over, once."""
        if not self.disconnected:
            self.disconnected = True
            self.disconnecting = True
            self.protocol.connectionLost(Failure(reason))


class Connection:
    """
    One in-memory connection to a factory.

    :param identity: who connects, for rules of who may do what; by default as little is known as over TCP
    :ivar transport: the server's side of it
    :ivar protocol: the server's protocol
    :ivar refused: the server has closed the connection at once: it has as many as it takes
    :ivar closed: the server has ended the connection
    """

    def __init__(self, factory: Any, identity: Identity | None = None) -> None:
        self.factory = factory
        factory.doStart()
        protocol = factory.buildProtocol(None)
        self.refused = isinstance(protocol, Refused)
        self.transport = MemoryTransport()
        self.protocol: Any = protocol
        self.transport.protocol = protocol
        self.transport.identity = identity
        protocol.makeConnection(self.transport)

    @property
    def closed(self) -> bool:
        """The server has ended the connection, or never took it."""
        return self.transport.disconnected

    def send_bytes(self, data: bytes) -> None:
        """
        Send bytes.

        :raise RuntimeError: when the server has suspended reading, as a socket would keep them from it
        """
        if self.transport.producerState == "paused":
            raise RuntimeError("the server does not read: it is suspended")
        self.protocol.dataReceived(data)

    def take_bytes(self) -> bytes:
        """:return: what the server has written since the last call, as far as this client reads"""
        data = bytes(self.transport.taken)
        self.transport.taken.clear()
        return data

    def half_close(self) -> None:
        """Send no more, but go on reading."""
        if IHalfCloseableProtocol.providedBy(self.protocol):
            self.protocol.readConnectionLost()
        else:
            self.lose()

    def lose(self) -> None:
        """Lose the connection, without an end of input."""
        self.transport.disconnect(ConnectionLost())


class QMPConnection(Connection):
    """
    A machine at the monitor's QMP.

    :param monitor: the monitor
    :param negotiate: negotiate the capabilities at once
    :param oob: and enable out-of-band execution
    :param identity: who it is (see L{twisted_qmon.core.access.identity})
    :param options: those of L{QMPFactory<twisted_qmon.QMPFactory>}, or C{factory=}: one that several share
    :ivar greeting: what the server said first
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        negotiate: bool = True,
        oob: bool = False,
        identity: Identity | None = None,
        **options: Any,
    ) -> None:
        super().__init__(options.pop("factory", None) or QMPFactory(monitor, **options), identity)
        self._rest = b""
        self._number = 0
        self.greeting: Any = None
        if self.refused:
            return
        messages = self.received()
        self.greeting = messages[0] if messages else None
        if negotiate and not self.closed:
            self.send({"execute": "qmp_capabilities", "arguments": {"enable": ["oob"] if oob else []}})
            answer = self.received()
            if answer != [{"return": {}}]:
                raise AssertionError(f"the negotiation was answered {answer!r}")

    def send(self, *messages: Any) -> None:
        """Send messages: JSON values, or bytes as they are; all in one piece."""
        self.send_bytes(b"".join(m if isinstance(m, bytes) else json.dumps(m).encode() + b"\n" for m in messages))

    def received(self) -> list[Any]:
        """
        :return: the messages received since the last call
        :raise AssertionError: when something is no line of JSON in pure ASCII that ends in CR LF
        """
        data = self._rest + self.take_bytes()
        *lines, self._rest = data.split(b"\r\n")
        for line in lines:
            if not line.isascii() or b"\n" in line:
                raise AssertionError(f"not one line of pure ASCII: {line!r}")
        return [json.loads(line) for line in lines]

    def execute(self, name: str, arguments: Any = None, **members: Any) -> Any:
        """
        Send a command with an id of its own, and look for its reply.

        :param members: further members of the message
        :return: the reply without its id, or C{None} if it has not come
        :raise AssertionError: when something else came before it; take that with L{received} first
        """
        self._number += 1
        id = f"test-{self._number}"
        message = {"execute": name, "id": id, **members}
        if arguments is not None:
            message["arguments"] = arguments
        self.send(message)
        replies = self.received()
        if not replies:
            return None
        if len(replies) != 1 or replies[0].get("id") != id:
            raise AssertionError(f"expected one reply with the id {id!r}, got {replies!r}")
        del replies[0]["id"]
        return replies[0]


class HMPConnection(Connection):
    """
    A person at the human monitor.

    :param monitor: the monitor
    :param identity: who it is
    :param options: those of L{HMPFactory<twisted_qmon.HMPFactory>}, or C{factory=}: one that several share
    :ivar banner: what the monitor said first
    """

    def __init__(self, monitor: Monitor, *, identity: Identity | None = None, **options: Any) -> None:
        super().__init__(options.pop("factory", None) or HMPFactory(monitor, **options), identity)
        self.banner = "" if self.refused else self.output()

    def type(self, line: str) -> str:
        """
        Type a line.

        :return: what the monitor has printed since the last look
        """
        self.send_bytes(line.encode() + b"\n")
        return self.output()

    def output(self) -> str:
        """:return: what the monitor has printed since the last call"""
        return self.take_bytes().decode("utf-8")


def connected_client(monitor: Monitor, **options: Any) -> tuple[Any, Any]:
    """
    Connect a L{QMPClient<twisted_qmon.QMPClient>} to a server of the monitor, in memory.

    :param options: those of L{QMPFactory<twisted_qmon.QMPFactory>}
    :return: the client, negotiated, and the C{IOPump} whose C{flush()} carries bytes to and fro
    """
    from twisted_qmon.qmp.client import QMPClient

    endpoint = MemoryEndpoint(QMPFactory(monitor, **options))
    connecting = QMPClient.connect(endpoint, clock=monitor.clock)
    endpoint.flush()
    connected: list[Any] = []
    connecting.addBoth(connected.append)
    if not connected:
        raise AssertionError("the client is not connected yet: is the monitor ready?")
    if isinstance(connected[0], Failure):
        connected[0].raiseException()
    return connected[0], endpoint.pump


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """
    Connects to a factory in this process.

    :param factory: what makes the server's protocols
    :ivar pump: the C{IOPump} of the latest connection; C{None} before the first
    """

    def __init__(self, factory: QMPFactory) -> None:
        self._factory = factory
        self._pumps: list[IOPump] = []
        self.pump: IOPump | None = None

    def flush(self) -> None:
        """Carry the bytes of all connections to and fro until there are no more."""
        while any(pump.pump() for pump in self._pumps):
            pass

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        from twisted.test.iosim import FakeTransport, IOPump

        server = self._factory.buildProtocol(None)
        client = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        server_end = FakeTransport(server, isServer=True)
        client_end = FakeTransport(client, isServer=False)
        self.pump = IOPump(client, server, client_end, server_end, False)
        self._pumps.append(self.pump)
        client.makeConnection(client_end)  # type: ignore[union-attr]
        server.makeConnection(server_end)
        connected: Deferred[IProtocol] = succeed(client)  # type: ignore[arg-type]
        return connected
