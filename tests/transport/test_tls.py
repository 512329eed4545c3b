"""
A connection over TLS, in memory: the greeting waits for the handshake, the time limits don't, and what holds over TCP holds.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.task import Clock
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.support.certificates import Authority
from tests.support.qmp_session import SessionTests
from twisted_qmon import HMPFactory, QMPFactory
from twisted_qmon._transport.connection import HANDSHAKE_TIMEOUT, LINGER
from twisted_qmon._transport.tls import loss_reason
from twisted_qmon.testing import MemoryTransport

AUTHORITY = Authority()
SERVER = AUTHORITY.issue("server", "localhost").private()


class Transport(MemoryTransport):
    """A transport that closes in a turn of the reactor of its own, as those of sockets do."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def disconnect(self, reason: Exception) -> None:
        self.disconnecting = True
        self._clock.callLater(0, super().disconnect, reason)


class TLSClient:
    """
    A TLS client in memory, one step at a time.

    :param server: the wrapping factory
    :param clock: the server's
    :param options: the client's, as C{twisted.internet.ssl} makes them
    :ivar transport: the server's side of the connection
    :ivar received: what the server has said
    :ivar closed: it has said that this is all (C{close_notify})
    """

    def __init__(self, server: Any, clock: Clock, options: Any = None) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD) if options is None else options.getContext()
        self.connection = SSL.Connection(context, None)
        self.connection.set_connect_state()
        self.received = b""
        self.closed = False
        self.error = ""
        self.transport = Transport(clock)
        self.transport.protocol = server.buildProtocol(None)
        self.transport.protocol.makeConnection(self.transport)

    @property
    def protocol(self) -> Any:
        """The protocol at the server's end, below all wrappers."""
        protocol = self.transport.protocol
        while hasattr(protocol, "wrappedProtocol"):
            protocol = protocol.wrappedProtocol
        return protocol

    def send(self, data: bytes) -> None:
        """Encrypt, and send."""
        self.connection.sendall(data)
        self.flush()

    def flush(self) -> None:
        """Send what TLS has to say, if the server reads."""
        while self.transport.producerState == "producing" and not self.transport.disconnected:
            try:
                data = self.connection.bio_read(1 << 16)
            except SSL.WantReadError:
                return
            self.transport.protocol.dataReceived(data)

    def step(self) -> None:
        """Take what the server has written, and answer it."""
        data = bytes(self.transport.taken)
        self.transport.taken.clear()
        if data:
            self.connection.bio_write(data)
        try:
            self.connection.do_handshake()
            while True:
                self.received += self.connection.recv(1 << 16)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as error:
            self.error = str(error)
        self.flush()

    def messages(self) -> list[Any]:
        """:return: the QMP messages received since the last call, or what to know them by"""
        messages = [json.loads(line) for line in self.received.splitlines()]
        self.received = b""
        return [m.get("event", m.get("id", m.get("return", m))) for m in messages]


class TLSTests(SessionTests):
    """QMP, and what is different about HMP."""

    def serve(self, factory: Any, options: Any = None) -> Any:
        """:return: the factory that wraps it in TLS"""
        return TLSMemoryBIOFactory(options or SERVER.options(), False, factory, clock=self.clock)

    def connect(self, factory: Any = None, options: Any = None, **limits: Any) -> TLSClient:
        """A client before its handshake."""
        return TLSClient(self.serve(factory or QMPFactory(self.monitor, **limits), options), self.clock)

    def run_steps(self, client: TLSClient, steps: int = 6) -> TLSClient:
        for _ in range(steps):
            self.clock.advance(0)
            client.step()
        self.clock.advance(0)
        return client

    def negotiated(self, **limits: Any) -> TLSClient:
        client = self.run_steps(self.connect(**limits))
        client.send(b'{"execute":"qmp_capabilities"}')
        self.run_steps(client, 1)
        (greeting, negotiated) = client.messages()
        self.assertIn("QMP", greeting)
        self.assertEqual(negotiated, {})
        return client

    def ask(self, client: TLSClient, *messages: Any) -> list[Any]:
        """Send messages, and take what comes at once."""
        client.send(b"".join(json.dumps(message).encode() for message in messages))
        self.run_steps(client, 1)
        return client.messages()

    def test_greeting(self) -> None:
        """It comes after the handshake, and reading never stops for it."""
        client = self.connect()
        verifyObject(IHandshakeListener, client.protocol)
        self.assertEqual(client.transport.value() + bytes(client.transport.taken), b"")
        self.run_steps(client)
        self.assertEqual(list(client.messages()[0]), ["QMP"])
        self.assertEqual(client.transport.pauses, 0)

    def test_behindAnotherWrapper(self) -> None:
        """A wrapper between TLS and the protocol, which passes no handshake on, does not keep the greeting."""
        client = self.run_steps(self.connect(WrappingFactory(WrappingFactory(QMPFactory(self.monitor)))))
        self.assertEqual(list(client.messages()[0]), ["QMP"])
        client.send(b'{"execute":"qmp_capabilities"}{"execute":"wait","id":1}')
        client.connection.shutdown()
        client.flush()
        self.clock.advance(0)
        self.provider.pending[0].callback(1)
        self.run_steps(client)
        self.assertEqual(client.messages(), [{}, 1])
        self.assertTrue(client.transport.disconnected)

    def test_hmp(self) -> None:
        """The banner and the prompt come after the handshake, commands are served, the end of input closes."""
        client = self.run_steps(self.connect(HMPFactory(self.monitor, banner="hello")))
        self.assertEqual(client.received, b"hello\r\n(qmon) ")
        client.send(b"info name\n")
        self.run_steps(client)
        self.assertEqual(client.received, b"hello\r\n(qmon) m\r\n(qmon) ")
        client.connection.shutdown()
        self.run_steps(client)
        self.assertTrue(client.transport.disconnected)

    def test_handshakeTimeout(self) -> None:
        """A client that does not complete the handshake counts as a connection, and is disconnected in time."""
        factory = QMPFactory(self.monitor, max_connections=1)
        silent = self.connect(factory)
        self.assertEqual(len(factory.connections), 1)
        self.clock.advance(HANDSHAKE_TIMEOUT - 1)
        self.assertFalse(silent.transport.disconnected)
        self.clock.advance(1)
        self.assertTrue(silent.transport.disconnected)
        self.assertEqual((factory.counters.handshakes, factory.connections), (1, set()))
        self.run_steps(self.connect(factory))
        self.clock.advance(2 * HANDSHAKE_TIMEOUT)
        self.assertEqual((factory.counters.handshakes, len(factory.connections)), (1, 1))

    def test_silentHandshakeAndLimits(self) -> None:
        """The negotiation's and the idle limit run from the connect: a handshake that stops half-way does not evade them."""
        for limits in ({"negotiation_timeout": 3.0}, {"idle_timeout": 3.0}):
            with self.subTest(limits=limits):
                silent, started = self.connect(**limits), self.connect(**limits)
                started.step()
                self.clock.advance(3)
                self.assertEqual([each.transport.disconnected for each in (silent, started)], [True, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closedDuringTheHandshake(self) -> None:
        """Closing the factory ends connections that are not established yet."""
        factory = QMPFactory(self.monitor)
        silent, started = self.connect(factory), self.connect(factory)
        started.step()
        closed = factory.close()
        self.clock.advance(0)
        self.successResultOf(closed)
        self.assertEqual([each.transport.disconnected for each in (silent, started)], [True, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refusedConnection(self) -> None:
        """One connection too many is closed before the handshake; nothing fails."""
        factory = QMPFactory(self.monitor, max_connections=1)
        self.connect(factory)
        refused = self.connect(factory)
        self.clock.advance(0)
        self.assertTrue(refused.transport.disconnected)
        self.assertEqual(factory.counters.refused, 1)

    def test_clientCertificate(self) -> None:
        """Where one is required: with it the client is served, without it the handshake fails, and the log says why."""
        required = SERVER.options(AUTHORITY.trust_root())
        mine = AUTHORITY.issue("client").private().options()
        self.assertEqual(len(self.run_steps(self.connect(options=required)).messages()), 0)
        client = TLSClient(self.serve(QMPFactory(self.monitor), required), self.clock, mine)
        self.assertEqual(len(self.run_steps(client).messages()), 1)
        certificate = client.transport.protocol.getPeerCertificate().to_cryptography()
        self.assertEqual(certificate.subject.rfc4514_string(), "CN=client")

    def test_suspension(self) -> None:
        """Beyond the in-flight limit nothing is read until there is room again."""
        client = self.negotiated(in_flight=2)
        self.assertEqual(self.ask(client, *self.run_(1, 2, 3)), [])
        self.assertEqual(client.transport.producerState, "paused")
        self.assertEqual(self.provider.started, [1, 2])
        client.send(json.dumps(self.run_(4, name="now")[0]).encode())
        self.provider.pending[1].callback(1)
        client.flush()
        self.assertEqual(self.provider.started, [1, 2, 3])
        self.provider.pending[2].callback(2)
        self.provider.pending[3].callback(3)
        self.run_steps(client)
        # The second one's end made room for the fourth, which takes no time.
        self.assertEqual(client.messages(), [1, 2, 4, 3])

    def test_lateReader(self) -> None:
        """A client that does not read is not served, nothing is dropped, and it gets everything once it reads."""
        client = self.negotiated()
        client.transport.stop_reading()
        self.ask(client, *({"execute": "big", "arguments": {"size": 30_000}, "id": n} for n in range(20)))
        self.clock.advance(0)
        self.assertEqual(client.transport.producerState, "paused")
        self.assertLess(len(self.provider.started), 8)
        client.transport.read_on()
        self.run_steps(client, 30)
        self.assertEqual(client.messages(), list(range(20)))
        self.assertEqual(client.transport.producerState, "producing")

    def test_halfClose(self) -> None:
        """After C{close_notify} what is pending is answered; then comes the end, and what the client still sends is not read."""
        client = self.negotiated()
        self.assertEqual(self.ask(client, *self.run_(1, 2)), [])
        client.connection.shutdown()
        client.flush()
        self.clock.advance(0)
        self.assertEqual((client.transport.disconnected, client.transport.producerState), (False, "paused"))
        for n in (2, 1):
            self.provider.pending[n].callback(n)
            self.run_steps(client)
        self.assertEqual(client.messages(), [2, 1])
        self.assertEqual((client.closed, client.transport.disconnected), (True, True))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_halfCloseIdle(self) -> None:
        """With nothing pending C{close_notify} closes the connection at once."""
        client = self.negotiated()
        client.connection.shutdown()
        client.flush()
        self.clock.advance(0)
        self.assertTrue(client.transport.disconnected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noGoodbye(self) -> None:
        """A client that answers no C{close_notify} does not keep its place."""
        factory = QMPFactory(self.monitor, idle_timeout=10)
        client = self.run_steps(self.connect(factory))
        self.clock.advance(10)
        self.assertFalse(client.transport.disconnected)
        self.clock.advance(LINGER)
        self.assertTrue(client.transport.disconnected)
        self.assertEqual((factory.counters.idle, factory.counters.cut_off), (1, 1))

    def test_goodbye(self) -> None:
        """One that does is disconnected in order."""
        factory = QMPFactory(self.monitor, idle_timeout=10)
        client = self.run_steps(self.connect(factory))
        self.clock.advance(10)
        self.run_steps(client)
        self.assertTrue(client.closed)
        client.connection.shutdown()
        client.flush()
        self.clock.advance(0)
        self.assertTrue(client.transport.disconnected)
        self.assertEqual((factory.counters.idle, factory.counters.cut_off), (1, 0))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), "certificate verify failed"),
        (SSL.Error([("a", "b", "first"), ("a", "b", "second")]), "first; second"),
        (SSL.Error([]), "[]"),
        (VerificationError(errors=[]), "the certificate is for another host"),
        (ConnectionDone(), "Connection was closed cleanly"),
        (ConnectionLost("a\n b"), "Connection to the other side was lost in a non-clean fashion: a b"),
    ],
)
def test_loss_reason(error: Exception, words: str) -> None:
    """Why a connection was lost is said on one line, without Python's data."""
    assert loss_reason(Failure(error)) == words
