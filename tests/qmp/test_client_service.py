"""
The QMP client that connects again and again.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.qmp_server import FakeEndpoint
from twisted_qmon.errors import ConnectionClosed
from twisted_qmon.qmp._client.connection import MAX_DELAY
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
