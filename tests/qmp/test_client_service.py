"""
The QMP client that connects again and again.
"""

from __future__ import annotations

from errno import ENOENT
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.qmp_server import FakeEndpoint
from twisted_qmon.errors import ConnectionClosed
from twisted_qmon.qmp._client.connection import ClientConnection, connect
from twisted_qmon.qmp._client.reconnect import MAX_DELAY, Reconnector
from twisted_qmon.qmp.client import QMPClient


class ServiceTests(SynchronousTestCase):
    """L{QMPClient.service}: connected for as long as it runs."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint()
        self.service = QMPClient.service(
            self.endpoint, clock=self.clock, negotiation_timeout=5.0, retry_policy=lambda n: 1.0
        )
        self.client = self.service.client

    def test_reconnects(self) -> None:
        """After a loss it connects and negotiates again; subscriptions stay, requests between fail at once."""
        seen: list[Any] = []
        self.client.subscribe(seen.append)
        self.failureResultOf(self.client.execute("early"), ConnectionClosed)
        self.service.startService()
        self.endpoint.servers[0].greet()
        self.assertIs(self.successResultOf(self.service.when_connected()), self.client)
        pending = self.client.execute("a")
        self.endpoint.servers[0].lose()
        self.failureResultOf(pending, ConnectionClosed)
        self.failureResultOf(self.client.execute("b"), ConnectionClosed)
        self.clock.advance(1.0)
        self.endpoint.servers[1].greet()
        self.assertTrue(self.client.connected)
        self.endpoint.servers[1].say({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 1}})
        self.assertEqual(len(seen), 1)
        stopped = self.service.stopService()
        self.endpoint.servers[1].lose(ConnectionDone())
        self.successResultOf(stopped)
        self.assertFalse(self.client.connected)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent_server(self) -> None:
        """A negotiation that comes to nothing is a failed attempt: the connection is closed and another one made."""
        self.service.startService()
        first = self.service.when_connected(fail_after=1)
        self.clock.advance(5.0)
        self.failureResultOf(first, ConnectionClosed)
        self.assertTrue(self.endpoint.servers[0].transport.disconnecting)
        self.endpoint.servers[0].lose(ConnectionDone())
        self.clock.advance(1.0)
        self.endpoint.servers[1].greet()
        self.assertTrue(self.client.connected)

    def test_stopped_while_negotiating(self) -> None:
        """Stopping ends an attempt, too."""
        self.service.startService()
        stopped = self.service.stopService()
        self.assertTrue(self.endpoint.servers[0].transport.disconnecting)
        self.endpoint.servers[0].lose(ConnectionDone())
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """A server that is not there yet is tried again."""
        self.endpoint.refusals = 3
        self.service.startService()
        self.clock.pump([1.0] * 3)
        self.endpoint.servers[0].greet()
        self.assertTrue(self.client.connected)

    def test_back_off_is_bounded(self) -> None:
        """The time between attempts grows, up to a limit (and a second of chance)."""
        clock = Clock()
        endpoint = FakeEndpoint(refusals=1000)
        QMPClient.service(endpoint, clock=clock).startService()
        delays = []
        while endpoint.refusals > 980:
            (call,) = clock.getDelayedCalls()
            delays.append(call.getTime() - clock.seconds())
            clock.advance(delays[-1])
        self.assertLess(delays[0], 1.4)
        self.assertGreater(delays[-1], MAX_DELAY - 0.1)
        self.assertLessEqual(max(delays), MAX_DELAY + 1.0)


class ReconnectorTests(SynchronousTestCase):
    """L{Reconnector}: starting, stopping, and what is logged."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint()
        self.log: Any = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        self.seen = 0
        self.reconnector = Reconnector(self.connect, "the server", self.clock, lambda failures: 1.04 * failures)

    def connect(self) -> Deferred[ClientConnection[Any]]:
        """One attempt."""

        async def prepare(connection: ClientConnection[Any]) -> None:
            await connection.negotiate(self.clock, 5.0)

        return Deferred.fromCoroutine(connect(self.endpoint, ClientConnection[Any], prepare))

    def lines(self) -> list[str]:
        """What has been logged since the last call."""
        lines = [formatEvent(event) for event in self.log][self.seen :]
        self.seen += len(lines)
        return lines

    def test_log(self) -> None:
        """Each failure and each loss is one line: where, why, and when the next attempt is made."""
        self.endpoint.refusals = 2
        self.reconnector.startService()
        self.assertEqual(
            self.lines(), ["can't connect to the server: Connection was refused by other side; next attempt in 1.0 s"]
        )
        self.clock.advance(1.04)
        self.lines()
        self.clock.advance(2.08)
        self.endpoint.servers[0].protocol.dataReceived(b"hello\r\n")
        self.assertEqual(
            self.lines(),
            [
                "can't connect to the server: This is not a QMP server: JSON parse error, invalid keyword 'hello'; "
                "next attempt in 3.1 s"
            ],
        )
        self.clock.advance(3.12)
        self.endpoint.servers[1].greet()
        self.assertEqual(self.lines(), [])
        self.endpoint.servers[1].lose(ConnectionDone())
        self.assertEqual(
            self.lines(),
            [
                "disconnected from the server: The connection to the monitor was lost: Connection was closed cleanly; "
                "next attempt in 1.0 s"
            ],
        )
        self.reconnector.stopService()
        self.assertEqual(self.lines(), [])

    def test_error_numbers(self) -> None:
        """Of an error with a number of the system the log has the system's words."""
        self.endpoint.refusals = 1
        self.endpoint.error = ConnectError(ENOENT)
        self.reconnector.startService()
        self.assertEqual(
            self.lines(), ["can't connect to the server: No such file or directory; next attempt in 1.0 s"]
        )

    def test_stop_while_waiting(self) -> None:
        """Stopping ends the pause between attempts."""
        self.endpoint.refusals = 1
        self.reconnector.startService()
        waiting = self.reconnector.when_connected()
        self.successResultOf(self.reconnector.stopService())
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.reconnector.stopService())

    def test_started_again(self) -> None:
        """Started again while it stops, it connects again once the connection is closed."""
        self.reconnector.startService()
        self.endpoint.servers[0].greet()
        stopped = self.reconnector.stopService()
        self.reconnector.startService()
        self.assertNoResult(stopped)
        self.endpoint.servers[0].lose(ConnectionDone())
        self.successResultOf(stopped)
        self.clock.advance(1.04)
        self.endpoint.servers[1].greet()
        self.successResultOf(self.reconnector.when_connected())

    def test_stopped_by_who_is_told(self) -> None:
        """One who is told of the connection may stop the service."""
        self.reconnector.startService()
        waiting = self.reconnector.when_connected()
        stopped = waiting.addCallback(lambda _: self.reconnector.stopService())
        self.endpoint.servers[0].greet()
        self.assertTrue(self.endpoint.servers[0].transport.disconnecting)
        self.endpoint.servers[0].lose(ConnectionDone())
        self.successResultOf(stopped)
        self.assertEqual(len(self.endpoint.servers), 1)

    def test_fail_after(self) -> None:
        """Each who waits says how many failures that bears."""
        self.endpoint.refusals = 3
        once, twice = self.reconnector.when_connected(1), self.reconnector.when_connected(2)
        ever, given_up = self.reconnector.when_connected(), self.reconnector.when_connected()
        given_up.addErrback(lambda _: None).cancel()
        self.reconnector.startService()
        self.failureResultOf(once, ConnectionRefusedError)
        self.assertNoResult(twice)
        self.clock.advance(1.04)
        self.failureResultOf(twice, ConnectionRefusedError)
        self.clock.pump([2.08, 3.12])
        self.endpoint.servers[0].greet()
        self.successResultOf(ever)

    def test_broken_policy(self) -> None:
        """A retry policy that raises is logged, and the service can be started again."""
        self.reconnector._retry_policy = lambda failures: 1 // 0
        self.endpoint.refusals = 1
        self.reconnector.startService()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.reconnector.startService()
        self.assertEqual(len(self.endpoint.servers), 1)
