"""
Clients that take their time: those that don't read are ended in the end, those that read slowly get everything.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.support.qmp_session import SessionTests
from twisted_qmon import HMPFactory
from twisted_qmon._transport.connection import LINGER
from twisted_qmon.testing import HMPConnection, QMPConnection

SIZE = 70_000


class LingerTests(SessionTests):
    """What C{finish()} waits for, and how long."""

    def setUp(self) -> None:
        super().setUp()
        self.blobs: list[Deferred[str]] = []
        self.monitor.register_command("blob", self.blob)

    def blob(self) -> Deferred[str]:
        self.blobs.append(Deferred())
        return self.blobs[-1]

    def full(self, replies: int = 4, **limits: float) -> QMPConnection:
        """A client that reads no more: one reply is in its transport, the others wait behind it."""
        client = self.client(**limits)
        client.transport.stop_reading()
        client.send(*({"execute": "blob", "id": n} for n in range(replies)))
        for deferred in self.blobs:
            deferred.callback("x" * SIZE)
        self.assertTrue(client.protocol.write_queue.blocked)
        return client

    def test_idleAndDeaf(self) -> None:
        """A client that sends nothing and reads nothing is given up soon after its idle timeout, in its place another fits."""
        client = self.full(idle_timeout=10)
        self.clock.advance(10)
        self.assertEqual((client.closed, client.factory.counters.idle), (False, 1))
        self.clock.advance(LINGER)
        self.assertEqual((client.closed, client.factory.counters.cut_off), (True, 1))
        self.assertEqual(client.factory.connections, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notNegotiatedAndDeaf(self) -> None:
        """So is one that does not negotiate, and does not read what that is answered with."""
        client = self.client(negotiate=False, negotiation_timeout=10)
        client.transport.stop_reading()
        while client.transport.producerState == "producing":
            client.send(*[{"execute": "query-name"}] * 100)
        self.clock.advance(10)
        self.assertFalse(client.closed)
        self.clock.advance(LINGER)
        self.assertEqual((client.closed, client.factory.counters.cut_off), (True, 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_slowReader(self) -> None:
        """One that reads gets the rest, however long that takes; then the connection closes."""
        client = self.full(8, idle_timeout=10)
        client.half_close()
        self.clock.advance(10)
        for _ in range(7):
            self.clock.advance(LINGER - 1)
            self.assertFalse(client.closed)
            client.transport.read_buffer()
        client.transport.read_on()
        self.assertEqual([reply["id"] for reply in client.received()], list(range(8)))
        self.assertTrue(client.closed)
        self.assertEqual(client.factory.counters.cut_off, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_readingIsNotIdling(self) -> None:
        """Nor is it idle while it reads."""
        client = self.full(8, idle_timeout=10)
        for _ in range(7):
            self.clock.advance(9)
            client.transport.read_buffer()
        self.assertEqual((client.closed, client.factory.counters.idle), (False, 0))
        client.transport.read_on()
        self.assertEqual(len(client.received()), 8)
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual((client.closed, client.factory.counters.idle), (True, 1))

    def test_noEventsBehindTheEnd(self) -> None:
        """An event that comes while a connection is being ended is not queued behind the end."""
        client = self.client(idle_timeout=10)
        client.transport.stop_reading()
        self.clock.advance(10)
        self.monitor.emit("HAPPENED", {"n": 1})
        client.transport.read_on()
        self.assertEqual((client.received(), client.closed), ([], True))

    def test_deafPerson(self) -> None:
        """A person who does not read what was asked for is idle, too; one whose command is pending is not."""
        text = "x" * 200
        self.monitor.register_command("page", lambda: text)
        factory = HMPFactory(self.monitor, idle_timeout=10)
        deaf, waits = HMPConnection(self.monitor, factory=factory), HMPConnection(self.monitor, factory=factory)
        deaf.transport.stop_reading()
        while deaf.transport.producerState == "producing":
            deaf.type("page")
        waits.type("wait")
        self.clock.advance(10)
        self.assertEqual([deaf.closed, waits.closed], [False, False])
        self.clock.advance(LINGER)
        self.assertEqual([deaf.closed, waits.closed], [True, False])
        self.assertEqual((factory.counters.idle, factory.counters.cut_off), (1, 1))
