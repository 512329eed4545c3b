"""The in-memory clients that users test their commands with."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fronted_server import FakeFrontedServer
from twisted_qmon import CommandNotFound, Monitor
from twisted_qmon.testing import HMPConnection, QMPConnection, connected_client


class TestingTests(SynchronousTestCase):
    """Each of them against a monitor with a slow command."""

    def setUp(self) -> None:
        self.monitor = Monitor("m", clock=Clock())
        self.slow: Deferred[int] = Deferred()
        self.monitor.register_command("slow", lambda: self.slow, help="takes its time")

    def test_machine(self) -> None:
        """A machine's reply is there at once, or C{None} until it comes."""
        client = QMPConnection(self.monitor)
        self.assertIn("QMP", client.greeting)
        self.assertEqual(client.execute("query-name"), {"return": {"name": "m"}})
        self.assertIsNone(client.execute("slow"))
        self.slow.callback(7)
        self.assertEqual(client.received(), [{"return": 7, "id": "test-2"}])
        with self.assertRaises(AssertionError):
            client.send(b'{"execute":"query-name"}')
            client.execute("query-name")

    def test_person(self) -> None:
        """A person sees what is printed, and a prompt."""
        person = HMPConnection(self.monitor, prompt="(m) ")
        self.assertTrue(person.banner.endswith("(m) "))
        self.assertEqual(person.type("info name"), "m\r\n(m) ")
        self.assertEqual(person.type("slow"), "")
        self.assertEqual(person.transport.producerState, "paused")
        with self.assertRaises(RuntimeError):
            person.type("help")
        self.slow.callback(7)
        self.assertEqual(person.output(), "7\r\n(m) ")

    def test_client(self) -> None:
        """A real client is connected and negotiated; the pump carries the bytes."""
        client, pump = connected_client(self.monitor)
        answer = client.execute("query-name")
        unknown = client.execute("nope")
        self.assertNoResult(answer)
        pump.flush()
        self.assertEqual(self.successResultOf(answer), {"name": "m"})
        self.failureResultOf(unknown, CommandNotFound)

    def test_notYetConnected(self) -> None:
        """A monitor that is not ready has no client yet, and the test is told so."""
        self.monitor.set_upstream(FakeFrontedServer(Deferred()))
        with self.assertRaises(AssertionError):
            connected_client(self.monitor)

    def test_otherServers(self) -> None:
        """What a machine's client expects of its server is checked: the answer to the negotiation, lines of pure ASCII."""
        echo = Factory.forProtocol(Echo)
        with self.assertRaises(AssertionError) as caught:
            QMPConnection(self.monitor, factory=echo)
        self.assertIn("the negotiation was answered []", str(caught.exception))
        client = QMPConnection(self.monitor, factory=echo, negotiate=False)
        client.send_bytes("\u00e9\r\n".encode())
        with self.assertRaises(AssertionError):
            client.received()
        # A protocol that knows no half-closed connections loses its connection.
        client.half_close()
        self.assertTrue(client.closed)

    def test_buffer(self) -> None:
        """A client that reads what is in the buffer, and no more, has the rest to come."""
        self.monitor.register_command("big", lambda: "x" * 70_000)
        client = QMPConnection(self.monitor)
        client.transport.stop_reading()
        client.send({"execute": "big", "id": 1}, {"execute": "big", "id": 2})
        self.assertEqual(client.received(), [])
        client.transport.read_buffer()
        self.assertEqual([reply["id"] for reply in client.received()], [1])
        client.transport.read_on()
        self.assertEqual([reply["id"] for reply in client.received()], [2])
