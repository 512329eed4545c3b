"""
Random histories of a monitor and its clients, and what must hold in all of them.

Used twice: by hypothesis (C{test_promises.py}), and as a command that runs a seeded generator for as long as wanted::

    python -m tests.support.history --requests 1000000 --seed 1
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter, deque
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from twisted_qmon import CommandProvider, DeviceNotFound, Event, Monitor, QMPFactory, Request, Size, command
from twisted_qmon.testing import QMPConnection


class Provider(CommandProvider):
    """Commands that end in every way there is."""

    events = (Event("NEWS", n=int), Event("LIMITED", n=int, rate_limit=1.0))

    def __init__(self) -> None:
        self.open: list[Deferred[Any]] = []
        self.gates: list[Deferred[Any]] = []

    def _wait(self) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.open.append(deferred)
        deferred.addBoth(self._ended, deferred)
        return deferred

    def _ended(self, result: Any, deferred: Deferred[Any]) -> Any:
        if deferred in self.open:
            self.open.remove(deferred)
        return result

    @command
    def sync(self) -> int:
        """At once."""
        return 1

    @command
    def fired(self) -> Deferred[int]:
        """A Deferred that has fired."""
        return succeed(1)

    @command
    def fails(self) -> None:
        """Fails at once."""
        raise DeviceNotFound("Device 'x' not found")

    @command
    def wait(self) -> Deferred[int]:
        """Later."""
        return self._wait()

    @command(on_disconnect="cancel")
    def wait_cancel(self) -> Deferred[int]:
        """Later, unless its caller leaves."""
        return self._wait()

    @command(timeout=3)
    def wait_timeout(self) -> Deferred[int]:
        """Later, but not much."""
        return self._wait()

    @command(oob=True)
    def wait_oob(self) -> Deferred[int]:
        """Later, out of band too."""
        return self._wait()

    @command
    async def stubborn(self) -> int:
        """Swallows its cancellation, and goes on."""
        try:
            await self._wait()
        except CancelledError:
            gate: Deferred[None] = Deferred()
            self.gates.append(gate)
            await gate
        return 1

    @command
    def suicidal(self, request: Request) -> Deferred[int]:
        """Cancels itself."""
        request.cancel()
        return self._wait()

    @command
    def big(self, size: Size = 40_000) -> str:
        """A reply that fills buffers."""
        return "x" * size

    @command
    def tell(self) -> None:
        """Emits."""
        assert self.monitor is not None
        self.monitor.emit("NEWS", {"n": 0})


NAMES = (
    "sync", "fired", "fails", "wait", "wait-cancel", "wait-timeout", "wait-oob", "stubborn", "suicidal", "big", "tell",
    "nope", "query-pending",
)  # fmt: skip

#: How each command may be answered; besides, any that is pending may be cancelled, and any refused at the end.
ANSWERS: dict[str, frozenset[str]] = {
    **dict.fromkeys(("sync", "fired"), frozenset(("return",))),
    **dict.fromkeys(
        ("wait", "wait-cancel", "wait-timeout", "wait-oob", "stubborn"), frozenset(("return", "DeviceNotFound"))
    ),
    **dict.fromkeys(("big", "tell", "query-pending"), frozenset(("return",))),
    "fails": frozenset(("DeviceNotFound",)),
    "suicidal": frozenset(),
    "nope": frozenset(("CommandNotFound",)),
    "cancel-command": frozenset(("return",)),
}
_ENDED = ("no such request", "was cancelled", "timed out after", "shutting down", "abandoned executions")


class Client:
    """One client, and what it is owed: by id one reply each, and the replies to those without an id in their order."""

    def __init__(self, server: Server) -> None:
        server.connected += 1
        self.name = f"client-{server.connected}"
        self.connection = QMPConnection(server.monitor, oob=True, factory=server.factory)
        self.owed: dict[str, str] = {}
        self.owed_in_order: deque[str] = deque()
        self.backlog: deque[bytes] = deque()
        self.half_closed = False
        self.left = False
        self.counter = 0

    def ask(self, name: str, *, with_id: bool, oob: bool = False) -> bytes:
        self.counter += 1
        member = "exec-oob" if oob else "execute"
        if with_id or oob:
            id = f"{self.name}/{self.counter}"
            self.owed[id] = name
            return f'{{"{member}":"{name}","id":"{id}"}}'.encode()
        self.owed_in_order.append(name)
        return f'{{"{member}":"{name}"}}\n'.encode()

    def push(self) -> None:
        """Send what is to be sent, as far as the server reads."""
        connection = self.connection
        while self.backlog and connection.transport.producerState == "producing" and not connection.closed:
            connection.send_bytes(self.backlog.popleft())

    def check(self) -> int:
        """Take what has come, and check it against what is owed. :return: how many replies came"""
        replies = 0
        for message in self.connection.received():
            if "event" in message:
                continue
            replies += 1
            if "id" in message:
                name = self.owed.pop(message["id"], None)
                assert name is not None, f"not owed here, or answered twice: {message}"
            else:
                assert self.owed_in_order, f"nothing is owed: {message}"
                name = self.owed_in_order.popleft()
            check_answer(name, message)
        return replies


def check_answer(name: str, message: dict[str, Any]) -> None:
    """The reply is one that the command may get."""
    if name == "malformed":
        assert message["error"]["desc"].startswith("JSON parse error"), (name, message)
    elif "error" in message:
        error = message["error"]
        known = error["class"] in ANSWERS[name] or any(words in error["desc"] for words in _ENDED)
        assert known, (name, message)
    else:
        assert "return" in ANSWERS[name], (name, message)


class Server:
    """A monitor with its clients, and the steps that a history is made of."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock, timeout=60.0, max_abandoned=20)
        self.provider = Provider()
        self.monitor.register(self.provider)
        self.factory = QMPFactory(
            self.monitor, max_queued=2000, slow_client=choose.choice(("disconnect", "drop-oldest"))
        )
        self.clients: list[Client] = []
        self.connected = 0
        self.asked = 0
        self.answered = 0
        self.unanswered_at_loss = 0

    # -- the steps

    def connect(self) -> None:
        if len(self.clients) < 5:
            self.clients.append(Client(self))

    def some_client(self) -> Client | None:
        return self.choose.choice(self.clients) if self.clients else None

    def ask(self) -> None:
        client = self.some_client()
        if client is None or client.half_closed:
            return
        choose = self.choose
        messages = []
        for _ in range(choose.choice((1, 1, 2, 5, 12))):
            kind = choose.random()
            self.asked += 1
            if kind < 0.05:
                client.owed_in_order.append("malformed")
                messages.append(b"{]")
            elif kind < 0.1:
                messages.append(client.ask("wait-oob", with_id=True, oob=True))
            else:
                messages.append(client.ask(choose.choice(NAMES), with_id=choose.random() < 0.6))
        data = b"".join(messages)
        if choose.random() < 0.3:
            cut = choose.randrange(len(data))
            client.backlog.extend((data[:cut], data[cut:]))
        else:
            client.backlog.append(data)
        client.push()

    def fire(self) -> None:
        if self.provider.open:
            self.choose.choice(self.provider.open).callback(1)

    def fail(self) -> None:
        if self.provider.open:
            self.choose.choice(self.provider.open).errback(DeviceNotFound("no more"))

    def relent(self) -> None:
        if self.provider.gates:
            self.provider.gates.pop(self.choose.randrange(len(self.provider.gates))).callback(None)

    def cancel(self) -> None:
        pending = list(self.monitor.pending)
        if pending:
            request = self.choose.choice(pending)
            self.monitor.execute("cancel-command", {"number": request.number}).addErrback(lambda failure: None)

    def cancel_by_id(self) -> None:
        client = self.some_client()
        if client is None or client.half_closed or not client.owed:
            return
        self.asked += 1
        client.counter += 1
        id = f"{client.name}/{client.counter}"
        target = self.choose.choice(list(client.owed))
        client.owed[id] = "cancel-command"
        client.backlog.append(f'{{"exec-oob":"cancel-command","arguments":{{"id":"{target}"}},"id":"{id}"}}'.encode())
        client.push()

    def pass_time(self) -> None:
        self.clock.advance(self.choose.choice((0, 0.5, 1, 4)))

    def emit(self) -> None:
        self.monitor.emit(self.choose.choice(("NEWS", "LIMITED")), {"n": 1})

    def stop_reading(self) -> None:
        client = self.some_client()
        if client is not None:
            client.connection.transport.stop_reading()

    def read_on(self) -> None:
        client = self.some_client()
        if client is not None:
            client.connection.transport.read_on()

    def half_close(self) -> None:
        client = self.some_client()
        if (
            client is not None
            and not client.half_closed
            and not client.backlog
            and not client.connection.closed
            and client.connection.transport.producerState == "producing"
        ):
            client.half_closed = True
            client.connection.half_close()

    def lose(self) -> None:
        client = self.some_client()
        if client is not None and not client.connection.closed:
            client.left = True
            client.connection.lose()

    STEPS = (
        ("connect", 4), ("ask", 40), ("fire", 25), ("fail", 3), ("relent", 3), ("cancel", 4), ("cancel_by_id", 3),
        ("pass_time", 6), ("emit", 5), ("stop_reading", 2), ("read_on", 8), ("half_close", 0.4), ("lose", 0.3),
    )  # fmt: skip

    def settle(self) -> None:
        """After each step: send what can be sent, look at what came, forget those who have gone."""
        for client in list(self.clients):
            client.push()
            self.answered += client.check()
            if client.connection.closed:
                self.gone(client)

    def gone(self, client: Client) -> None:
        self.clients.remove(client)
        left = len(client.owed) + len(client.owed_in_order)
        if not client.left and client.connection.transport.reading:
            # The server closed it, and not because it did not read: then everything had been asked and answered.
            assert (client.half_closed, left) == (True, 0), f"closed with {left} requests unanswered"
        self.unanswered_at_loss += left

    def stop(self) -> None:
        """The end: everybody reads, everything pending ends or is cancelled, and the books are balanced."""
        for client in self.clients:
            client.connection.transport.read_on()
        self.settle()
        drained: list[int] = []
        self.monitor.drain(5.0).addCallback(drained.append)
        for _ in range(6):
            self.clock.advance(1)
            self.settle()
        while self.provider.gates:
            self.provider.gates.pop().callback(None)
        for client in list(self.clients):
            client.connection.transport.read_on()
        self.settle()
        assert drained, "the drain did not end"
        assert len(self.monitor.pending) == 0
        assert not self.monitor.pending.abandoned
        for client in self.clients:
            left = [*client.owed, *client.owed_in_order, *client.backlog]
            assert not left, "left unanswered"
            client.connection.lose()
        self.monitor.events.flush()
        assert not self.factory.connections
        assert not self.clock.getDelayedCalls(), self.clock.getDelayedCalls()


def run(requests: int, seed: int) -> Counter[str]:
    """
    Run histories until so many requests have been made.

    :return: counts
    :raise AssertionError: when a promise is broken
    """
    counts: Counter[str] = Counter()
    names, weights = zip(*Server.STEPS, strict=True)
    choose = random.Random(seed)
    began = time.monotonic()
    while counts["asked"] < requests:
        server = Server(choose)
        server.connect()
        for step in choose.choices(names, weights, k=2000):
            getattr(server, step)()
            server.settle()
        server.stop()
        counts["histories"] += 1
        counts["asked"] += server.asked
        counts["answered"] += server.answered
        counts["of clients that left"] += server.unanswered_at_loss
        if counts["histories"] % 100 == 0:
            print(dict(counts), f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    assert counts["asked"] == counts["answered"] + counts["of clients that left"], counts
    return counts


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    counts = run(options.requests, options.seed)
    print({**counts, "lost": 0, "doubled": 0, "misrouted": 0})


if __name__ == "__main__":
    main()
