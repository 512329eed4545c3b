"""
Events with numbers: a client that was away gets what it missed, then what comes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.qmp_session import SessionTests
from twisted_qmon import Event, Monitor, QMPFactory
from twisted_qmon._transport.connection import LINGER
from twisted_qmon.core.command import CommandProvider
from twisted_qmon.core.events import EventMessage
from twisted_qmon.info import Level
from twisted_qmon.testing import QMPConnection

OTHER = "01234567-89ab-cdef-0123-456789abcdef"


class Fixture(SessionTests):
    """A monitor whose C{HAPPENED} events have their own number for C{n}."""

    def happen(self, count: int = 1) -> None:
        """Emit so many."""
        for _ in range(count):
            self.monitor.emit("HAPPENED", {"n": self.history.last + 1})

    @property
    def history(self) -> Any:
        """The monitor's history of events."""
        return self.monitor.events.history

    def small_history(self, count: int) -> None:
        """Keep only so many events."""
        self.history.limit(count)

    def select(self, client: QMPConnection, **arguments: Any) -> dict[str, Any]:
        """Select numbered events. What comes after the reply stays with the client. :return: the reply, without the id"""
        client.send({"execute": "select-events", "arguments": {"numbered": True, **arguments}, "id": "select"})
        self.messages = client.received()
        reply: dict[str, Any] = self.messages.pop(0)
        self.assertEqual(reply.pop("id"), "select")
        result: dict[str, Any] = reply.get("return", reply)
        if "error" not in result:
            self.assertEqual(result.pop("monitor"), self.history.id)
        return result

    def numbers(self, client: QMPConnection) -> list[int]:
        """The numbers of the events that came since the last look, and with the reply to L{select}."""
        messages, self.messages = [*self.messages, *client.received()], []
        for message in messages:
            self.assertEqual(list(message), ["timestamp", "event", "data", "number"])
            self.assertEqual(message["data"], {"n": message["number"]})
        return [message["number"] for message in messages]

    messages: list[Any]

    def setUp(self) -> None:
        super().setUp()
        self.messages = []


class SelectTests(Fixture):
    """The command, its reply, and what follows."""

    def test_unchanged(self) -> None:
        """A client that did not ask for numbers sees none, whatever the others asked for."""
        client, other = self.client(), self.client()
        self.select(other)
        self.happen()
        (event,) = client.received()
        self.assertEqual(list(event), ["timestamp", "event", "data"])
        self.assertEqual(self.numbers(other), [1])
        self.assertEqual(client.execute("select-events", {"names": []}), {"return": {}})
        self.assertEqual(client.execute("select-events", {"numbered": False}), {"return": {}})

    def test_fromNowOn(self) -> None:
        """Without a number to begin after, only what comes is sent."""
        client = self.client()
        self.happen(3)
        client.received()
        self.assertEqual(self.select(client), {"first": 1, "last": 3, "lost": 0})
        self.assertEqual(self.numbers(client), [])
        self.happen(2)
        self.assertEqual(self.numbers(client), [4, 5])

    def test_resume(self) -> None:
        """After a number, what was missed comes right after the reply, then what comes."""
        self.happen(5)
        client = self.client()
        self.assertEqual(self.select(client, after=2, monitor=self.history.id), {"first": 1, "last": 5, "lost": 0})
        self.assertEqual(self.numbers(client), [3, 4, 5])
        self.happen(2)
        self.assertEqual(self.numbers(client), [6, 7])

    def test_lost(self) -> None:
        """What has left the history is told, whatever its name."""
        self.small_history(3)
        self.monitor.emit("LIMITED", {"n": 1})
        self.happen(9)
        client = self.client()
        self.assertEqual(self.select(client, after=0, names=["HAPPENED"]), {"first": 8, "last": 10, "lost": 7})
        self.assertEqual(self.numbers(client), [8, 9, 10])

    def test_restarted(self) -> None:
        """A number of another monitor, or one that is yet to come, is one from before a restart: all there is follows."""
        self.small_history(3)
        self.happen(5)
        for arguments in ({"after": 4, "monitor": OTHER}, {"after": 6}, {"after": 1 << 63}, {"monitor": OTHER}):
            client = self.client()
            result = self.select(client, **arguments)
            self.assertEqual(result, {"first": 3, "last": 5, "lost": 2, "restarted": True})
            self.assertEqual(self.numbers(client), [3, 4, 5])

    def test_names(self) -> None:
        """Only the events that were named come, from the history and after it; the numbers are those of all events."""
        self.happen()
        self.monitor.emit("LIMITED", {"n": 2})
        self.happen()
        client = self.client()
        self.select(client, after=0, names=["LIMITED"])
        self.assertEqual(self.numbers(client), [2])
        self.happen(2)
        self.clock.advance(1)
        self.monitor.emit("LIMITED", {"n": 6})
        self.assertEqual(self.numbers(client), [6])
        self.select(client, after=0, names=[])
        self.happen()
        self.assertEqual(self.numbers(client), [])

    def test_refused(self) -> None:
        """What is wrong in the arguments is refused, and the selection stays as it was."""
        self.happen(2)
        client = self.client()
        self.select(client, after=1)
        for arguments, desc in (
            ({"after": 1}, "Parameters 'after' and 'monitor' need 'numbered'"),
            ({"monitor": OTHER, "numbered": False}, "Parameters 'after' and 'monitor' need 'numbered'"),
            ({"numbered": True, "after": -1}, "Parameter 'after' expects uint64"),
            ({"numbered": True, "after": "1"}, "Parameter 'after' expects uint64"),
            ({"numbered": True, "monitor": 1}, "Invalid parameter type for 'monitor', expected: string"),
            ({"numbered": True, "names": ["NOPE"]}, "Event 'NOPE' is not defined"),
        ):
            self.assertEqual(client.execute("select-events", arguments)["error"]["desc"], desc)
        self.happen()
        self.assertEqual(self.numbers(client), [2, 3])

    def test_again(self) -> None:
        """Each select-events replaces the one before, numbered or not."""
        client = self.client()
        self.happen(3)
        client.received()
        self.select(client, after=1)
        self.assertEqual(self.numbers(client), [2, 3])
        self.select(client, after=2)
        self.assertEqual(self.numbers(client), [3])
        self.select(client)
        self.happen()
        self.assertEqual(self.numbers(client), [4])
        self.assertEqual(client.execute("select-events"), {"return": {}})
        self.happen()
        self.assertNotIn("number", client.received()[0])
        self.select(client, after=4)
        self.assertEqual(self.numbers(client), [5])
        client.lose()
        self.assertEqual(self.monitor.events._named, {})
        self.happen()

    def test_schema(self) -> None:
        """Arguments and result are in the schema."""
        entries = {entry["name"]: entry for entry in self.client().execute("query-qmp-schema")["return"]}
        entry = entries["select-events"]
        arguments = {member["name"] for member in entries[entry["arg-type"]]["members"]}
        self.assertEqual(arguments, {"names", "numbered", "after", "monitor"})
        result = {member["name"]: "default" in member for member in entries[entry["ret-type"]]["members"]}
        self.assertEqual(result, dict.fromkeys(("monitor", "first", "last", "lost", "restarted"), True))

    def test_encodedOnce(self) -> None:
        """An event is encoded once, and its number put into that once, for all who read as it comes."""
        clients = [self.client() for _ in range(3)]
        for client in clients[1:]:
            self.select(client)
        seen: list[tuple[bytes | None, bytes | None]] = []
        self.monitor.subscribe(lambda message: seen.append((message.encoded, message.numbered)))
        self.happen()
        lines = [client.take_bytes() for client in clients]
        self.assertEqual(lines[1:], [lines[0][:-3] + b',"number":1}\r\n'] * 2)
        self.assertEqual(seen, [(lines[0], lines[1])])
        (message,) = self.history.after(0, 1)
        self.assertIsNone(message.numbered)

    def test_noHistory(self) -> None:
        """Where nothing is kept, events are numbered, and what is missed is told as lost."""
        self.small_history(0)
        self.happen(3)
        client = self.client()
        self.assertEqual(self.select(client, after=1), {"first": 4, "last": 3, "lost": 2})
        self.happen()
        self.assertEqual(self.numbers(client), [4])

    def test_upstream(self) -> None:
        """In front of a server each event has the number of its connection beside its own."""
        self.monitor.events.upstream = 2
        self.happen()
        client = self.client()
        self.select(client, after=0)
        self.monitor.events.forward("STOP")
        for message in (self.messages[0], client.received()[0]):
            self.assertEqual(list(message)[-2:], ["number", "upstream"])
            self.assertEqual(message["upstream"], 2)


class OrderTests(Fixture):
    """Events that are emitted just then."""

    def test_inTheSameBatch(self) -> None:
        """The reply comes first, then what was missed, then what commands behind it emit; none twice."""
        client = self.client()
        self.happen(2)
        client.received()
        select = {"execute": "select-events", "arguments": {"numbered": True, "after": 1}, "id": "select"}
        tell = [{"execute": "tell", "arguments": {"n": n}, "id": f"tell {n}"} for n in (3, 4)]
        client.send(tell[0], select, tell[1], {"execute": "now", "id": "now"})
        found = [m.get("id", m.get("number", m.get("event"))) for m in client.received()]
        self.assertEqual(found, ["HAPPENED", "tell 3", "select", "tell 4", "now", 2, 3, 4])

    def test_withinTheHandler(self) -> None:
        """Events that the handler of select-events gives rise to follow its reply."""
        client = self.client()
        self.happen()
        client.received()
        caught: list[int] = []
        session = client.protocol.session
        select = session.select_events

        def emitting(*arguments: Any) -> None:
            self.happen()
            select(*arguments)
            self.happen()
            caught.append(self.history.last)

        session.select_events = emitting
        client.send({"execute": "select-events", "arguments": {"numbered": True, "after": 0}, "id": 1})
        messages = client.received()
        self.assertEqual(caught, [3])
        # The first came before the selection was changed.
        self.assertEqual([m.get("id", m.get("number", m.get("event"))) for m in messages], ["HAPPENED", 1, 1, 2, 3])

    def test_withinADelivery(self) -> None:
        """A selection made while an event is being delivered has that event once, from the history or as it comes."""
        for names in ({}, {"names": ["HAPPENED"]}):
            for missed in (True, False):
                client = self.client()
                client.execute("select-events", {"names": []})
                arguments = {"numbered": True, **names, **({"after": self.history.last} if missed else {})}
                number = self._happen_while(partial(self.select, client, **arguments))
                self.assertEqual(self.numbers(client), [number, number + 1] if missed else [number + 1])

    def _happen_while(self, act: Callable[[], object]) -> int:
        """Have something happen, and meanwhile this and one thing more. :return: the number of the first"""
        delivered: list[int] = []

        def receive(message: EventMessage) -> None:
            delivered.append(message.number)
            if len(delivered) == 1:
                act()
                self.happen()

        unsubscribe = self.monitor.subscribe(receive)
        self.happen()
        unsubscribe()
        return delivered[0]

    def test_batchOfEvents(self) -> None:
        """Replies of the same batch that came before an event go first."""
        client = self.client()
        self.select(client)
        tell = [{"execute": "tell", "arguments": {"n": n}, "id": f"tell {n}"} for n in (1, 2)]
        client.send({"execute": "now", "id": "now"}, *tell)
        found = [m.get("id", m.get("number")) for m in client.received()]
        self.assertEqual(found, ["now", 1, "tell 1", 2, "tell 2"])

    def test_unencodable(self) -> None:
        """An event that JSON can't say is logged and left out, as it comes and from the history."""

        class Odd(CommandProvider):
            events = (Event("ODD", check=False),)

        self.monitor.register(Odd())
        client = self.client()
        self.select(client)
        self.monitor.emit("ODD", {"set": {1, object()}})
        self.happen()
        self.assertEqual(self.numbers(client), [2])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.select(client, after=0)
        self.assertEqual(self.numbers(client), [2])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class LevelTests(SynchronousTestCase):
    """Who is below an event's level does not get it with a number either."""

    def test_below(self) -> None:
        """The gap in the numbers is no loss; the level counts when the event is sent."""

        class Lamp(CommandProvider):
            events = (Event("CHANGE"), Event("SECRET", level="operate"))

        monitor = Monitor(clock=Clock())
        monitor.register(Lamp())
        for _ in range(2):
            monitor.emit("CHANGE")
            monitor.emit("SECRET")
        select = {"execute": "select-events", "arguments": {"numbered": True, "after": 0}, "id": 1}
        found = {}
        for level in ("observe", "operate"):
            client = QMPConnection(monitor, level=level)
            client.send(select)
            reply, *events = client.received()
            self.assertEqual(reply["return"]["lost"], 0)
            found[level] = client, [event["number"] for event in events]
        self.assertEqual(found["observe"][1], [1, 3])
        self.assertEqual(found["operate"][1], [1, 2, 3, 4])
        monitor.emit("SECRET")
        monitor.emit("CHANGE")
        self.assertEqual([event["number"] for event in found["observe"][0].received()], [6])
        self.assertEqual([event["number"] for event in found["operate"][0].received()], [5, 6])
        client = found["operate"][0]
        client.protocol.standing.cap = Level.OBSERVE
        monitor.guard.judge(client.protocol.standing)
        monitor.emit("SECRET")
        client.send(select)
        self.assertEqual([event["number"] for event in client.received()[1:]], [1, 3, 6])


class SlowTests(Fixture):
    """Clients that do not read."""

    def slow(self, **options: Any) -> QMPConnection:
        """One that reads no more, whose buffer takes 1,000 bytes."""
        client = self.client(**options)
        client.transport.high_water = 1000
        client.transport.stop_reading()
        return client

    def ask(self, client: QMPConnection, after: int) -> None:
        client.send({"execute": "select-events", "arguments": {"numbered": True, "after": after}, "id": "select"})

    def test_paced(self) -> None:
        """What was missed is written as the transport takes it, and is not queued; then what comes follows."""
        self.history.limit(10_000)
        self.happen(5000)
        client = self.slow(max_queued=100)
        self.ask(client, 0)
        self.assertLess(len(client.transport.value()), 10_000)
        self.happen(10)
        self.assertEqual(client.protocol.write_queue.queued, 0)
        pieces = 0
        while client.protocol.write_queue.blocked:
            client.transport.read_buffer()
            self.assertLess(len(client.transport.value()), 10_000)
            self.happen()
            pieces += 1
        self.assertGreater(pieces, 20)
        client.transport.read_on()
        self.happen()
        self.messages = client.received()
        self.assertEqual(self.messages.pop(0)["id"], "select")
        self.assertEqual(self.numbers(client), list(range(1, self.history.last + 1)))

    def test_largeEvents(self) -> None:
        """However large the events are, not much more than one is written at a time."""
        self.happen()
        big = "x" * 300_000

        class Big(CommandProvider):
            events = (Event("BIG", text=str),)

        self.monitor.register(Big())
        for _ in range(10):
            self.monitor.emit("BIG", {"text": big})
        client = self.slow()
        self.ask(client, 0)
        for _ in range(11):
            self.assertLess(len(client.transport.value()), 700_000)
            client.transport.read_buffer()
        self.assertEqual([m.get("number") for m in client.received()], [None, *range(1, 12)])

    def test_overtaken(self) -> None:
        """Who reads so slowly that the history goes over it is disconnected, with a line in the log, and resumes."""
        self.small_history(100)
        self.happen(100)
        client = self.slow()
        self.ask(client, 0)
        self.happen(100)
        self.assertFalse(client.closed)
        client.transport.read_buffer()
        self.assertTrue(client.closed)
        self.assertEqual(client.factory.counters.slow, 1)
        seen = [m["number"] for m in client.received() if "number" in m]
        self.assertEqual(seen, list(range(1, len(seen) + 1)))
        back = self.client()
        result = self.select(back, after=seen[-1], monitor=self.history.id)
        self.assertEqual(result["lost"], 100 - seen[-1])
        self.assertEqual(self.numbers(back), list(range(101, 201)))

    def test_overtakenWithoutHistory(self) -> None:
        """Without a history, one that can't be written to at once when it selects is told the truth all the same."""
        self.small_history(0)
        client = self.client()
        client.transport.high_water = 10
        client.transport.stop_reading()
        self.ask(client, 0)
        self.assertTrue(client.protocol.write_queue.blocked)
        self.happen()
        client.transport.read_buffer()
        self.assertTrue(client.closed)

    def test_limit(self) -> None:
        """Who has caught up and then does not read is disconnected beyond the limit, also where others lose the oldest."""
        for policy in ("disconnect", "drop-oldest"):
            client = self.client(max_queued=1000, slow_client=policy)
            self.select(client)
            client.transport.high_water = 10
            client.transport.stop_reading()
            begin = self.history.last
            while not client.closed:
                self.assertLessEqual(client.protocol.write_queue.queued, 1000)
                self.happen()
                self.assertLess(self.history.last - begin, 100)
            self.assertEqual((client.factory.counters.slow, client.protocol.write_queue.lost), (1, 0))

    def test_policyComesBack(self) -> None:
        """Who wants no numbers any more loses the oldest events again."""
        client = self.client(max_queued=1000, slow_client="drop-oldest")
        self.select(client)
        self.select(client)
        client.execute("select-events")
        client.transport.high_water = 10
        client.transport.stop_reading()
        self.happen(100)
        self.assertFalse(client.closed)
        client.transport.read_on()
        self.assertEqual([m["event"] for m in client.received()][1], "EVENTS_LOST")

    def test_nothingIsMerged(self) -> None:
        """Of a rate-limited event every one that has a number waits, not only the latest."""
        client = self.client()
        self.select(client)
        client.transport.high_water = 10
        client.transport.stop_reading()
        for n in range(1, 6):
            self.monitor.emit("LIMITED", {"n": n})
            self.clock.advance(1)
        client.transport.read_on()
        self.assertEqual(self.numbers(client), [1, 2, 3, 4, 5])

    def test_closedMeanwhile(self) -> None:
        """A client that leaves in the middle leaves nothing behind."""
        self.happen(200)
        client = self.slow()
        self.ask(client, 0)
        client.lose()
        self.happen()
        self.assertTrue(client.protocol.session.catch_up())


class EndTests(Fixture):
    """Connections that are ended from this side, or from that one."""

    def setUp(self) -> None:
        super().setUp()
        self.factory = QMPFactory(self.monitor)
        self.happen(500)

    def slow(self) -> QMPConnection:
        client = self.client(factory=self.factory)
        client.transport.high_water = 1000
        client.transport.stop_reading()
        client.send({"execute": "select-events", "arguments": {"numbered": True, "after": 0}, "id": "select"})
        return client

    def test_shutdown(self) -> None:
        """SHUTDOWN has a number, and who reads gets everything up to it before the end of the connection."""
        client = self.slow()
        self.monitor.emit("SHUTDOWN", {"guest": False, "reason": "test"})
        self.monitor.events.mute()
        closed = self.factory.close()
        self.assertNoResult(closed)
        pieces = 0
        while not client.closed:
            client.transport.read_buffer()
            client.transport._close_if_done()
            pieces += 1
            if client.transport.producer is None:
                client.transport.read_on()
        self.assertGreater(pieces, 5)
        self.successResultOf(closed)
        numbers = [message["number"] for message in client.received()[1:]]
        self.assertEqual(numbers, list(range(1, 502)))

    def test_shutdownUnread(self) -> None:
        """Who reads nothing is cut off when its time is up."""
        client = self.slow()
        closed = self.factory.close()
        self.clock.advance(LINGER)
        self.assertTrue(client.closed)
        self.successResultOf(closed)

    def test_reading(self) -> None:
        """Who reads, however slowly, is not taken for one that does not."""
        client = self.slow()
        client.protocol.finish()
        for _ in range(5):
            client.transport.read_buffer()
            self.clock.advance(LINGER)
            self.assertFalse(client.closed)
        self.clock.advance(LINGER)
        self.assertTrue(client.closed)
        self.assertEqual(self.factory.counters.cut_off, 1)

    def test_overtakenAtTheEnd(self) -> None:
        """What has left the history meanwhile can't be sent: the connection is aborted, and not ended as if it were whole."""
        client = self.slow()
        client.protocol.finish()
        self.happen(2000)
        client.transport.read_buffer()
        self.assertTrue(client.closed)
        self.assertEqual(self.factory.counters.slow, 1)

    def test_halfClosed(self) -> None:
        """Who asks and sends no more gets what it missed, then the end."""
        client = self.client(factory=self.factory)
        client.send({"execute": "select-events", "arguments": {"numbered": True, "after": 490}, "id": "select"})
        client.half_close()
        self.assertTrue(client.closed)
        self.assertEqual([m["number"] for m in client.received()[1:]], list(range(491, 501)))

    def test_endedByACommand(self) -> None:
        """When a command of the same batch ends the connection, the reply and what was missed come before the end."""
        client = self.client(factory=self.factory)
        self.monitor.register_command("finish", client.protocol.finish)
        select = {"execute": "select-events", "arguments": {"numbered": True, "after": 498}, "id": "select"}
        client.send(select, {"execute": "finish"})
        self.assertTrue(client.closed)
        self.assertEqual([m.get("id", m.get("number")) for m in client.received()], ["select", 499, 500])

    def test_halfClosedSlow(self) -> None:
        """So does who reads slowly."""
        client = self.slow()
        client.half_close()
        self.assertFalse(client.closed)
        for _ in range(100):
            client.transport.read_buffer()
        client.transport.read_on()
        self.assertTrue(client.closed)
        self.assertEqual([m["number"] for m in client.received()[1:]], list(range(1, 501)))
