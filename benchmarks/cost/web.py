"""
What the HTTP interface costs beside the server that it is built on.

A command on a kept connection, beside a bare Klein route that returns a constant of the same length; an event to 500 streams of
events, beside writing the same bytes to 500 connections. Both sides are in one process, and take turns; what is compared is the
processor time of that process, the system's included.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver
from twisted.web.server import Site

from benchmarks.report.stats import paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT
from twisted_qmon import CommandProvider, Event, Monitor

#: What each has to reach of the bare one.
GOAL = 0.7

#: In a turn: requests, events. And how many follow the events.
REQUESTS, EVENTS, STREAMS = 300, 20, 500

TOKEN = "benchmark-benchmark-benchmark"

BODY = b'{"return":{"running":true,"singlestep":false,"status":"running"}}'

REQUEST = (
    f"POST /api/commands/query-status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
).encode()

FOLLOW = f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()

#: Writes an event to all clients.
Writer: TypeAlias = Callable[[int], None]


class News(CommandProvider):
    """One event."""

    events = (Event("NEWS", n=int),)


# A frame of an event's length, for the bare side.
FRAME = b"a9\r\n" + b"x" * 0xA9 + b"\r\n"


class Plain(Protocol):
    """A connection that only gets bytes."""

    def connectionMade(self) -> None:
        """One more to write to."""
        self.factory.transports.append(self.transport)  # type: ignore[union-attr]


class PlainFactory(ServerFactory):
    """The bare side: what an event is compared with."""

    protocol: Any = Plain

    def __init__(self) -> None:
        self.transports: list[Any] = []

    def write(self, n: int) -> None:
        """Write to all of them."""
        for transport in self.transports:
            transport.write(FRAME)


class Jobs(LineReceiver):
    """Takes one job a line, and answers each with what it cost."""

    delimiter = b"\n"

    def __init__(self, reactor: Any, streams: Callable[[], int], ours: Writer, bare: Writer) -> None:
        self._reactor = reactor
        self._streams = streams
        self._writers = {"ours": ours, "bare": bare}

    def lineReceived(self, line: bytes) -> None:
        """One job."""
        kind, count = line.decode().split()
        if kind == "time":
            self._answer(time.process_time())
        elif kind == "streams":
            self._answer(self._streams())
        else:
            self._reactor.callLater(0, self._step, self._writers[kind], int(count), time.process_time())

    def _step(self, write: Writer, left: int, began: float) -> None:
        # One event in a turn of the reactor: its bytes have left before the next.
        if left:
            write(left)
            self._reactor.callLater(0, self._step, write, left - 1, began)
        else:
            self._answer(time.process_time() - began)

    def _answer(self, value: float) -> None:
        self.sendLine(json.dumps(value).encode())


def serve(folder: Path) -> None:
    """The server, in a process of its own."""
    from klein import Klein
    from twisted.internet import reactor as _reactor

    from twisted_qmon.web.factory import WebFactory
    from twisted_qmon.web.tokens import Tokens

    reactor: Any = _reactor
    path = folder / "tokens.toml"
    path.touch(mode=0o600)
    path.write_text(f'[[token]]\nname = "a"\nlevel = "admin"\ntoken = "{TOKEN}"\n')
    monitor = Monitor(clock=reactor)
    monitor.register(News())
    ours = WebFactory(monitor, Tokens(path))
    app = Klein()
    app.route("/api/commands/<name>", methods=["POST"])(lambda request, name: BODY)
    site = Site(app.resource())
    site.log = lambda request: None
    plain = PlainFactory()
    ports = [reactor.listenTCP(0, each, backlog=1024, interface="127.0.0.1") for each in (ours, site, plain)]
    sys.stdout.write(json.dumps([port.getHost().port for port in ports]) + "\n")
    sys.stdout.flush()
    StandardIO(
        Jobs(
            reactor,
            lambda: len(ours.streams) + len(plain.transports),
            lambda n: monitor.emit("NEWS", {"n": n}),
            plain.write,
        )
    )
    reactor.run()


class Server:
    """The server's process."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cost.web", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self.ours, self.klein, self.plain = self._line()

    def _line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, job: str, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Have it do a job. :return: the answer"""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{job}\n".encode())
        self.process.stdin.flush()
        while not select.select([self.process.stdout], [], [], 0)[0]:
            meanwhile()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.communicate()


def _requests(connection: socket.socket, count: int) -> None:
    for _ in range(count):
        connection.sendall(REQUEST)
        data = b""
        while BODY not in data:
            chunk = connection.recv(65536)
            assert chunk, data
            data += chunk


def requests(server: Server, pairs: int, count: int) -> Iterator[tuple[float, float]]:
    """:return: processor seconds for so many requests: ours, and the bare route's; of each turn"""
    connections = [socket.create_connection(("127.0.0.1", port)) for port in (server.ours, server.klein)]
    for turn in range(pairs + 1):
        spent = [0.0, 0.0]
        for n in (0, 1) if turn % 2 else (1, 0):
            before = server.ask("time 0")
            _requests(connections[n], count)
            spent[n] = server.ask("time 0") - before
        # The first turn only warms up.
        if turn:
            yield spent[0], spent[1]
    for connection in connections:
        connection.close()


def events(server: Server, pairs: int, count: int, streams: int) -> Iterator[tuple[float, float]]:
    """:return: processor seconds for so many events to so many clients: ours, and bare writes; of each turn"""
    poll = select.epoll()
    connections: dict[int, socket.socket] = {}
    for port, first in ((server.ours, FOLLOW), (server.plain, b"")):
        for _ in range(streams):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(first)
            connection.setblocking(False)
            connections[connection.fileno()] = connection
            poll.register(connection, select.EPOLLIN)

    def read() -> None:
        for number, _ in poll.poll(0.001):
            connections[number].recv(1 << 16)

    while server.ask("streams 0", read) < 2 * streams:
        read()
    for turn in range(pairs + 1):
        spent = [0.0, 0.0]
        for n in (0, 1) if turn % 2 else (1, 0):
            spent[n] = server.ask(f"{('ours', 'bare')[n]} {count}", read)
        if turn:
            yield spent[0], spent[1]
    for connection in connections.values():
        connection.close()


def _rows(title: str, bare: str, found: list[tuple[float, float]], count: int) -> Iterator[Row]:
    """What it costs is compared; the ratio is the other way round, so that more is better."""
    sides = list(zip(*found, strict=True))
    ours, theirs = (median(side) / count for side in sides)
    yield Row(title, "ours", rate=ours * 1e6, unit="us CPU")
    yield Row(
        title, bare, rate=theirs * 1e6, unit="us CPU", ratio=paired_ratio(sides[1], sides[0]), goal=GOAL,
    )  # fmt: skip


def command(pairs: int, seconds: float) -> Iterator[Row]:
    """A command on a kept connection."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, closing(Server(Path(folder))) as server:
        yield from _rows("a command over HTTP", "Klein, a constant", list(requests(server, pairs, REQUESTS)), REQUESTS)


def stream(pairs: int, seconds: float) -> Iterator[Row]:
    """An event to many streams."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, closing(Server(Path(folder))) as server:
        found = list(events(server, pairs, EVENTS, STREAMS))
        yield from _rows(f"an event to {STREAMS} HTTP streams", "bare writes", found, EVENTS)


MEASUREMENTS = {"web-command": command, "web-events": stream}


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
