"""
A QMP session that suspends: its client sends too much, or does not read.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.main import CONNECTION_DONE

from tests.support.qmp_session import SessionTests
from twisted_qmon import QMPFactory
from twisted_qmon._transport.hang_up_watch import WATCH_PERIOD
from twisted_qmon.testing import QMPConnection


class BackPressureTests(SessionTests):
    """Inwards and outwards."""

    def test_inFlight(self) -> None:
        """The session is suspended when the bound is exceeded, not when it is reached, and goes on when it no longer is."""
        client = self.client()
        client.send(*self.run_(*range(8)))
        self.assertEqual(client.transport.producerState, "producing")
        client.send(*self.run_(8, 9, name="now"))
        self.assertEqual(client.transport.producerState, "paused")
        self.assertEqual(self.provider.started, list(range(8)))
        self.provider.pending[0].callback(0)
        self.assertEqual(self.provider.started, [*range(8), 8, 9])
        self.assertEqual(client.transport.producerState, "producing")
        self.assertEqual([reply["id"] for reply in client.received()], [0, 8, 9])

    def test_cancelledByAnother(self) -> None:
        """Cancelling the one request too many, while it waits, is enough to go on."""
        client = self.client(in_flight=2)
        client.send(*self.run_(1, 2, 3))
        self.assertEqual(client.transport.producerState, "paused")
        number = self.client().execute("query-pending")["return"][2]["number"]
        self.client().execute("cancel-command", {"number": number})
        self.assertEqual([reply["id"] for reply in client.received()], [3])
        self.assertEqual(client.transport.producerState, "producing")
        self.provider.pending[1].callback(1)
        client.send(*self.run_(4, name="now"))
        self.assertEqual([reply["id"] for reply in client.received()], [1, 4])

    def test_cancelledWhileSuspended(self) -> None:
        """When the request that exceeded the bound is cancelled before it starts, the session goes on."""
        client = self.client()
        client.send(*self.run_(*range(9)), *self.run_(9, name="now"))
        self.assertEqual(client.transport.producerState, "paused")
        (waiting,) = [request for request in self.monitor.pending if request.id == 8]
        waiting.cancel()
        self.provider.pending[0].callback(0)
        self.assertEqual([reply["id"] for reply in client.received()], [8, 0, 9])
        self.assertEqual(client.transport.producerState, "producing")

    def test_synchronousNeverPauses(self) -> None:
        """A client that only asks for what is there at once is never paused."""
        client = self.client()
        client.send(*self.run_(*range(500), name="now"))
        self.assertEqual(len(client.received()), 500)
        self.assertEqual(client.transport.pauses, 0)

    def test_outOfBandAtTheLimit(self) -> None:
        """A client that keeps to the limit can get an exec-oob through; those have a bound of their own."""
        client = self.client(oob=True)
        client.send(*self.run_(*range(8)))
        oob = [{"exec-oob": "wait-oob", "arguments": {"n": n}, "id": n} for n in range(100, 108)]
        client.send(*oob)
        self.assertEqual(client.transport.producerState, "producing")
        client.send({"exec-oob": "wait-oob", "arguments": {"n": 108}, "id": 108})
        self.assertEqual(client.transport.producerState, "paused")
        self.assertNotIn(108, self.provider.started)
        self.provider.pending[100].callback(1)
        self.assertIn(108, self.provider.started)
        self.assertEqual(client.transport.producerState, "producing")

    def test_suspendNests(self) -> None:
        """suspend() and resume() nest; what had arrived is served first, in order, and not before."""
        client = self.client()
        protocol = client.protocol
        protocol.suspend()
        protocol.suspend()
        protocol.dataReceived(b'{"execute":"now","id":1}')
        self.assertEqual((client.received(), client.transport.producerState), ([], "paused"))
        protocol.resume()
        self.assertEqual((client.received(), client.transport.producerState), ([], "paused"))
        protocol.resume()
        self.assertEqual(client.received(), [{"return": 0, "id": 1}])
        self.assertEqual(client.transport.producerState, "producing")
        with self.assertRaises(RuntimeError):
            protocol.resume()

    def test_slowReader(self) -> None:
        """While a client does not read it is not served; a batch stops at the high-water mark, and nothing is dropped."""
        client = self.client()
        client.transport.stop_reading()
        client.send(*({"execute": "big", "arguments": {"size": 30_000}, "id": n} for n in range(20)))
        self.assertEqual(client.transport.producerState, "paused")
        self.assertLess(len(self.provider.started), 6)
        self.assertLess(len(client.transport.value()), 200_000)
        for _ in range(10):
            client.transport.read_on()
            client.transport.stop_reading()
        client.transport.read_on()
        self.assertEqual([reply["id"] for reply in client.received()], list(range(20)))
        self.assertEqual(client.transport.producerState, "producing")

    def slow_client(self, **options: Any) -> QMPConnection:
        """One that reads no more and whose buffer is full."""
        client = self.client(**options)
        client.transport.stop_reading()
        client.send({"execute": "big", "arguments": {"size": 1 << 16}, "id": "full"})
        self.assertTrue(client.protocol.write_queue.blocked)
        return client

    def test_disconnectSlow(self) -> None:
        """Events for a client that does not read wait up to the limit; beyond it that client is disconnected, and no other."""
        client = self.slow_client(max_queued=1000)
        other = self.client()
        n = 0
        while not client.closed:
            self.assertLess(n, 100)
            self.assertLessEqual(client.protocol.write_queue.queued, 1000)
            self.monitor.emit("HAPPENED", {"n": n})
            n += 1
        self.assertGreater(n, 5)
        self.assertEqual(client.factory.counters.slow, 1)
        self.assertEqual(len(other.received()), n)

    def test_dropOldest(self) -> None:
        """Or it loses the oldest, keeps its replies, and is told once how many."""
        client = self.slow_client(max_queued=1000, slow_client="drop-oldest")
        for n in range(100):
            self.monitor.emit("HAPPENED", {"n": n})
            self.assertLessEqual(client.protocol.write_queue.queued, 1000)
        client.transport.read_on()
        full, lost, *events = client.received()
        self.assertEqual(full["id"], "full")
        self.assertEqual((lost["event"], lost["data"]), ("EVENTS_LOST", {"count": 100 - len(events)}))
        self.assertEqual([event["data"]["n"] for event in events], list(range(100 - len(events), 100)))
        self.assertGreater(len(events), 5)
        client.lose()
        self.assertEqual(client.factory.counters.lost, 100 - len(events))

    def test_latestOfRateLimited(self) -> None:
        """Of a rate-limited event only the latest waits."""
        client = self.slow_client(max_queued=1000)
        for n in range(100):
            self.monitor.emit("LIMITED", {"n": n})
            self.monitor.events.flush()
        client.transport.read_on()
        self.assertEqual([m.get("data", {}).get("n") for m in client.received()], [None, 99])

    def test_repliesWaitInOrder(self) -> None:
        """Replies to what was running keep their place among events while the client does not read."""
        client = self.client()
        client.send(*self.run_(1, 2))
        client.transport.stop_reading()
        client.send({"execute": "big", "arguments": {"size": 1 << 16}, "id": "full"})
        self.provider.pending[1].callback(1)
        self.monitor.emit("HAPPENED", {"n": 5})
        self.provider.pending[2].callback(2)
        client.transport.read_on()
        self.assertEqual([m.get("id", m.get("event")) for m in client.received()], ["full", 1, "HAPPENED", 2])


class Descriptor(FileDescriptor):
    """A transport with everything but a socket; it has no reactor, so it sends only what it is told to."""

    connected = True

    def __init__(self) -> None:
        super().__init__(reactor=object())  # type: ignore[arg-type]
        self.sent: list[int] = []

    def writeSomeData(self, data: bytes) -> int:
        self.sent.append(data.count(b"\n"))
        return len(data)

    def startWriting(self) -> None: ...

    def stopWriting(self) -> None: ...

    def stopReading(self) -> None: ...

    def getPeer(self) -> UNIXAddress:
        return UNIXAddress(None)


class PushTests(SessionTests):
    """What a client waits for is sent in the same turn of the reactor."""

    def setUp(self) -> None:
        super().setUp()
        self.transport = Descriptor()
        self.protocol: Any = QMPFactory(self.monitor).buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(b'{"execute":"qmp_capabilities"}\n')
        self.transport.doWrite()
        self.transport.sent.clear()

    def send(self, *messages: Any) -> list[int]:
        """Send in one piece. :return: how many lines there were in each piece sent so far"""
        self.protocol.dataReceived(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        return self.transport.sent

    def test_atOnce(self) -> None:
        """A lone reply, and the replies of a batch together."""
        self.assertEqual(self.send(*self.run_(1, name="now")), [1])
        self.assertEqual(self.send(*self.run_(2, 3, 4, name="now")), [1, 3])

    def test_pending(self) -> None:
        """As long as more is to come for the client, nothing is hurried; the last reply is."""
        self.assertEqual(self.send(*self.run_(1, 2, 3)), [])
        for n in (2, 1):
            self.provider.pending[n].callback(n)
        self.assertEqual(self.send(*self.run_(4, name="now")), [])
        self.provider.pending[3].callback(3)
        self.assertEqual(self.transport.sent, [4])

    def test_ending(self) -> None:
        """Once the connection is being closed, the transport is left alone."""
        self.send(*self.run_(1))
        self.transport.loseConnection()
        self.provider.pending[1].callback(1)
        self.assertEqual(self.transport.sent, [])
        # It is the reactor who must hear that this was the end.
        self.assertIs(self.transport.doWrite(), CONNECTION_DONE)
        self.assertEqual(self.transport.sent, [1])


class WatchTests(SessionTests):
    """A peer that vanishes while nothing is read from it. With real sockets in tests/live."""

    def test_watchesOnlyDescriptors(self) -> None:
        """A transport without a descriptor is not watched, and no timer runs for it."""
        client = self.client()
        client.send(*self.run_(*range(9)))
        self.assertEqual(client.transport.producerState, "paused")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertGreater(WATCH_PERIOD, 0)
