"""
A client's connection by itself: when it is ready, what is refused, how it ends.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.qmp_server import GREETING, FakeServer
from twisted_qmon.errors import ConnectionClosed
from twisted_qmon.qmp._client import session as _session
from twisted_qmon.qmp._client.connection import ClientConnection
from twisted_qmon.qmp._client.waiters import Waiters


class ClientConnectionTests(SynchronousTestCase):
    """L{ClientConnection}."""

    def setUp(self) -> None:
        self.connection: ClientConnection[str] = ClientConnection()
        self.server = FakeServer(self.connection)

    def test_ready(self) -> None:
        """It is ready when it is negotiated, and stays so."""
        waiting = self.connection.when_ready()
        self.assertNoResult(waiting)
        self.server.greet()
        self.successResultOf(waiting)
        self.successResultOf(self.connection.when_ready())

    def test_never_ready(self) -> None:
        """One that is closed before will not be ready."""
        self.connection.close()
        self.failureResultOf(self.connection.when_ready(), ConnectionClosed)

    def test_silent_negotiation(self) -> None:
        """A server that greets and does not answer the negotiation has a time limit, too."""
        clock = Clock()
        negotiating = self.connection.negotiate(clock, 3.0)
        self.server.say(GREETING)
        clock.advance(3.0)
        error = self.failureResultOf(negotiating, ConnectionClosed)
        self.assertEqual(str(error.value), "The server did not complete the negotiation within 3 s")

    def test_request_when_closed(self) -> None:
        """A request on a closed connection is refused, and so is one before the negotiation."""
        self.assertRaises(ConnectionClosed, self.connection.request, "one", "query-status")
        self.server.greet()
        self.connection.close()
        self.assertRaises(ConnectionClosed, self.connection.request, "one", "query-status")

    def test_lost(self) -> None:
        """All who wait for its loss are told; so are those who ask afterwards."""
        waiting = self.connection.when_lost()
        closed = self.connection.close(ConnectionClosed("enough"))
        again = self.connection.close()
        self.assertNoResult(waiting)
        self.server.lose()
        for each in (waiting, self.connection.when_lost()):
            self.assertEqual(self.successResultOf(each).desc, "enough")
        for end in (closed, again, self.connection.close()):
            self.successResultOf(end)

    def test_never_connected(self) -> None:
        """One that was never connected can be closed."""
        self.successResultOf(ClientConnection[Any]().close())

    def test_stop_producing(self) -> None:
        """The transport's last word to a producer ends nothing: C{connectionLost} follows."""
        self.server.greet()
        self.connection.stopProducing()
        self.connection.request("one", "query-status")
        self.assertEqual(len(self.server.requests()), 1)

    def test_many_names(self) -> None:
        """The encoded names of commands that are kept are bounded."""
        self.patch(_session, "_MAX_PREFIXES", 3)
        self.server.greet()
        for number in range(10):
            self.connection.request("one", f"command-{number}")
        self.assertEqual([each["execute"] for each in self.server.requests()], [f"command-{n}" for n in range(10)])
        self.assertLessEqual(len(self.connection.session._prefixes), 3)


class WaitersTests(SynchronousTestCase):
    """L{Waiters}."""

    def test_cancel_another(self) -> None:
        """One who is told may cancel another, who then is not told; and may wait again."""
        waiters: Waiters[int] = Waiters()
        for tell in (lambda: waiters.tell(1), lambda: waiters.fail(ConnectionClosed("no"))):
            one, two, three = waiters.wait(), waiters.wait(), waiters.wait()

            def told(result: object, other: Deferred[int] = two) -> Deferred[int]:
                other.cancel()
                return waiters.wait()

            again = one.addBoth(told)
            tell()
            self.failureResultOf(two, CancelledError)
            self.assertTrue(three.called)
            three.addErrback(lambda _: None)
            self.assertEqual(len(waiters), 1)
            again.cancel()
            self.failureResultOf(again, CancelledError)
            self.assertEqual(len(waiters), 0)
