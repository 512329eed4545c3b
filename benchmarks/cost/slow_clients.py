"""
What clients that never read cost the server, and the client beside them that does.

1,000 clients each ask for 400 big replies and read nothing; 10,000 events happen, 1,000 in a reactor turn. The server's resident
memory may grow by the named limits times the clients, no more; a healthy client's median round trip may double, no more.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.report.stats import Ratio, paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT
from twisted_qmon._transport.write_queue import MAX_QUEUED
from twisted_qmon.qmp._server.limits import HIGH_WATER

#: Bytes of one reply.
REPLY = 50_000

#: Bytes that an idle session is taken to need; python -m benchmarks measures what it needs.
IDLE_SESSION = 16 << 10

#: Clients that don't read, and the big replies that each asks for; events, and how many at a time.
CLIENTS, REPLIES, EVENTS, STEP = 1000, 400, 10_000, 1000


def serve(path: str) -> None:
    """The server, in a process of its own."""
    from twisted.internet import reactor as _reactor

    from twisted_qmon import CommandProvider, Event, Monitor, QMPFactory, command

    reactor: Any = _reactor

    class Provider(CommandProvider):
        events = (Event("NEWS", n=int),)

        @command
        def big(self) -> str:
            return "x" * REPLY

        @command
        def tell(self, first: int, count: int) -> None:
            assert self.monitor is not None
            for n in range(first, first + count):
                self.monitor.emit("NEWS", {"n": n})

    monitor = Monitor(clock=reactor)
    monitor.register(Provider())
    reactor.listenUNIX(path, QMPFactory(monitor), backlog=1024)
    reactor.run()


class Client:
    """A plain client that reads when it wants to."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.rest = b""
        self.line()
        self.ask({"execute": "qmp_capabilities"})

    def line(self) -> Any:
        while b"\n" not in self.rest:
            data = self.socket.recv(1 << 20)
            if not data:
                raise RuntimeError("the server closed the connection of the healthy client")
            self.rest += data
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def ask(self, message: Any) -> Any:
        self.socket.sendall(json.dumps(message).encode())
        while True:
            reply = self.line()
            if "event" not in reply:
                return reply

    def round_trips(self, number: int) -> float:
        """:return: the median of so many, in seconds"""
        times = []
        for n in range(number):
            began = time.perf_counter()
            self.ask({"execute": "query-name", "id": n})
            times.append(time.perf_counter() - began)
        return statistics.median(times)


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def slow(pairs: int, seconds: float) -> Iterator[Row]:
    """Memory, and what the healthy client notices."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = os.path.join(folder, "qmp.sock")
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.cost.slow_clients", path], cwd=ROOT)
        try:
            yield from _measure(path, process.pid)
        finally:
            process.kill()
            process.wait()


def _measure(path: str, pid: int) -> Iterator[Row]:
    end = time.monotonic() + 20
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise RuntimeError("the server does not start")
        time.sleep(0.05)
    healthy = Client(path)
    healthy.round_trips(500)
    before = resident(pid)
    slow = [Client(path) for _ in range(CLIENTS)]
    # Beside as many clients that are idle: what differs is that they don't read.
    usual = [healthy.round_trips(200) for _ in range(EVENTS // STEP)]
    _overwhelm(slow)
    under_way = []
    for first in range(0, EVENTS, STEP):
        healthy.ask({"execute": "tell", "arguments": {"first": first, "count": STEP}})
        under_way.append(healthy.round_trips(200))
    growth = resident(pid) - before
    bound = CLIENTS * (HIGH_WATER + MAX_QUEUED + REPLY + IDLE_SESSION)
    of_bound = growth / bound
    title = f"{CLIENTS:,} clients that never read"
    yield Row(
        title, "memory: the limits' sum", rate=growth / (1 << 20), unit="MiB", ratio=Ratio(of_bound, of_bound, of_bound),
        goal=1.0, smaller=True,
    )  # fmt: skip
    yield Row(
        title, "another's usual round trip", rate=statistics.median(usual) * 1e6, unit="us",
        ratio=paired_ratio(under_way, usual), goal=2.0, smaller=True,
    )  # fmt: skip
    for client in (healthy, *slow):
        client.socket.close()


def _overwhelm(slow: list[Client]) -> None:
    """Have them ask for more than the server sends to who does not read."""
    requests = b"".join(b'{"execute":"big","id":%d}\n' % n for n in range(REPLIES))
    with selectors.DefaultSelector() as selector:
        for client in slow:
            client.socket.setblocking(False)
            client.rest = requests
            selector.register(client.socket, selectors.EVENT_WRITE, client)
        quiet = time.monotonic() + 1.0
        while time.monotonic() < quiet:
            # What the server does not read stays here.
            for key, _ in selector.select(0.05):
                key.data.rest = key.data.rest[key.data.socket.send(key.data.rest) :]
                if not key.data.rest:
                    selector.unregister(key.data.socket)
                quiet = time.monotonic() + 1.0


MEASUREMENTS = {"slow-clients": slow}


if __name__ == "__main__":
    serve(sys.argv[1])
