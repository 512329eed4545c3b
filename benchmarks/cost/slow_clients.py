"""
What clients that never read cost the server, and the client beside them that does::

    python -m benchmarks.cost.slow_clients

1,000 clients each ask for 400 big replies and read nothing; 10,000 events happen, 1,000 in a reactor turn. The server's resident
memory may grow by the named limits times the clients, no more; a healthy client's median round trip may double, no more.
"""

from __future__ import annotations

import argparse
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
from typing import Any

from twisted_qmon._transport.write_queue import MAX_QUEUED
from twisted_qmon.qmp._server.limits import HIGH_WATER

#: Bytes of one reply.
REPLY = 50_000

#: Bytes that an idle session is taken to need; python -m benchmarks measures what it needs.
IDLE_SESSION = 16 << 10


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
                raise SystemExit("the server closed the connection of the healthy client")
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


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--replies", type=int, default=400)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "qmp.sock")
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.cost.slow_clients", "--serve", path])
        try:
            measure(path, process.pid, options)
        finally:
            process.kill()
            process.wait()


def measure(path: str, pid: int, options: Any) -> None:
    """Measure, print, and end with status 1 if a bound is broken."""
    end = time.monotonic() + 20
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise SystemExit("the server does not start")
        time.sleep(0.05)
    healthy = Client(path)
    healthy.round_trips(500)
    usual = healthy.round_trips(2000)
    before = resident(pid)
    slow = [Client(path) for _ in range(options.clients)]
    idle = resident(pid)
    connected = healthy.round_trips(2000)
    requests = b"".join(b'{"execute":"big","id":%d}\n' % n for n in range(options.replies))
    selector = selectors.DefaultSelector()
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
    under_way: list[float] = []
    for first in range(0, options.events, 1000):
        healthy.ask({"execute": "tell", "arguments": {"first": first, "count": min(1000, options.events - first)}})
        under_way.append(healthy.round_trips(200))
    after = resident(pid)
    bound = options.clients * (HIGH_WATER + MAX_QUEUED + REPLY + IDLE_SESSION)
    during = statistics.median(under_way)
    print(f"{options.clients} clients that never read, {options.replies} replies of {REPLY} bytes due to each")
    print(f"{options.events} events, 1000 in a reactor turn")
    print(
        f"resident memory: {before >> 20} MiB before, {idle >> 20} MiB with idle clients, {after >> 20} MiB at the end"
    )
    print(f"growth {(after - before) >> 20} MiB; the bound is {bound >> 20} MiB")
    print(
        f"healthy client, median round trip: {usual * 1e6:.0f} us alone, {connected * 1e6:.0f} us beside idle clients, "
        f"{during * 1e6:.0f} us during all this: {during / usual:.2f} times its usual"
    )
    if after - before > bound or during > 2 * usual:
        raise SystemExit("a bound is broken")


if __name__ == "__main__":
    main()
