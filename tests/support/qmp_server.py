"""
The other end of a QMP client, played by the test.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_qmon.qmp.client import QMPClient

GREETING = {
    "QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}
}


def line(value: Any) -> bytes:
    """A message as a server writes it."""
    return json.dumps(value).encode() + b"\r\n"


@implementer(IStreamClientEndpoint)
class FakeEndpoint:
    """Connects to a server that the test plays."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.error: Exception = ConnectionRefusedError()
        self.servers: list[FakeServer] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        if self.refusals:
            self.refusals -= 1
            return fail(self.error)
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        assert protocol is not None
        self.servers.append(FakeServer(protocol))
        return succeed(protocol)


class FakeTransport(StringTransport):
    """Tells its protocol when it is closed."""

    protocol: Any = None
    aborted = False

    def loseConnection(self) -> None:
        if not self.disconnecting:
            super().loseConnection()

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class FakeServer:
    """The server's end of one connection."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = FakeTransport()
        protocol.makeConnection(self.transport)

    def say(self, *values: Any) -> None:
        """Send these messages in one piece."""
        self.protocol.dataReceived(b"".join(map(line, values)))

    def requests(self) -> list[Any]:
        """What the client has sent since the last call."""
        found = [json.loads(each) for each in self.transport.value().splitlines()]
        self.transport.clear()
        return found

    def greet(self) -> None:
        """Greet, and accept the negotiation."""
        self.say(GREETING)
        self.requests()
        self.say({"return": {}, "id": 0})

    def lose(self, reason: Exception | None = None) -> None:
        """Lose the connection."""
        self.protocol.connectionLost(Failure(reason or ConnectionLost()))


class ClientCase(SynchronousTestCase):
    """A negotiated client, and the server's end."""

    def setUp(self) -> None:
        self.clock = Clock()
        endpoint = FakeEndpoint()
        connecting = QMPClient.connect(endpoint, clock=self.clock)
        (self.server,) = endpoint.servers
        self.server.greet()
        self.client = self.successResultOf(connecting)
