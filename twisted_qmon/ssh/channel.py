"""
A session of an SSH connection (RFC 4254, section 6), as the transport of the protocol that serves it.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.connection import EXTENDED_DATA_STDERR
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon.hmp.protocol import HMPProtocol
from twisted_qmon.ssh.log import QuietLogger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime

    from twisted_qmon.core.access.identity import Identity
    from twisted_qmon.qmp.protocol import QMPProtocol
    from twisted_qmon.ssh.authorized_keys import AuthorizedKey
    from twisted_qmon.ssh.connection import Connection

__all__ = ["HIGH_WATER", "PACKET", "WINDOW", "Protocols", "SessionChannel"]

#: Bytes that a client may send before they are taken: what may wait here while a session is suspended. And those of a packet.
WINDOW = 1 << 16
PACKET = 1 << 15

#: Bytes of output that may wait here for a client that does not read, before the session is told.
HIGH_WATER = 1 << 16

# Terminals that show no more than lines: the client keeps the terminal that it has.
_WITHOUT_CURSOR = (b"", b"dumb")

_UINT32 = struct.Struct(">L")

_own_log = Logger()

_Argument = TypeVar("_Argument")


class Protocols(Protocol):
    """
    Makes what serves a session. Each method returns C{None} if there are as many as may be.

    :ivar clock: the clock
    """

    @property
    def clock(self) -> IReactorTime:
        """The clock."""

    def shell(self) -> HMPProtocol | None:
        """:return: the human monitor"""

    def command(self, line: bytes, *, terminal: bool) -> HMPProtocol | None:
        """:return: what runs one line, and ends; C{terminal}: for a terminal"""

    def subsystem(self, name: bytes) -> QMPProtocol | None:
        """:return: another protocol, by its name; C{None}: there is none of that name, too"""


@implementer(ITransport, IPushProducer, IConsumer)
class SessionChannel(SSHChannel):
    """
    One session. Which one it is the client says: a shell, a command, or a subsystem.

    conch's channel keeps what it can't send without telling, and lets a client send more before what came was taken. This one
    is a transport as a socket's is: it tells its producer to pause, and it holds what comes while it is paused, within the window
    that the client was given.

    :param connection: what it is part of
    :param key: that the client has logged in with
    :param protocols: makes what serves the session
    :param window: bytes that the client takes at first
    :param packet: bytes of the largest packet that it takes
    :ivar identity: who is there
    :ivar exit_status: what the client is told when the session has ended
    :ivar unsent: how many bytes wait for the client
    """

    name = b"session"
    conn: Connection
    _log = QuietLogger()

    def __init__(
        self, connection: Connection, key: AuthorizedKey, protocols: Protocols, window: int, packet: int
    ) -> None:
        super().__init__(WINDOW, PACKET, window, packet, connection)
        self.identity: Identity = key.identity
        self.exit_status = 0
        self.protocol: HMPProtocol | QMPProtocol | None = None
        self._key = key
        self._protocols = protocols
        self._terminal: tuple[int, int] | None = None
        self._starting: IDelayedCall | None = None
        self._connected = self._lost = False
        # Output: what waits, and whether it is for standard error.
        self._waiting: deque[tuple[bool, memoryview]] = deque()
        self.unsent = 0
        self._producer: IPushProducer | None = None
        self._producer_paused = False
        self._ending = self._ended = False
        # Input: what has come while nothing is read; then the end of it, maybe.
        self._held: deque[bytes] = deque()
        self._reading = False
        self._delivering: IDelayedCall | None = None
        self._taken = 0
        self._input_ended = self._end_told = False

    # -- what the client asks for

    def channelOpen(self, specificData: bytes) -> None:
        """See conch."""

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        """See conch. :return: whether the client gets what it asks for"""
        ask = _REQUESTS.get(requestType)
        try:
            return ask is not None and ask(self, data)
        except (struct.error, IndexError):
            # The request is not complete.
            return False

    def _ask_for_terminal(self, data: bytes) -> bool:
        term, rest = getNS(data)
        if self.protocol is not None or term in _WITHOUT_CURSOR or not self._key.pty or not find_spec("wcwidth"):
            return False
        columns, rows = struct.unpack(">2L", rest[:8])
        self._terminal = (columns, rows)
        return True

    def _ask_for_size(self, data: bytes) -> bool:
        columns, rows = struct.unpack(">2L", data[:8])
        if self._terminal is None:
            return False
        self._terminal = (columns, rows)
        if self._connected and isinstance(self.protocol, HMPProtocol):
            self.protocol.terminal_resized(columns, rows)
        return True

    def _ask_for_shell(self, data: bytes) -> bool:
        if self.protocol is not None:
            return False
        protocol = self._protocols.shell()
        if protocol is not None:
            protocol.speaks_telnet = False
            if self._terminal is not None:
                protocol.edit_lines(*self._terminal)
        return self._start(protocol)

    def _ask_for_command(self, data: bytes) -> bool:
        if self.protocol is not None:
            return False
        return self._start(self._protocols.command(getNS(data)[0], terminal=self._terminal is not None))

    def _ask_for_subsystem(self, data: bytes) -> bool:
        return self.protocol is None and self._start(self._protocols.subsystem(getNS(data)[0]))

    def _send_signal(self, data: bytes) -> bool:
        if getNS(data)[0] != b"INT" or not isinstance(self.protocol, HMPProtocol) or not self._connected:
            return False
        self.protocol.interrupt()
        return True

    def _start(self, protocol: HMPProtocol | QMPProtocol | None) -> bool:
        if protocol is None:
            return False
        self.protocol = protocol
        # The client is told first that it gets it.
        self._starting = self._protocols.clock.callLater(0, self._connect, protocol)
        return True

    def _connect(self, protocol: HMPProtocol | QMPProtocol) -> None:
        self._starting = None
        self._connected = True
        self._reading = True
        if self._call(protocol.makeConnection, self):
            self._deliver()

    # -- output

    def write(self, data: bytes) -> None:
        """Send bytes, now or when the client takes them."""
        self._put(data, error=False)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """The same, of several."""
        self.write(b"".join(data))

    def write_error(self, data: bytes) -> None:
        """Send bytes to the client's standard error."""
        self._put(data, error=True)

    def _put(self, data: bytes, *, error: bool) -> None:
        if data and not self._ended:
            self._waiting.append((error, memoryview(data)))
            self.unsent += len(data)
            self.send_on()

    def send_on(self) -> None:
        """Send what waits, as far as the client takes it and the connection has room."""
        while self._waiting and self.remoteWindowLeft and not self.conn.transport.held:
            error, data = self._waiting[0]
            size = min(len(data), self.remoteWindowLeft, self.remoteMaxPacket)
            self.remoteWindowLeft -= size
            self.unsent -= size
            if size < len(data):
                self._waiting[0] = (error, data[size:])
            else:
                self._waiting.popleft()
            if error:
                self.conn.sendExtendedData(self, EXTENDED_DATA_STDERR, bytes(data[:size]))
            else:
                self.conn.sendData(self, bytes(data[:size]))
        if not self._waiting:
            self._sent()
        elif self._producer is not None and not self._producer_paused and self.unsent > HIGH_WATER:
            self._producer_paused = True
            self._producer.pauseProducing()

    def _sent(self) -> None:
        """Everything has been sent: more is welcome, or that was all."""
        if self._producer_paused and self._producer is not None:
            self._producer_paused = False
            self._producer.resumeProducing()
        if self._ending and self._producer is None and not self._waiting:
            self._end()

    def addWindowBytes(self, data: int) -> None:
        """See conch: the client takes so many bytes more."""
        self.remoteWindowLeft += data
        self.send_on()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:  # type: ignore[override]
        """See C{IConsumer}. Only streaming producers are expected here."""
        self._producer = producer

    def unregisterProducer(self) -> None:
        """See C{IConsumer}."""
        self._producer = None
        self._producer_paused = False
        if not self._waiting:
            self._sent()

    # -- input

    def dataReceived(self, data: bytes) -> None:
        """See conch."""
        if self._ended or self._ending:
            self._take(len(data))
            return
        self._held.append(data)
        if self._delivering is None:
            self._deliver()

    def extReceived(self, dataType: int, data: bytes) -> None:
        """See conch: there is no such input."""
        self._take(len(data))

    def eofReceived(self) -> None:
        """See conch: the client sends no more."""
        self._input_ended = True
        if self._delivering is None:
            self._deliver()

    def _take(self, size: int) -> None:
        """The client may send so much more; it is told when that is worth it."""
        self._taken += size
        if self._taken >= WINDOW // 2:
            self.conn.adjustWindow(self, self._taken)
            self._taken = 0

    def _deliver(self) -> None:
        self._delivering = None
        protocol = self.protocol
        if protocol is None or not self._connected:
            return
        while self._held and self._reading and not self._lost:
            data = self._held.popleft()
            self._take(len(data))
            if not self._call(protocol.dataReceived, data):
                return
        # A transport that is not read tells of the end of input all the same, once there is nothing before it.
        if self._input_ended and not self._held and not self._end_told and not self._lost:
            self._end_told = True
            if IHalfCloseableProtocol.providedBy(protocol):
                protocol.readConnectionLost()

    def _call(self, method: Callable[[_Argument], object], argument: _Argument) -> bool:
        """Have the protocol do something; as with a socket its failure ends the session. :return: whether it has not failed"""
        try:
            method(argument)
        except Exception:
            _own_log.failure("in an SSH session of {identity}", identity=str(self.identity))
            self.abortConnection()
            return False
        return True

    def pauseProducing(self) -> None:
        """Hold what comes."""
        self._reading = False

    def resumeProducing(self) -> None:
        """Go on with what has come: in the next turn of the reactor, as a socket does."""
        if not self._reading and not self._ended:
            self._reading = True
            if self._delivering is None and (self._held or self._input_ended):
                self._delivering = self._protocols.clock.callLater(0, self._deliver)

    def stopProducing(self) -> None:
        """See C{IPushProducer}."""
        self.loseConnection()

    # -- the end

    def loseConnection(self) -> None:
        """Send what waits, then end the session."""
        self._ending = True
        self._held.clear()
        if not self._waiting:
            self._sent()

    def abortConnection(self) -> None:
        """End the session now. If the client reads nothing at all, that ends its connection."""
        blocked = self.conn.transport.is_full
        self._drop_output()
        self._end()
        if blocked:
            self.conn.transport.abort()
        self._lose(ConnectionAborted())

    def _drop_output(self) -> None:
        self._waiting.clear()
        self.unsent = 0

    def _end(self) -> None:
        if not self._ended:
            self._ended = self._ending = True
            if self.protocol is not None:
                self.conn.sendRequest(self, b"exit-status", _UINT32.pack(self.exit_status))
            self.conn.sendEOF(self)
            self.conn.sendClose(self)

    def closeReceived(self) -> None:
        """See conch: the client wants no more."""
        self._drop_output()
        self._end()

    def closed(self) -> None:
        """See conch: both sides have ended it, or the connection is lost."""
        self._ended = self._ending = True
        self._lose(ConnectionDone())

    def _lose(self, reason: Exception) -> None:
        self._drop_output()
        self._held.clear()
        for call in (self._starting, self._delivering):
            if call is not None:
                call.cancel()
        self._starting = self._delivering = None
        if self._connected and not self._lost and self.protocol is not None:
            self._lost = True
            self._call(self.protocol.connectionLost, Failure(reason))

    @property
    def disconnecting(self) -> bool:
        """The session is being ended from this side."""
        return self._ending

    # -- who is there

    def getPeer(self) -> IAddress:
        """See C{ITransport}: the address that the connection comes from."""
        return self.conn.transport.transport.getPeer()

    def getHost(self) -> IAddress:
        """See C{ITransport}."""
        return self.conn.transport.transport.getHost()

    def logPrefix(self) -> str:
        """See conch."""
        return "SSH session"


_REQUESTS: dict[bytes, Callable[[SessionChannel, bytes], bool]] = {
    b"pty-req": SessionChannel._ask_for_terminal,
    b"window-change": SessionChannel._ask_for_size,
    b"shell": SessionChannel._ask_for_shell,
    b"exec": SessionChannel._ask_for_command,
    b"subsystem": SessionChannel._ask_for_subsystem,
    b"signal": SessionChannel._send_signal,
}
