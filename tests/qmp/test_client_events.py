"""
The QMP client's events: it goes on where it was when the connection comes back, and tells what was lost.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.support.qmp_server import FakeEndpoint, FakeServer
from twisted_qmon.qmp._client import events as _events
from twisted_qmon.qmp.client import EventGap, EventPosition, QMPClient

WHEN = {"seconds": 1, "microseconds": 2}
A = "aaaaaaaa-1111-4111-8111-aaaaaaaaaaaa"
B = "bbbbbbbb-2222-4222-8222-bbbbbbbbbbbb"


def event(number: int | None = None, name: str = "HAPPENED", **members: Any) -> dict[str, Any]:
    """An event as a server sends it."""
    message = {"event": name, "timestamp": WHEN, **members}
    return message if number is None else {**message, "number": number}


class Fixture(SynchronousTestCase):
    """A client that connects to servers that the test plays."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint()
        self.gaps: list[EventGap] = []
        self.seen: list[Any] = []

    def start(self, *, subscribe: bool = True, **options: Any) -> FakeServer:
        """Make the client and connect it. :return: the server"""
        options = {"on_gap": self.gaps.append, **options}
        service = QMPClient.service(self.endpoint, clock=self.clock, retry_policy=lambda _: 1.0, **options)
        self.client = service.client
        if subscribe:
            self.client.subscribe(self.receive)
        service.startService()
        return self.greet()

    def greet(self) -> FakeServer:
        server = self.endpoint.servers[-1]
        server.greet()
        return server

    def receive(self, message: Any) -> None:
        self.seen.append(message.get("number", message["event"]))

    def received(self) -> list[Any]:
        """The numbers, or else the names, of the events since the last call."""
        seen, self.seen = self.seen, []
        return seen

    def asked(self, server: FakeServer, arguments: dict[str, Any]) -> int:
        """The server was asked for events like this. :return: the id of that request"""
        (request,) = server.requests()
        self.assertEqual((request["execute"], request.get("arguments")), ("select-events", arguments))
        id: int = request["id"]
        return id

    def back(self, server: FakeServer) -> FakeServer:
        """Lose the connection, and make it again. :return: the next server"""
        server.lose()
        self.clock.advance(1.0)
        return self.greet()

    def reply(self, server: FakeServer, id: int, *, monitor: str = A, last: int, lost: int = 0, **more: Any) -> None:
        server.say({"return": {"monitor": monitor, "first": 1, "last": last, "lost": lost, **more}, "id": id})


class ResumeTests(Fixture):
    """What is asked of a server that numbers its events."""

    def test_resumes(self) -> None:
        """The first time it begins with what comes; after a loss with what follows the last event that it got."""
        server = self.start()
        self.reply(server, self.asked(server, {"numbered": True}), last=5)
        self.assertEqual(self.client.position, EventPosition(A, 5))
        server.say(event(7), event(8))
        self.assertEqual(self.received(), [7, 8])
        server = self.back(server)
        id = self.asked(server, {"numbered": True, "after": 8, "monitor": A})
        self.reply(server, id, last=10)
        server.say(event(9), event(10))
        self.assertEqual((self.received(), self.client.position, self.gaps), ([9, 10], EventPosition(A, 10), []))

    def test_lostBeforeAnyEvent(self) -> None:
        """If the connection is lost before an event came, it goes on after the last one that there was."""
        server = self.start()
        self.reply(server, self.asked(server, {"numbered": True}), last=5)
        self.asked(self.back(server), {"numbered": True, "after": 5, "monitor": A})

    def test_lostBeforeTheReply(self) -> None:
        """If it is lost before the reply, there is nothing to go on from; later on, it is the same as before."""
        server = self.back(self.start())
        self.reply(server, self.asked(server, {"numbered": True}), last=5)
        for _ in range(2):
            server = self.back(server)
            self.asked(server, {"numbered": True, "after": 5, "monitor": A})

    def test_gap(self) -> None:
        """What was lost is told once, before the events behind it, even if the connection is lost again at once."""
        server = self.start(position=EventPosition(A, 10))
        self.reply(server, self.asked(server, {"numbered": True, "after": 10, "monitor": A}), last=60, lost=39)
        self.assertEqual((self.gaps, self.received()), ([EventGap(39, False)], []))
        server = self.back(server)
        self.reply(server, self.asked(server, {"numbered": True, "after": 49, "monitor": A}), last=61, lost=1)
        server.say(event(51))
        self.assertEqual(self.gaps, [EventGap(39, False), EventGap(1, False)])
        self.asked(self.back(server), {"numbered": True, "after": 51, "monitor": A})

    def test_restarted(self) -> None:
        """A server that was restarted sends all that it has; that is a gap of unknown size."""
        server = self.start(position=EventPosition(A, 10))
        id = self.asked(server, {"numbered": True, "after": 10, "monitor": A})
        self.reply(server, id, monitor=B, last=7, lost=4, restarted=True)
        self.assertEqual(self.gaps, [EventGap(4, True)])
        self.assertEqual(self.client.position, EventPosition(B, 4))
        server.say(event(5))
        self.asked(self.back(server), {"numbered": True, "after": 5, "monitor": B})
        self.assertEqual(self.received(), [5])

    def test_positionWithoutMonitor(self) -> None:
        """The number alone will do."""
        server = self.start(position=EventPosition(None, 10))
        self.reply(server, self.asked(server, {"numbered": True, "after": 10}), last=12)
        self.assertEqual(self.client.position, EventPosition(A, 10))

    def test_heldBack(self) -> None:
        """Events that come before the reply come again with their numbers: they are delivered once."""
        server = self.start(position=EventPosition(A, 10))
        id = self.asked(server, {"numbered": True, "after": 10, "monitor": A})
        server.say(event(), event())
        self.assertEqual(self.received(), [])
        self.reply(server, id, last=13)
        server.say(event(11), event(12), event(13))
        self.assertEqual(self.received(), [11, 12, 13])

    def test_notHeldBack(self) -> None:
        """Where nothing is missed yet, they don't come again, and are delivered as they come."""
        server = self.start()
        id = self.asked(server, {"numbered": True})
        server.say(event())
        self.assertEqual(self.received(), ["HAPPENED"])
        self.reply(server, id, last=1)
        server.say(event(2))
        self.assertEqual(self.received(), [2])

    def test_heldIsBounded(self) -> None:
        """Of events that wait for the reply the oldest give way beyond the limit."""
        self.patch(_events, "MAX_HELD", 2)
        server = self.start(position=EventPosition(A, 10))
        id = self.asked(server, {"numbered": True, "after": 10, "monitor": A})
        server.say(event(), event(name="B"), event(name="C"))
        server.say({"error": {"class": "CommandNotFound", "desc": "no"}, "id": id})
        self.assertEqual(self.received(), ["B", "C"])

    def test_members(self) -> None:
        """A receiver sees the number, and the upstream's where there is one; of any other event nothing new."""
        messages: list[Any] = []
        server = self.start(subscribe=False)
        self.client.subscribe(messages.append)
        server.say(event(), event(4), event(5, data={"n": 1}, upstream=3))
        self.assertEqual(messages, [event(), event(4), event(5, data={"n": 1}, upstream=3)])

    def test_names(self) -> None:
        """Each receiver gets the events that it named; the position is that of all."""
        server = self.start(subscribe=False)
        self.client.subscribe(self.receive, ["OTHER"])
        self.reply(server, self.asked(server, {"numbered": True}), last=0)
        server.say(event(1, "OTHER"), event(2))
        self.assertEqual((self.received(), self.client.position), ([1], EventPosition(A, 2)))


class UnnumberedTests(Fixture):
    """Servers that have no numbers, and clients that want none."""

    def test_refused(self) -> None:
        """A server that does not know the command, or its argument, is asked once for each connection."""
        refusals = [("CommandNotFound", "The command select-events has not been found"), ("GenericError", "unexpected")]
        server = self.start()
        for error_class, desc in refusals:
            id = self.asked(server, {"numbered": True})
            server.say(event(), {"error": {"class": error_class, "desc": desc}, "id": id}, event())
            self.assertEqual((self.received(), self.client.position), (["HAPPENED"] * 2, None))
            server = self.back(server)
        self.assertEqual(self.gaps, [])

    def test_oddReply(self) -> None:
        """A reply that says nothing of numbers counts as a refusal."""
        for result in ({}, None, {"monitor": 1, "last": 2, "lost": 3}):
            self.endpoint.servers.clear()
            server = self.start()
            server.say({"return": result, "id": self.asked(server, {"numbered": True})}, event())
            self.assertEqual((self.received(), self.client.position, self.gaps), (["HAPPENED"], None, []))

    def test_anotherServer(self) -> None:
        """If one without numbers has taken the place of one with numbers, that is a gap, and its events come as they are."""
        server = self.start(position=EventPosition(A, 10))
        id = self.asked(server, {"numbered": True, "after": 10, "monitor": A})
        server.say(event(name="EARLY"))
        server.say({"error": {"class": "CommandNotFound", "desc": "no"}, "id": id}, event())
        self.assertEqual(self.gaps, [EventGap(0, True)])
        self.assertEqual(self.received(), ["EARLY", "HAPPENED"])
        self.asked(self.back(server), {"numbered": True})

    def test_notWanted(self) -> None:
        """With numbered=False, and on a single connection, the server is asked nothing."""
        server = self.start(numbered=False)
        self.assertEqual(server.requests(), [])
        QMPClient.connect(self.endpoint, clock=self.clock).addCallback(lambda client: client.subscribe(self.receive))
        self.assertEqual(self.greet().requests(), [])

    def test_singleConnection(self) -> None:
        """A client of a single connection may begin where another one ended."""
        connecting = QMPClient.connect(
            self.endpoint, clock=self.clock, position=EventPosition(A, 3), on_gap=self.gaps.append
        )
        server = self.greet()
        client = self.successResultOf(connecting)
        self.assertEqual(server.requests(), [])
        client.subscribe(self.receive)
        self.reply(server, self.asked(server, {"numbered": True, "after": 3, "monitor": A}), last=9, lost=1)
        server.say(event(5))
        self.assertEqual((self.received(), self.gaps), ([5], [EventGap(1, False)]))

    def test_noReceivers(self) -> None:
        """Without a subscription nothing is asked; a position that was given waits for the first one."""
        server = self.start(subscribe=False, position=EventPosition(A, 3))
        self.assertEqual(server.requests(), [])
        server = self.back(server)
        self.assertEqual(server.requests(), [])
        unsubscribe = self.client.subscribe(self.receive)
        self.reply(server, self.asked(server, {"numbered": True, "after": 3, "monitor": A}), last=3)
        self.client.subscribe(self.receive)()
        unsubscribe()
        server.say(event(4))
        self.assertEqual((server.requests(), self.received()), ([], []))
        self.assertEqual(self.client.position, EventPosition(A, 4))
        server = self.back(server)
        self.assertEqual((server.requests(), self.client.position), ([], None))
        self.client.subscribe(self.receive)
        self.asked(server, {"numbered": True})

    def test_ownSelection(self) -> None:
        """A program that selects events itself has them as it asked for them, then and later."""
        server = self.start(position=EventPosition(A, 3))
        id = self.asked(server, {"numbered": True, "after": 3, "monitor": A})
        server.say(event(name="EARLY"))
        self.client.execute("select-events", {"names": ["HAPPENED"]}).addErrback(lambda _: None)
        self.assertEqual(self.received(), ["EARLY"])
        self.reply(server, id, last=3)
        self.assertIsNone(self.client.position)
        server.requests()
        server.say(event(4))
        self.assertEqual((self.received(), self.client.position), ([4], None))
        self.assertEqual(self.back(server).requests(), [])


class TellingTests(Fixture):
    """How gaps are told."""

    def log(self) -> list[str]:
        observer: Any = EventLoggingObserver.createWithCleanup(cast(Any, self), globalLogPublisher)
        self.gap(None)
        return [formatEvent(each) for each in observer]

    def gap(self, on_gap: Any) -> None:
        server = self.start(position=EventPosition(A, 3), on_gap=on_gap)
        id = self.asked(server, {"numbered": True, "after": 3, "monitor": A})
        self.reply(server, id, last=9, lost=2)

    def test_logged(self) -> None:
        """Where no callback is given, a gap is a line in the log."""
        self.assertEqual(self.log(), ["events were lost: 2 are not kept any more; the server was restarted: False"])

    def test_callbackThatRaises(self) -> None:
        """What a callback raises is logged, and the events go on."""
        self.gap(lambda gap: 1 // 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.endpoint.servers[-1].say(event(6))
        self.assertEqual(self.received(), [6])

    def test_timeout(self) -> None:
        """The client's timeout is not for this request: an answer that comes late is an answer."""
        server = self.start(timeout=1.0)
        id = self.asked(server, {"numbered": True})
        self.clock.advance(10)
        self.reply(server, id, last=9)
        self.assertEqual(self.client.position, EventPosition(A, 9))
