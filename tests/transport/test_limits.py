"""
Clients that take their time: those that don't read are ended in the end, those that read slowly get everything.
"""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred

from tests.support.qmp_session import SessionTests
from twisted_qmon import HMPFactory
from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.hang_up_watch import WATCH_PERIOD
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

    def test_finishingTwice(self) -> None:
        """A connection that is being ended is not ended again."""
        client = self.full(idle_timeout=10)
        client.protocol.finish()
        client.protocol.finish()
        self.assertEqual(client.factory.counters.cut_off, 0)
        client.transport.read_on()
        self.assertTrue(client.closed)
        client.protocol.finish()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WatchTests(SessionTests):
    """Clients that go while they are not read, over a pair of real sockets: nothing is waited for."""

    def watched(self) -> tuple[QMPConnection, socket.socket]:
        """A client that is suspended, and the other end of the socket that stands for its transport's."""
        mine, other = socket.socketpair()
        self.addCleanup(mine.close)
        self.addCleanup(other.close)
        client = self.client()
        client.transport.fileno = mine.fileno  # type: ignore[attr-defined]
        client.send(*self.run_(*range(9)))
        self.assertEqual(client.transport.producerState, "paused")
        return client, other

    def test_gone(self) -> None:
        """One that has closed its end is noticed at the next look; one that is still there, at none."""
        client, other = self.watched()
        self.clock.advance(WATCH_PERIOD)
        self.assertFalse(client.closed)
        other.close()
        self.clock.advance(WATCH_PERIOD)
        self.assertEqual((client.closed, client.factory.counters.vanished), (True, 1))
        self.assertEqual(client.factory.connections, set())

    def test_halfClosed(self) -> None:
        """One that has only shut down its writing side is still there."""
        client, other = self.watched()
        other.shutdown(socket.SHUT_WR)
        client.half_close()
        self.clock.advance(WATCH_PERIOD)
        self.assertFalse(client.closed)
        other.close()
        self.clock.advance(WATCH_PERIOD)
        self.assertTrue(client.closed)

    def test_resumed(self) -> None:
        """One that is read again is not looked at: its transport notices."""
        client, other = self.watched()
        self.provider.pending[0].callback(0)
        self.assertEqual(client.transport.producerState, "producing")
        other.close()
        self.clock.advance(WATCH_PERIOD)
        self.assertFalse(client.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_noDescriptor(self) -> None:
        """A transport that has none any more is passed over."""
        client, _ = self.watched()
        client.factory.peers.unwatch(client.transport)
        client.transport.fileno = lambda: -1  # type: ignore[attr-defined]
        client.factory.peers.watch(client.transport, client.lose)
        self.clock.advance(WATCH_PERIOD)
        self.assertFalse(client.closed)
