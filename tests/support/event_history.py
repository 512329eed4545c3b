"""
Random histories of monitors that emit events and are restarted, and of clients that come and go, read slowly and resume: what a
client saw, and what it was told that it lost, is all there was; in order, and nothing twice.

Used by C{test_event_promises.py}, and as a command that goes on for as long as wanted::

    python -m tests.support.event_history --events 1000000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon import CommandProvider, Event, Monitor, QMPFactory
from twisted_qmon.core.events import EventMessage
from twisted_qmon.info import Level
from twisted_qmon.qmp.client import EventGap, EventPosition, QMPClient
from twisted_qmon.testing import MemoryTransport, QMPConnection

NAMES = ("NEWS", "LIMITED", "SECRET")


class Provider(CommandProvider):
    """Events of every kind."""

    events = (
        Event("NEWS", n=int, text=str),
        Event("LIMITED", n=int, rate_limit=1.0),
        Event("SECRET", n=int, level="operate"),
    )


class Incarnation:
    """
    A monitor, from its start to its end, and all that it told.

    :ivar log: the name and the content of each event, in the order of their delivery: the first is number 1
    """

    def __init__(self, clock: Clock, choose: random.Random) -> None:
        self.monitor = Monitor(
            clock=clock,
            event_history=choose.choice((0, 1, 7, 50, 1000)),
            event_history_bytes=choose.choice((0, 500, 5000, 1 << 20, 1 << 20)),
        )
        self.monitor.register(Provider())
        self.monitor.events.upstream = choose.choice((None, None, 3))
        self.id = self.monitor.events.history.id
        self.log: list[tuple[str, int]] = []
        self.monitor.subscribe(self._record)
        policy = choose.choice(("disconnect", "drop-oldest"))
        self.factories = {
            level: QMPFactory(self.monitor, max_queued=1500, slow_client=policy, level=level)
            for level in (Level.OBSERVE, Level.ADMIN)
        }

    def _record(self, message: EventMessage) -> None:
        self.log.append((message.name, message.data.get("n", -1)))

    @property
    def slow(self) -> int:
        """How many clients were disconnected because they did not read."""
        return sum(int(factory.counters.slow) for factory in self.factories.values())

    def check(self, event: dict[str, Any]) -> None:
        """An event is the one that has its number."""
        found = self.log[event["number"] - 1]
        assert (event["event"], event.get("data", {}).get("n", -1)) == found, (event, found)
        assert event.get("upstream") == self.monitor.events.upstream, event

    def end(self, *, orderly: bool) -> None:
        """Stop: with C{SHUTDOWN} and the rest for those who read, or just so."""
        if orderly:
            self.monitor.refuse()
            self.monitor.events.flush()
            self.monitor.emit("SHUTDOWN", {"guest": False, "reason": "host-signal"})
            self.monitor.events.mute()
        for factory in self.factories.values():
            (factory.close if orderly else factory.abort)()
        self.monitor.events.flush()


class Link:
    """A connection between a client's protocol and a server's, whose bytes take their time."""

    def __init__(self, factory: QMPFactory, protocol: Any) -> None:
        self.protocol = protocol
        self.client_end = _ClientTransport(self)
        self.server = factory.buildProtocol(None)
        self.server_end = MemoryTransport()
        self.server_end.high_water = 600
        self.server_end.protocol = self.server
        self.over = False
        protocol.makeConnection(self.client_end)
        self.server.makeConnection(self.server_end)

    @property
    def has_selected(self) -> bool:
        """The server has taken a selection of numbered events."""
        return self.server.session._numbered is not None

    def carry(self, most: int = 1 << 20) -> None:
        """Carry what is under way, at most so many bytes to the client."""
        end = self.server_end
        if self.client_end.value() and not end.disconnected and end.producerState == "producing":
            data = self.client_end.value()
            self.client_end.clear()
            self.server.dataReceived(data)
        data = bytes(end.taken[:most])
        del end.taken[:most]
        if data and not self.over:
            self.protocol.dataReceived(data)
        if end.disconnected and not end.taken:
            self._tell(ConnectionDone())

    def cut(self) -> None:
        """Lose the connection, and what is under way."""
        self.server_end.taken.clear()
        self.server_end.disconnect(ConnectionLost())
        self._tell(ConnectionLost())

    def _tell(self, reason: Exception) -> None:
        if not self.over:
            self.over = True
            self.protocol.connectionLost(Failure(reason))


class _ClientTransport(StringTransport):
    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link

    def loseConnection(self) -> None:
        self._link.cut()

    abortConnection = loseConnection


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """Leads to the monitor that runs, if one does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.link: Link | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        if self._world.down:
            return fail(ConnectionRefusedError())
        protocol = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
        self.link = Link(self._world.now.factories[Level.ADMIN], protocol)
        self._world.slow_down(self.link.server_end)
        return succeed(protocol)


class Resumer:
    """
    A L{QMPClient} that resumes by itself. It gets all events: so each has the number that follows, or was told as lost.

    :ivar position: up to where it has been told everything; C{None}: before the first reply
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.endpoint = _Endpoint(world)
        self.service = QMPClient.service(
            self.endpoint, clock=world.clock, retry_policy=lambda _: 1.0, on_gap=partial(self._check, self._gap)
        )
        self.service.client.subscribe(partial(self._check, self._receive))
        self.position: EventPosition | None = None
        self.service.startService()

    def _check(self, check: Callable[[Any], None], told: Any) -> None:
        try:
            check(told)
        except AssertionError as error:
            # The client would log it, and go on.
            self.world.faults.append(error)

    def _receive(self, event: Any) -> None:
        if "number" not in event:
            # Before the first reply, and never after it.
            assert self.position is None, event
            return
        now = self.service.client.position
        assert now is not None
        assert now.number == event["number"]
        if self.position is None:
            # The first: what was before it happened before the subscription.
            self.position = EventPosition(now.monitor, now.number - 1)
        assert now == EventPosition(self.position.monitor, self.position.number + 1), (self.position, event)
        assert now.monitor is not None
        self.world.by_id[now.monitor].check(event)
        self.position = now
        self.world.counts["seen"] += 1

    def _gap(self, gap: EventGap) -> None:
        before = self.position
        now = self.service.client.position
        assert now is not None
        if before is None:
            # The reply came, and the connection went before an event.
            assert not gap.restarted or now.number == gap.lost
        elif gap.restarted:
            assert now == EventPosition(self.world.now.id, gap.lost)
            assert now.monitor != before.monitor
        else:
            assert now == EventPosition(before.monitor, before.number + gap.lost)
        self.position = now
        self.world.counts["lost"] += gap.lost
        self.world.counts["gaps"] += 1

    def carry(self, most: int) -> None:
        if self.endpoint.link is not None:
            self.endpoint.link.carry(most)

    def transport(self) -> MemoryTransport | None:
        link = self.endpoint.link
        return None if link is None or link.server_end.disconnected else link.server_end

    def cut(self) -> None:
        if self.endpoint.link is not None:
            self.endpoint.link.cut()

    @property
    def is_numbered(self) -> bool:
        """It is connected, and has selected its events."""
        return self.transport() is not None and self.endpoint.link is not None and self.endpoint.link.has_selected

    def check_end(self) -> None:
        """It has everything up to the last."""
        self.world.check()
        last = EventPosition(self.world.now.id, self.world.now.monitor.events.history.last)
        assert self.service.client.position == last, (self.service.client.position, last)
        assert self.position in (None, last), (self.position, last)


class Wire:
    """A client that speaks for itself: with names and a level of its own, and selections as it likes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.level = world.choose.choice((Level.OBSERVE, Level.ADMIN))
        self.names: tuple[str, ...] | None = None
        self.monitor: str | None = None
        self.number: int | None = None
        self.connection: QMPConnection | None = None
        # Selections that are not answered yet, by id: names, and from where on.
        self.asked: dict[int, tuple[tuple[str, ...] | None, int | None, str | None]] = {}
        self.numbered = False
        self.ids = 0

    def connect(self) -> None:
        if self.world.down or (self.connection is not None and not self.connection.closed):
            return
        self.connection = QMPConnection(self.world.now.monitor, factory=self.world.now.factories[self.level])
        self.connection.transport.high_water = 600
        self.asked.clear()
        self.numbered = False
        self.world.slow_down(self.connection.transport)
        self.select()

    def select(self) -> None:
        """Ask for events: where it was, or from an earlier number on, or from now on."""
        connection, choose = self.connection, self.world.choose
        if connection is None or connection.closed or connection.transport.producerState != "producing":
            return
        names = choose.choice((None, NAMES, ("LIMITED", "SECRET"), ("NEWS",), ()))
        arguments: dict[str, Any] = {"numbered": True}
        if names is not None:
            arguments["names"] = list(names)
        after = None
        if self.number is not None and choose.random() < 0.9:
            after = arguments["after"] = max(0, self.number - choose.choice((0, 0, 0, 3, 1000)))
            # Without it, a number that this monitor has had too is taken for one of its own.
            history = self.world.now.monitor.events.history
            if choose.random() < 0.8 or (self.monitor != history.id and after <= history.last):
                arguments["monitor"] = self.monitor
        self.ids += 1
        self.asked[self.ids] = (names, after, self.monitor)
        connection.send({"execute": "select-events", "arguments": arguments, "id": self.ids})

    def take(self) -> None:
        """Look at what has come."""
        for message in self.connection.received() if self.connection is not None else ():
            if "event" in message:
                self._event(message)
            elif "error" in message:
                assert "shutting down" in message["error"]["desc"], message
                del self.asked[message["id"]]
            else:
                self._selected(message["return"], *self.asked.pop(message["id"]))

    def _selected(self, reply: Any, names: tuple[str, ...] | None, after: int | None, monitor: str | None) -> None:
        assert reply["monitor"] == self.world.now.id or self.world.down
        restarted = "restarted" in reply
        assert restarted == (after is not None and (monitor != reply["monitor"] or after > reply["last"]))
        self.names, self.numbered = names, True
        self.monitor = reply["monitor"]
        self.number = (0 if restarted else reply["last"] if after is None else after) + reply["lost"]
        assert reply["first"] - 1 <= self.number <= reply["last"]
        self.world.counts["lost"] += reply["lost"]

    def _event(self, event: dict[str, Any]) -> None:
        if not self.numbered:
            assert "number" not in event
            return
        assert self.monitor is not None
        assert self.number is not None
        incarnation = self.world.by_id[self.monitor]
        incarnation.check(event)
        assert event["number"] > self.number, (self.number, event)
        assert self._wants(event["event"]), (event, self.names)
        self._nothing_between(incarnation, event["number"])
        self.number = event["number"]
        self.world.counts["seen"] += 1

    def _nothing_between(self, incarnation: Incarnation, end: int) -> None:
        """None of the events from its number to this one is for it."""
        assert self.number is not None
        for name, _ in incarnation.log[self.number : end - 1]:
            assert not self._wants(name), (self.number, end, name, self.names)

    def _wants(self, name: str) -> bool:
        return (self.names is None or name in self.names) and (name != "SECRET" or self.level >= Level.OPERATE)

    def carry(self, most: int) -> None:
        self.connect()
        self.take()

    def transport(self) -> MemoryTransport | None:
        connection = self.connection
        return None if connection is None or connection.closed else connection.transport

    @property
    def is_numbered(self) -> bool:
        """It is connected, and has selected its events."""
        return self.transport() is not None and self.numbered and not self.asked

    def cut(self) -> None:
        """Lose the connection; what has come up to now is read."""
        self.take()
        if self.connection is not None:
            self.connection.lose()

    def check_end(self) -> None:
        """There is nothing more for it."""
        self.take()
        assert not self.asked
        assert self.numbered
        assert self.monitor == self.world.now.id
        self._nothing_between(self.world.now, len(self.world.now.log) + 1)


class World:
    """A monitor that is restarted now and then, with its clients, and the steps that a history is made of."""

    def __init__(self, choose: random.Random, counts: Counter[str]) -> None:
        self.choose = choose
        self.counts = counts
        self.clock = Clock()
        self.by_id: dict[str, Incarnation] = {}
        self.down = False
        self.n = 0
        # What must not be, where it would only be logged.
        self.faults: list[AssertionError] = []
        self.start()
        self.clients: list[Resumer | Wire] = [Resumer(self), Resumer(self), Wire(self), Wire(self), Wire(self)]

    def start(self) -> None:
        self.now = Incarnation(self.clock, self.choose)
        self.by_id[self.now.id] = self.now
        self.down = False

    def slow_down(self, transport: MemoryTransport) -> None:
        """A new connection: some don't read at once."""
        if self.choose.random() < 0.5:
            transport.stop_reading()

    # -- the steps

    def emit(self) -> None:
        if self.down:
            return
        for _ in range(self.choose.choice((1, 1, 3, 10, 40))):
            self.n += 1
            self.counts["emitted"] += 1
            name = self.choose.choice(NAMES)
            text = {"text": "x" * self.choose.choice((0, 10, 300))} if name == "NEWS" else {}
            self.now.monitor.emit(name, {"n": self.n, **text})

    def emit_within(self) -> None:
        """Emit while an event is being delivered, and select then, too."""
        wires = [client for client in self.clients if isinstance(client, Wire)]

        def more(message: EventMessage) -> None:
            unsubscribe()
            self.emit()
            self.choose.choice(wires).select()
            self.emit()

        unsubscribe = self.now.monitor.subscribe(more)
        self.emit()
        unsubscribe()

    def pass_time(self) -> None:
        self.clock.advance(self.choose.choice((0.1, 0.5, 1.0)))

    def carry(self) -> None:
        self.choose.choice(self.clients).carry(self.choose.choice((10, 100, 1000, 1 << 20)))

    def stop_reading(self) -> None:
        transport = self.choose.choice(self.clients).transport()
        if transport is not None:
            transport.stop_reading()

    def read_some(self) -> None:
        transport = self.choose.choice(self.clients).transport()
        if transport is not None:
            transport.read_buffer()

    def read_on(self) -> None:
        transport = self.choose.choice(self.clients).transport()
        if transport is not None:
            transport.read_on()

    def select(self) -> None:
        client = self.choose.choice(self.clients)
        if isinstance(client, Wire):
            client.take()
            client.select()

    def cut(self) -> None:
        self.choose.choice(self.clients).cut()

    def restart(self) -> None:
        """Stop, in order or not, and start again at once or after a while."""
        orderly = self.choose.random() < 0.7
        waiting = [client for client in self.clients if client.is_numbered]
        self.now.end(orderly=orderly)
        self.down = True
        if self.choose.random() < 0.5:
            self.clock.advance(6.0)
        for client in self.clients:
            transport = client.transport()
            slow = self.now.slow
            if reads := orderly and transport is not None and self.choose.random() < 0.7:
                transport.read_on()
            client.carry(1 << 20)
            if reads and client in waiting and slow == self.now.slow:
                # It was not aborted: so it has everything, SHUTDOWN as well.
                client.check_end()
                self.counts["ends seen"] += 1
            client.cut()
        self.counts["restarts"] += 1
        self.start()

    STEPS = (
        ("emit", 30), ("emit_within", 3), ("pass_time", 12), ("carry", 30), ("stop_reading", 4), ("read_some", 10),
        ("read_on", 5), ("select", 4), ("cut", 3), ("restart", 0.3),
    )  # fmt: skip

    def check(self) -> None:
        """Nothing has happened that must not."""
        if self.faults:
            raise self.faults[0]

    def end(self) -> None:
        """Everybody reads, comes back, and has everything."""
        for _ in range(6):
            self.clock.advance(1.0)
            for client in self.clients:
                for _ in range(3):
                    client.carry(1 << 20)
                    if (transport := client.transport()) is not None:
                        transport.read_on()
        for client in self.clients:
            client.carry(1 << 20)
            client.check_end()
        for client in self.clients:
            if isinstance(client, Resumer):
                client.service.stopService()
            client.cut()
        self.now.monitor.events.flush()
        assert not any(factory.connections for factory in self.now.factories.values())
        assert not self.clock.getDelayedCalls(), self.clock.getDelayedCalls()


def run(events: int, seed: int) -> Counter[str]:
    """
    Play histories until so many events have been emitted.

    :return: counts
    :raise AssertionError: when a promise is broken
    """
    counts: Counter[str] = Counter()
    choose = random.Random(seed)
    names, weights = zip(*World.STEPS, strict=True)
    began = time.monotonic()
    while counts["emitted"] < events:
        world = World(choose, counts)
        for step in choose.choices(names, weights, k=1000):
            getattr(world, step)()
            world.check()
        world.end()
        world.check()
        counts["histories"] += 1
        if counts["histories"] % 50 == 0:
            print(dict(counts), f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return counts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    print(dict(run(options.events, options.seed)))


if __name__ == "__main__":
    main()
