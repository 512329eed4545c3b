"""
An SSH client in memory, made of conch's own: what it sends, and when it reads, is up to the test.
"""

from __future__ import annotations

import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from twisted_qmon._transport.connections import Refused
from twisted_qmon.testing import MemoryTransport

__all__ = ["Channel", "Client", "new_key"]


def new_key() -> Key:
    """:return: a private key"""
    return Key(Ed25519PrivateKey.generate())


class Channel(SSHChannel):
    """
    A session, as the client sees it.

    :ivar out: what came, C{err}: for standard error
    :ivar status: the exit status
    :ivar ended: the server sends no more; C{gone}: it is closed
    """

    name = b"session"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.out = self.err = b""
        self.status: int | None = None
        self.ended = self.gone = self.failed = False
        self.answers: list[bool] = []

    def openFailed(self, reason: Any) -> None:
        self.failed = True

    def dataReceived(self, data: bytes) -> None:
        self.out += data

    def extReceived(self, dataType: int, data: bytes) -> None:
        self.err += data

    def request_exit_status(self, data: bytes) -> None:
        self.status = struct.unpack(">L", data)[0]

    def eofReceived(self) -> None:
        self.ended = True

    def closed(self) -> None:
        self.gone = True

    def ask(self, kind: bytes, data: bytes = b"", *, reply: bool = True) -> None:
        """Send a request; the answer is added to C{answers}."""
        assert self.conn is not None
        asked = self.conn.sendRequest(self, kind, data, wantReply=reply)
        if asked is not None:
            asked.addCallbacks(lambda _: self.answers.append(True), lambda _: self.answers.append(False))

    def take(self) -> str:
        """:return: what has come since the last call"""
        out, self.out = self.out, b""
        return out.decode()


class _Auth(SSHUserAuthClient):
    def __init__(self, user: bytes, instance: SSHConnection, keys: list[Key]) -> None:
        super().__init__(user, instance)
        self._keys = list(keys)
        self._used: Key | None = None

    def getPublicKey(self) -> Key | None:
        self._used = self._keys.pop(0) if self._keys else None
        return None if self._used is None else self._used.public()

    def getPrivateKey(self) -> Deferred[Any]:
        return succeed(self._used)


class _Transport(SSHClientTransport):
    client: Client

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[bool]:
        return succeed(True)

    def connectionSecure(self) -> None:
        self.requestService(_Auth(b"some\x1bone", self.client.connection, self.client.keys))


class _Connection(SSHConnection):
    started = False

    def serviceStarted(self) -> None:
        self.started = True


class Client:
    """
    A client, connected to a factory.

    :param clock: the factory's
    :param host: the address that it comes from
    :ivar server: the server's side of its connection
    :ivar below: what the server writes to
    """

    def __init__(self, factory: Any, clock: Clock, *keys: Key, host: str = "192.0.2.7", logs_in: bool = True) -> None:
        self.clock = clock
        self.keys = list(keys)
        self.connection = _Connection()
        self.below = MemoryTransport()
        self.below.peerAddr = IPv4Address("TCP", host, 4711)
        factory.doStart()
        self.server: Any = factory.buildProtocol(self.below.peerAddr)
        self.below.protocol = self.server
        self.refused = isinstance(self.server, Refused)
        self.server.makeConnection(self.below)
        self.transport = _Transport()
        self.transport.client = self
        self._own = StringTransport()
        if logs_in and not self.refused:
            self.transport.makeConnection(self._own)
            self.pump()

    @property
    def logged_in(self) -> bool:
        """The server has let it in."""
        return self.connection.started

    @property
    def closed(self) -> bool:
        """The server has ended the connection."""
        return self.below.disconnected

    def send(self, data: bytes) -> None:
        """Send bytes below SSH."""
        self.server.dataReceived(data)

    def pump(self) -> None:
        """Carry bytes to and fro until there are none: as far as both read."""
        for _ in range(1000):
            sent, got = self._own.value(), bytes(self.below.taken)
            if self.below.producerState == "paused" or self.closed:
                sent = b""
            else:
                self._own.clear()
            self.below.taken.clear()
            if sent:
                self.server.dataReceived(sent)
            if got:
                self.transport.dataReceived(got)
            self.clock.advance(0)
            if not sent and not got:
                return

    def open(self, window: int = 0, packet: int = 0) -> Channel:
        """:return: a session that is opened"""
        channel = Channel(localWindow=window, localMaxPacket=packet, conn=self.connection)
        self.connection.openChannel(channel)
        self.pump()
        return channel

    def shell(self, terminal: tuple[int, int] | None = None, term: bytes = b"xterm", **options: int) -> Channel:
        """:return: a session with the human monitor; C{terminal}: columns and rows"""
        channel = self.open(**options)
        if terminal is not None:
            channel.ask(b"pty-req", NS(term) + struct.pack(">4L", *terminal, 0, 0) + NS(b""))
        channel.ask(b"shell")
        self.pump()
        return channel

    def run(self, line: str, **options: int) -> Channel:
        """:return: a session in which a line is run"""
        channel = self.open(**options)
        channel.ask(b"exec", NS(line.encode()))
        self.pump()
        return channel

    def subsystem(self, name: bytes = b"qmp", **options: int) -> Channel:
        """:return: a session with a subsystem"""
        channel = self.open(**options)
        channel.ask(b"subsystem", NS(name))
        self.pump()
        return channel

    def type(self, channel: Channel, text: str) -> str:
        """:return: what has come after this was typed"""
        channel.write(text.encode())
        self.pump()
        return channel.take()

    def lose(self) -> None:
        """Lose the connection."""
        self.below.disconnect(ConnectionError("lost"))
        if self.transport.transport is not None:
            self.transport.connectionLost(Failure(ConnectionError("lost")))
