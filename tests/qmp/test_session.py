"""A QMP session over an in-memory transport: negotiation, order, bounds, back-pressure, and how it ends."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_qmon import CommandProvider, Event, GenericError, Monitor, QMPFactory, command
from twisted_qmon._transport.hang_up import WATCH_PERIOD
from twisted_qmon.interfaces import ICaller, ISuspendable
from twisted_qmon.testing import QMPConnection


class Provider(CommandProvider):
    """Commands that take as long as the test likes."""

    events = (
        Event("HAPPENED", n=int),
        Event("LIMITED", n=int, rate_limit=1.0),
    )

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.pending: dict[Any, Deferred[Any]] = {}

    def _wait(self, n: Any) -> Deferred[Any]:
        self.started.append(n)
        self.pending[n] = Deferred()
        return self.pending[n]

    @command
    def wait(self, n: int = 0) -> Deferred[int]:
        """Fires when the test says."""
        return self._wait(n)

    @command(oob=True)
    def wait_oob(self, n: int = 0) -> Deferred[int]:
        """The same, out of band too."""
        return self._wait(n)

    @command
    def now(self, n: int = 0) -> int:
        """At once."""
        self.started.append(n)
        return n

    @command
    def big(self, size: int) -> str:
        """A reply of so many bytes."""
        self.started.append(size)
        return "x" * size

    @command
    def tell(self, n: int) -> int:
        """Emits an event, then returns."""
        assert self.monitor is not None
        self.monitor.emit("HAPPENED", {"n": n})
        return n

    @command
    def fire(self, n: int) -> int:
        """Completes another request from within."""
        self.pending[n].callback(n)
        return n


class SessionTests(SynchronousTestCase):
    """One monitor, a clock that stands still, as many clients as wanted."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor("m", clock=self.clock)
        self.provider = Provider()
        self.monitor.register(self.provider)

    def client(self, **options: Any) -> QMPConnection:
        return QMPConnection(self.monitor, **options)

    def run_(self, *ids: Any, name: str = "wait") -> list[Any]:
        """Messages that execute a command with n = id."""
        return [{"execute": name, "arguments": {"n": id}, "id": id} for id in ids]


class NegotiationTests(SessionTests):
    """Greeting and capabilities."""

    def test_interfaces(self) -> None:
        """Protocol and session are what they say."""
        client = self.client()
        verifyObject(ISuspendable, client.protocol)
        verifyObject(IHalfCloseableProtocol, client.protocol)
        verifyObject(ICaller, client.protocol.session)

    def test_greeting(self) -> None:
        """The greeting comes first and alone, in QEMU's form."""
        client = self.client(negotiate=False)
        self.assertEqual(set(client.greeting["QMP"]), {"version", "capabilities"})
        self.assertEqual(client.greeting["QMP"]["capabilities"], ["oob"])
        self.assertEqual(client.received(), [])

    def test_gate(self) -> None:
        """Nothing but qmp_capabilities is served before it; a bad one can be tried again."""
        client = self.client(negotiate=False)
        client.send({"execute": "query-name", "id": 1}, {"execute": "nope"})
        desc = "Expecting capabilities negotiation with 'qmp_capabilities'"
        self.assertEqual(
            client.received(),
            [
                {"id": 1, "error": {"class": "CommandNotFound", "desc": desc}},
                {"error": {"class": "CommandNotFound", "desc": desc}},
            ],
        )
        for arguments, words in (
            ({"enable": "oob"}, "Invalid parameter type for 'enable', expected: array"),
            ({"enable": [1]}, "Invalid parameter type for 'enable[0]', expected: string"),
            ({"bogus": 1}, "Parameter 'bogus' is unexpected"),
        ):
            client.send({"execute": "qmp_capabilities", "arguments": arguments})
            self.assertEqual(client.received(), [{"error": {"class": "GenericError", "desc": words}}])
        client.send({"exec-oob": "qmp_capabilities"})
        self.assertEqual(client.received()[0]["error"]["desc"], "QMP input member 'exec-oob' is unexpected")
        client.send({"execute": "qmp_capabilities", "arguments": {"enable": ["oob", "oob"]}, "id": None})
        self.assertEqual(client.received(), [{"return": {}, "id": None}])
        client.send({"execute": "qmp_capabilities"})
        self.assertEqual(
            client.received()[0]["error"],
            {"class": "CommandNotFound", "desc": "Capabilities negotiation is already complete, command ignored"},
        )
        client.send({"execute": "qmp_capabilities", "arguments": {"enable": 1}})
        self.assertEqual(client.received()[0]["error"]["class"], "GenericError")

    def test_pipelined(self) -> None:
        """Negotiation and commands may come in one piece, with no line ends at all."""
        client = self.client(negotiate=False)
        client.send_bytes(b'{"execute":"qmp_capabilities"}{"execute":"query-name"}{"execute":"now","id":1}')
        self.assertEqual(client.received(), [{"return": {}}, {"return": {"name": "m"}}, {"return": 0, "id": 1}])

    def test_eventsWait(self) -> None:
        """No event comes before the answer to the negotiation."""
        client = self.client(negotiate=False)
        self.monitor.emit("HAPPENED", {"n": 1})
        self.assertEqual(client.received(), [])
        client.send({"execute": "qmp_capabilities"})
        self.assertEqual(client.received(), [{"return": {}}])
        self.monitor.emit("HAPPENED", {"n": 2})
        (event,) = client.received()
        self.assertEqual((event["event"], event["data"]), ("HAPPENED", {"n": 2}))

    def test_ready(self) -> None:
        """The greeting waits for a monitor that is not ready, but no longer than two seconds; meanwhile nothing is read."""
        for seconds in (0.5, 2):
            ready: Deferred[None] = Deferred()
            self.monitor.ready = lambda ready=ready: ready
            client = self.client(negotiate=False)
            self.assertEqual((client.greeting, client.transport.producerState), (None, "paused"))
            self.clock.advance(seconds)
            if seconds == 0.5:
                ready.callback(None)
            (greeting,) = client.received()
            self.assertIn("QMP", greeting)
            self.assertEqual(client.transport.producerState, "producing")

    def test_negotiationTimeout(self) -> None:
        """Who does not negotiate in time is disconnected, who does is not."""
        silent = self.client(negotiate=False, negotiation_timeout=3)
        self.client(negotiation_timeout=3)
        other = self.client(negotiation_timeout=3)
        self.clock.advance(3)
        self.assertTrue(silent.closed)
        self.assertFalse(other.closed)


class OrderTests(SessionTests):
    """When requests start, and when their replies go out."""

    def test_withIds(self) -> None:
        """Requests with ids run side by side, and are answered as they complete."""
        client = self.client()
        client.send(*self.run_(1, 2, 3))
        self.assertEqual(self.provider.started, [1, 2, 3])
        self.provider.pending[3].callback(3)
        self.provider.pending[1].callback(1)
        self.assertEqual(client.received(), [{"return": 3, "id": 3}, {"return": 1, "id": 1}])

    def test_withoutIds(self) -> None:
        """Of those without an id one runs at a time, so that the replies come in order."""
        client = self.client()
        message = {"execute": "wait", "arguments": {"n": 1}}
        client.send(message, {**message, "arguments": {"n": 2}}, {"execute": "now"})
        self.assertEqual(self.provider.started, [1])
        self.provider.pending[1].callback(1)
        self.assertEqual(self.provider.started, [1, 2])
        self.provider.pending[2].callback(2)
        self.assertEqual([reply["return"] for reply in client.received()], [1, 2, 0])

    def test_strictStart(self) -> None:
        """What is behind the head of the queue waits, even if it could start."""
        client = self.client()
        client.send({"execute": "wait"}, {"execute": "now"}, *self.run_(7, name="now"))
        self.assertEqual(self.provider.started, [0])
        self.provider.pending[0].callback(0)
        self.assertEqual(client.received(), [{"return": 0}, {"return": 0}, {"return": 7, "id": 7}])

    def test_malformedKeepsItsPlace(self) -> None:
        """A malformed message is an in-band request that completes at once: without an id it waits for its turn."""
        client = self.client()
        client.send({"execute": "wait"}, b"{]", [], {"execute": "now", "bogus": 1, "id": 5}, {"id": 6})
        self.assertEqual(client.received(), [])
        self.provider.pending[0].callback(0)
        replies = client.received()
        self.assertEqual(replies[0], {"return": 0})
        self.assertEqual(
            [(reply.get("id"), reply["error"]["desc"]) for reply in replies[1:]],
            [
                (None, "JSON parse error, expecting value"),
                (None, "QMP input must be a JSON object"),
                (5, "QMP input member 'bogus' is unexpected"),
                (6, "QMP input lacks member 'execute'"),
            ],
        )

    def test_outOfBand(self) -> None:
        """exec-oob overtakes everything that waits, where it has been negotiated."""
        client = self.client(oob=True)
        client.send({"execute": "wait"}, {"execute": "now"}, {"exec-oob": "wait-oob", "arguments": {"n": 9}, "id": 9})
        self.assertEqual(self.provider.started, [0, 9])
        self.provider.pending[9].callback(9)
        self.assertEqual(client.received(), [{"return": 9, "id": 9}])
        client.send({"exec-oob": "now", "id": 1}, {"exec-oob": "nope", "id": 2}, {"exec-oob": 3, "id": 3})
        first, second, *_ = client.received()
        self.assertEqual(first["error"]["desc"], "The command now does not support OOB")
        self.assertEqual(second["error"]["class"], "CommandNotFound")

    def test_serial(self) -> None:
        """With one in flight it is QEMU's serial monitor."""
        client = self.client(in_flight=1)
        client.send(*self.run_(1, 2))
        self.assertEqual(self.provider.started, [1])
        self.provider.pending[1].callback(1)
        self.assertEqual(self.provider.started, [1, 2])

    def test_cancelWaiting(self) -> None:
        """A request that waits can be cancelled: with an id it is answered at once, without one in its turn; it never starts."""
        client = self.client(oob=True)
        client.send({"execute": "wait"}, {"execute": "now", "arguments": {"n": 1}}, *self.run_(2, name="now"))
        pending = self.successResultOf(self.monitor.execute("query-pending"))
        self.assertEqual([each["command"] for each in pending], ["wait", "now", "now"])
        client.send({"exec-oob": "cancel-command", "arguments": {"id": 2}, "id": "c"})
        replies = client.received()
        self.assertEqual([reply["id"] for reply in replies], [2, "c"])
        self.successResultOf(self.monitor.execute("cancel-command", {"number": pending[1]["number"]}))
        self.assertEqual(client.received(), [])
        self.provider.pending[0].callback(0)
        first, second = client.received()
        self.assertEqual(first, {"return": 0})
        self.assertEqual(second["error"]["desc"], "Command 'now' was cancelled")
        self.assertEqual(self.provider.started, [0])

    def test_completedFromWithin(self) -> None:
        """A handler that completes another request has that reply before its own."""
        client = self.client()
        client.send(*self.run_(1), {"execute": "fire", "arguments": {"n": 1}, "id": 2}, *self.run_(3, name="now"))
        self.assertEqual([reply["id"] for reply in client.received()], [1, 2, 3])

    def test_eventsAmongReplies(self) -> None:
        """Events and replies of one batch come in the order in which they happened, at every client."""
        client, other = self.client(), self.client()
        client.send(*self.run_(1, name="now"), *self.run_(2, name="tell"), *self.run_(3, name="now"))
        self.assertEqual([m.get("id", m.get("event")) for m in client.received()], [1, "HAPPENED", 2, 3])
        self.assertEqual([m["event"] for m in other.received()], ["HAPPENED"])

    def test_selectedEvents(self) -> None:
        """A client may choose its events; the others get theirs as before."""
        client, other = self.client(), self.client()
        self.assertEqual(client.execute("select-events", {"names": ["SHUTDOWN"]}), {"return": {}})
        self.monitor.emit("HAPPENED", {"n": 1})
        self.monitor.emit("SHUTDOWN", {"guest": False, "reason": "test"})
        self.assertEqual([m["event"] for m in client.received()], ["SHUTDOWN"])
        self.assertEqual([m["event"] for m in other.received()], ["HAPPENED", "SHUTDOWN"])
        client.execute("select-events")
        self.monitor.emit("HAPPENED", {"n": 2})
        self.assertEqual([m["event"] for m in client.received()], ["HAPPENED"])
        refused = client.execute("select-events", {"names": ["NOPE"]})
        self.assertEqual(refused["error"]["desc"], "Event 'NOPE' is not defined")
        self.failureResultOf(self.monitor.execute("select-events"), GenericError)

    def test_idsOfAnyType(self) -> None:
        """An id of any JSON type comes back as it is, duplicate or not."""
        client = self.client()
        ids = [0, -1, 1.5, "x", "\u20ac", None, True, [], {}, {"a": [1, {"b": None}]}, 1 << 63, 1]
        client.send(*({"execute": "now", "id": id} for id in ids), {"execute": "now", "id": 1})
        self.assertEqual([json.dumps(reply["id"]) for reply in client.received()], [json.dumps(id) for id in [*ids, 1]])

    def test_idsThatCannotBeListed(self) -> None:
        """An id that no result can hold does not spoil query-pending for everybody: it is left out there."""
        deep = b"[" * 1023 + b"]" * 1023
        client = self.client()
        for n, id in enumerate((b"1e400", deep, b"7")):
            client.send(b'{"execute": "wait", "arguments": {"n": %d}, "id": %s}' % (n, id))
        listed = self.client().execute("query-pending")["return"]
        self.assertEqual([info.get("id", "none") for info in listed], ["none", "none", 7])
        client.send(b'{"execute": "cancel-command", "arguments": {"id": 1e400}, "id": 0}')
        replies = client.take_bytes()
        self.assertEqual((replies.count(b"\n"), b'"id":1e999' in replies), (2, True))


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


class EndTests(SessionTests):
    """How connections end."""

    def test_halfClose(self) -> None:
        """After the end of its input a client still gets its replies; then the connection closes."""
        client = self.client()
        client.send(*self.run_(1, 2), {"execute": "wait", "arguments": {"n": 3}}, {"execute": "now"})
        client.half_close()
        self.assertFalse(client.closed)
        for n in (3, 1, 2):
            self.provider.pending[n].callback(n)
        self.assertEqual([reply["return"] for reply in client.received()], [3, 0, 1, 2])
        self.assertTrue(client.closed)
        self.assertEqual(client.factory.connections, set())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_halfCloseIdle(self) -> None:
        """With nothing pending the connection closes at once."""
        client = self.client()
        client.half_close()
        self.assertTrue(client.closed)

    def test_halfCloseWhileSuspended(self) -> None:
        """What was received before the end of input is served, though the session was suspended."""
        client = self.client()
        client.send(*self.run_(*range(12)))
        client.half_close()
        for n in range(12):
            self.provider.pending[n].callback(n)
        self.assertEqual([reply["id"] for reply in client.received()], list(range(12)))
        self.assertTrue(client.closed)

    def test_replyToNobodyElse(self) -> None:
        """The reply to a client that has gone reaches nobody, its events neither."""
        gone, other = self.client(), self.client()
        gone.send(*self.run_(1))
        gone.lose()
        self.provider.pending[1].callback(1)
        self.monitor.emit("HAPPENED", {"n": 1})
        self.assertEqual([m["event"] for m in other.received()], ["HAPPENED"])
        self.assertEqual(len(self.monitor.pending), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connectionLimit(self) -> None:
        """One connection too many is turned away, and counted; when one leaves there is room again."""
        factory = QMPFactory(self.monitor, max_connections=2)
        first, second, third = (self.client(factory=factory) for _ in range(3))
        self.assertEqual([each.closed for each in (first, second, third)], [False, False, True])
        self.assertEqual(factory.counters.refused, 1)
        first.lose()
        self.assertFalse(self.client(factory=factory).closed)

    def test_idleTimeout(self) -> None:
        """A client that sends nothing is disconnected, one that waits for a reply is not."""
        idle, busy, lively = (self.client(idle_timeout=10) for _ in range(3))
        busy.send(*self.run_(1))
        self.clock.advance(6)
        lively.send(*self.run_(2, name="now"))
        self.clock.advance(5)
        self.assertEqual([each.closed for each in (idle, busy, lively)], [True, False, False])
        self.clock.advance(6)
        self.assertEqual([each.closed for each in (busy, lively)], [False, True])
        self.assertEqual(idle.factory.counters.idle, 1)
        busy.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """Closing a factory ends its connections: those that read get the rest, those that don't are cut off."""
        factory = QMPFactory(self.monitor)
        reads, stuck = self.client(factory=factory), self.client(factory=factory)
        stuck.transport.stop_reading()
        stuck.send({"execute": "big", "arguments": {"size": 1 << 17}})
        done = factory.close(5)
        self.assertTrue(reads.closed)
        self.assertTrue(self.client(factory=factory).refused)
        self.assertNoResult(done)
        self.clock.advance(5)
        self.successResultOf(done)
        self.assertTrue(stuck.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_badLimits(self) -> None:
        """Limits that make no sense are refused."""
        for options in ({"in_flight": 0}, {"max_message": 0}, {"slow_client": "wait"}, {"max_connections": 0}):
            with self.assertRaises(ValueError):
                QMPFactory(self.monitor, **options)

    def test_unencodable(self) -> None:
        """A result that the core was told to trust, but that can't be encoded, is still answered, once."""
        client = self.client()
        wait = self.monitor.command("wait")
        assert wait is not None
        wait.finish = lambda result: object()
        client.send(*self.run_(1))
        self.provider.pending[1].callback(1)
        (reply,) = client.received()
        self.assertEqual((reply["id"], reply["error"]["class"]), (1, "GenericError"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_unencodableError(self) -> None:
        """An error made with something else than words is answered as an error all the same."""
        client = self.client()
        client.send(*self.run_(1))
        self.provider.pending[1].errback(GenericError(ValueError("no words")))  # type: ignore[arg-type]
        (reply,) = client.received()
        self.assertEqual((reply["id"], reply["error"]["class"]), (1, "GenericError"))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_unencodableAtOnce(self) -> None:
        """The same of one that is there at once, alone or among others."""
        client = self.client()
        now = self.monitor.command("now")
        assert now is not None
        now.finish = lambda result: object() if result == 2 else result
        client.send(*self.run_(2, name="now"))
        client.send(*self.run_(1, 2, 3, name="now"))
        replies = client.received()
        self.assertEqual([reply["id"] for reply in replies], [2, 1, 2, 3])
        self.assertEqual([reply["id"] for reply in replies if "error" in reply], [2, 2])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)


class FromWithinTests(SessionTests):
    """A handler that gets back to its own session before it returns."""

    def call(self, what: Any) -> None:
        """Have the command C{within} do that."""

        def within() -> str:
            what()
            return "within"

        self.monitor.register_command("within", within)

    def test_input(self) -> None:
        """What arrives while a lone request is being served is served after it: messages, a piece of one, and what is none."""
        client = self.client()
        more = [
            b'{"execute":"now","id":2}\n',
            b'{"execute":"now","id":3}{"execute":"now","id":4}\n{"exe',
            b'cute":"now"}\n@ ',
        ]

        def feed() -> None:
            for data in more:
                client.protocol.dataReceived(data)

        self.call(feed)
        client.send({"execute": "within", "id": 1})
        *replies, wrong = client.received()
        self.assertEqual([reply.get("id") for reply in replies], [1, 2, 3, 4, None])
        self.assertEqual(replies[0]["return"], "within")
        self.assertIn("JSON parse error", wrong["error"]["desc"])

    def test_suspend(self) -> None:
        """It is answered; what follows waits for the resumption."""
        client = self.client()
        self.call(client.protocol.suspend)
        client.send({"execute": "within", "id": 1})
        # A transport may have read more before it heard of the suspension.
        client.protocol.dataReceived(b'{"execute":"now","id":2}\n')
        self.assertEqual([reply["id"] for reply in client.received()], [1])
        self.assertEqual(client.transport.producerState, "paused")
        client.protocol.resume()
        self.assertEqual([reply["id"] for reply in client.received()], [2])

    def test_gone(self) -> None:
        """Its client leaves: nobody is answered, nothing fails."""
        client = self.client()
        self.call(lambda: client.protocol.connectionLost())
        client.send({"execute": "within", "id": 1})
        self.assertEqual(client.received(), [])

    def test_unregistered(self) -> None:
        """Its command is taken out, and completes all the same."""
        client = self.client()
        done: Deferred[int] = Deferred()

        def once() -> Deferred[int]:
            self.monitor.unregister("once")
            return done

        self.monitor.register_command("once", once)
        client.send({"execute": "once", "id": 1})
        done.callback(5)
        self.assertEqual(client.received(), [{"return": 5, "id": 1}])


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
