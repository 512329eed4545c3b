"""
Events and many clients: through whole QMP sessions, down to the bytes that each transport is given.
"""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import CommandProvider, Event, Monitor, QMPFactory, command
from twisted_qmon.core.events import EventMessage

CLIENTS = 1000
EVENTS = 10_000
PER_TURN = 1000


class Counting(StringTransport):
    """
    A transport that does not pile up what it is given, but compares it with what the first client was given.

    :ivar lines: what the first client was given; the others are to be given the very same objects, in the same order
    """

    def __init__(self, lines: list[bytes], is_first: bool) -> None:
        super().__init__()
        self.lines = lines
        self.is_first = is_first
        self.position = -1
        self.strays = 0

    def write(self, data: bytes) -> None:
        """Take one message."""
        position = self.position
        if position < 0:
            super().write(data)
            return
        if self.is_first:
            self.lines.append(data)
        elif self.lines[position] is not data:
            self.strays += 1
        self.position = position + 1


class Provider(CommandProvider):
    """An event, and a command that emits it."""

    events = (Event("TICK", n=int), Event("TOCK", n=int, rate_limit=1.0))

    @command
    def tick(self, n: int) -> int:
        """Emit it."""
        assert self.monitor is not None
        self.monitor.emit("TICK", {"n": n})
        return n


class FanOutTests(SynchronousTestCase):
    """A thousand sessions of one monitor."""

    def make(self, clients: int, transport: Any = StringTransport) -> list[tuple[Any, Any]]:
        """Sessions that have negotiated: protocol and transport of each."""
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.monitor.register(Provider())
        factory = QMPFactory(self.monitor)
        factory.doStart()
        sessions = []
        for number in range(clients):
            protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1 + number))
            assert protocol is not None
            wire = transport(number)
            protocol.makeConnection(wire)
            protocol.dataReceived(b'{"execute": "qmp_capabilities"}\r\n')
            wire.clear()
            sessions.append((protocol, wire))
        return sessions

    def test_one_encoding_and_one_order(self) -> None:
        """
        10,000 events, 1,000 in a turn, to 1,000 clients: each is encoded once, and each client is given the same bytes in the
        order in which they happened.
        """
        lines: list[bytes] = []
        sessions = self.make(CLIENTS, lambda number: Counting(lines, number == 0))
        for _, wire in sessions:
            wire.position = 0
        slot: Any = EventMessage.__dict__["encoded"]
        encodings = 0

        def encoded(message: EventMessage, line: bytes | None) -> None:
            nonlocal encodings
            encodings += line is not None
            slot.__set__(message, line)

        with patch.object(EventMessage, "encoded", property(slot.__get__, encoded)):
            for turn in range(EVENTS // PER_TURN):
                for n in range(PER_TURN):
                    self.monitor.emit("TICK", {"n": turn * PER_TURN + n})
                self.clock.advance(0.001)
        self.assertEqual(encodings, EVENTS)
        self.assertEqual([json.loads(line)["data"]["n"] for line in lines], list(range(EVENTS)))
        self.assertEqual({(wire.position, wire.strays) for _, wire in sessions}, {(EVENTS, 0)})

    def test_order_with_replies(self) -> None:
        """Events stand among the replies where they happened: before the reply of the command that emits them."""
        sessions = self.make(3)
        for number, (protocol, _) in enumerate(sessions):
            one = b'{"execute": "tick", "arguments": {"n": %d}, "id": %d}'
            protocol.dataReceived(b"".join(one % (10 * number + n, n) for n in range(3)))
        for number, (_, wire) in enumerate(sessions):
            seen: list[str] = []
            for line in wire.value().splitlines():
                message = json.loads(line)
                if "event" in message:
                    seen.append(f"event {message['data']['n']}")
                else:
                    seen.append(f"reply {message['return']}")
            expected = []
            for other in range(3):
                for n in range(3):
                    expected.append(f"event {10 * other + n}")
                    if other == number:
                        expected.append(f"reply {10 * other + n}")
            self.assertEqual(seen, expected)

    def test_nothing_before_negotiation(self) -> None:
        """A client that has not negotiated, or has left, costs nothing and gets nothing."""
        (leaver, gone), (_, here) = self.make(2)
        factory = QMPFactory(self.monitor)
        factory.doStart()
        newcomer = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
        assert newcomer is not None
        wire = StringTransport()
        newcomer.makeConnection(wire)
        wire.clear()
        leaver.connectionLost(Failure(ConnectionDone()))
        self.monitor.emit("TICK", {"n": 1})
        self.assertEqual((gone.value(), wire.value()), (b"", b""))
        self.assertEqual(json.loads(here.value())["data"], {"n": 1})

    def test_rate_limit_is_of_the_monitor(self) -> None:
        """The rate limit is one for all clients, not one for each: also for one that comes in the middle of a period."""
        sessions = self.make(1)
        self.monitor.emit("TOCK", {"n": 0})
        self.monitor.emit("TOCK", {"n": 1})
        factory = QMPFactory(self.monitor)
        factory.doStart()
        late = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 9))
        assert late is not None
        wire = StringTransport()
        late.makeConnection(wire)
        late.dataReceived(b'{"execute": "qmp_capabilities"}')
        wire.clear()
        self.monitor.emit("TOCK", {"n": 2})
        self.assertEqual(wire.value(), b"")
        self.clock.advance(1)
        self.assertEqual(json.loads(wire.value())["data"], {"n": 2})
        got = [json.loads(line)["data"]["n"] for line in sessions[0][1].value().splitlines()]
        self.assertEqual(got, [0, 2])
