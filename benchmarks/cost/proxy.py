"""
What the proxy in front of a QEMU costs: C{python -m benchmarks proxy}, or alone C{python -m benchmarks.cost.proxy}.

One QEMU has three QMP sockets. In front of the first is the proxy, in front of the second a Twisted forwarder of bytes, and the
third is used directly. Each round measures all of them, one after the other, so that other load on the machine affects all
alike. The result is the median of the rounds' ratios. The load comes from this process, over plain sockets, without our client.

 - ping-pong: one client, one request at a time, through the proxy and through the forwarder. Goal: at least 0.9 of the
   forwarder's rate.
 - many: 100 clients, one request at a time each, through the proxy; against one client of QEMU itself with two requests in
   flight, the most that a QEMU can serve. Goal: at least 0.9 of that.
 - big: C{query-qmp-schema}, 200 KB, one client, through the proxy (which has it cached) and through the forwarder.

All clients enable C{oob}: QEMU is faster with it, so that is the harder comparison.
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any, TypeAlias

from benchmarks.report.stats import Ratio, paired_ratio
from benchmarks.report.table import Row
from benchmarks.servers.contenders import ROOT

COMMANDS = ("query-status", "query-name", "query-kvm", "query-uuid", "query-iothreads", "query-block-jobs")
CLIENTS = 100


class Client:
    """A QMP client on a plain socket."""

    def __init__(self, path: str) -> None:
        deadline = time.monotonic() + 20
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        self.socket.settimeout(20)
        self.buffer = b""
        self.read_line()
        self.send(b'{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}\n')
        assert b"return" in self.read_line()

    def send(self, data: bytes) -> None:
        """Write a request."""
        self.socket.sendall(data)

    def read_line(self) -> bytes:
        """The next message."""
        while (end := self.buffer.find(b"\n")) < 0:
            data = self.socket.recv(1 << 18)
            assert data, "end of file"
            self.buffer += data
        line, self.buffer = self.buffer[:end], self.buffer[end + 1 :]
        return line

    def knows(self, name: str) -> bool:
        """Whether the server has that command."""
        self.send(b'{"execute": "%s"}\n' % name.encode())
        return b'"return"' in self.read_line()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def request(number: int) -> bytes:
    """A request; ids and commands vary."""
    return b'{"execute": "%s", "id": %d}\n' % (random.choice(COMMANDS).encode(), number)


def ping_pong(client: Client, count: int) -> float:
    """Requests per second, one at a time."""
    began = time.perf_counter()
    for number in range(count):
        client.send(request(number))
        reply = client.read_line()
        assert b'"return"' in reply, reply
    return count / (time.perf_counter() - began)


def window(client: Client, count: int, size: int) -> float:
    """Requests per second, some in flight."""
    began = time.perf_counter()
    for number in range(size):
        client.send(request(number))
    for number in range(size, count + size):
        assert b'"return"' in client.read_line()
        if number < count:
            client.send(request(number))
    return count / (time.perf_counter() - began)


def many(clients: list[Client], count: int) -> float:
    """Requests per second of all clients together, one at a time each."""
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
        began = time.perf_counter()
        sent = done = 0
        for client in clients:
            client.send(request(sent))
            sent += 1
        while done < count:
            for key, _ in selector.select():
                client = key.data
                client.buffer += client.socket.recv(1 << 16)
                while b"\n" in client.buffer:
                    assert b'"return"' in client.read_line()
                    done += 1
                    if sent < count:
                        client.send(request(sent))
                        sent += 1
        return count / (time.perf_counter() - began)


def big(client: Client, count: int) -> float:
    """Replies of 200 KB per second."""
    began = time.perf_counter()
    for number in range(count):
        client.send(b'{"execute": "query-qmp-schema", "id": %d}\n' % number)
        assert len(client.read_line()) > 100_000
    return count / (time.perf_counter() - began)


# -- the contenders, in processes of their own


def serve_proxy(upstream: str, path: str) -> None:
    """The proxy, with nothing else."""
    from twisted.internet import reactor
    from twisted.internet.endpoints import serverFromString

    from twisted_qmon import Monitor, QMPFactory
    from twisted_qmon.providers.qemu import Qemu

    monitor = Monitor(clock=reactor)
    qemu = Qemu(f"unix:{upstream}", reactor)
    monitor.register(qemu)
    qemu.service.startService()
    serverFromString(reactor, f"unix:{path}:lockfile=0").listen(QMPFactory(monitor))
    reactor.run()


def serve_forwarder(upstream: str, path: str) -> None:
    """Bytes in both directions, not parsed."""
    from twisted.internet import reactor
    from twisted.internet.endpoints import clientFromString, serverFromString
    from twisted.internet.protocol import Factory, Protocol

    class Side(Protocol):
        other: Any = None

        def dataReceived(self, data: bytes) -> None:
            self.other.transport.write(data)

        def connectionLost(self, reason: object = None) -> None:
            if self.other is not None:
                self.other.transport.loseConnection()

    class Front(Side):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.pauseProducing()  # type: ignore[attr-defined]
            endpoint = clientFromString(reactor, f"unix:{upstream}")
            endpoint.connect(Factory.forProtocol(Side)).addCallback(self.joined)

        def joined(self, side: Any) -> None:
            side.other, self.other = self, side
            self.transport.resumeProducing()  # type: ignore[union-attr]

    serverFromString(reactor, f"unix:{path}:lockfile=0").listen(Factory.forProtocol(Front))
    reactor.run()


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """What a process has used so far (Linux). Unlike the rates it does not depend on other load."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


class Stage:
    """
    A QEMU, the proxy and the forwarder, as a context manager; and clients of each.

    :ivar proxy: the proxy's process
    :ivar forwarder: the forwarder's process
    :ivar through_proxy: a client of the proxy
    :ivar through_forwarder: a client of the forwarder
    :ivar direct: a client of QEMU itself
    :ivar crowd: many clients of the proxy
    """

    def __init__(self, qemu: str) -> None:
        self._qemu = qemu
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        with ExitStack() as self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        sockets = [f"{folder}/{name}" for name in ("qemu-proxy", "qemu-forwarder", "qemu-direct")]
        monitors = [word for path in sockets for word in ("-qmp", f"unix:{path},server=on,wait=off")]
        self._run(self._qemu, "-machine", "none", "-nodefaults", "-display", "none", *monitors)
        for path in sockets:
            while not Path(path).exists():
                time.sleep(0.05)
        self.proxy = self._serve("proxy", sockets[0], f"{folder}/proxy")
        self.forwarder = self._serve("forwarder", sockets[1], f"{folder}/forwarder")
        self.through_proxy = self._client(f"{folder}/proxy")
        # The proxy serves before it is connected to QEMU.
        while not self.through_proxy.knows("query-block"):
            time.sleep(0.05)
        self.through_forwarder = self._client(f"{folder}/forwarder")
        self.direct = self._client(sockets[2])
        self.crowd = [self._client(f"{folder}/proxy") for _ in range(CLIENTS)]

    def _serve(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self._run(sys.executable, "-m", "benchmarks.cost.proxy", "--serve", *arguments)

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(arguments, cwd=ROOT)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)
        return process

    def _client(self, path: str) -> Client:
        client = Client(path)
        self._stack.callback(client.close)
        return client

    def pairs(self, count: int) -> dict[str, tuple[Callable[[], float], Callable[[], float]]]:
        """Of each workload, what measures the proxy and what it is compared with."""
        proxy, forwarder = self.through_proxy, self.through_forwarder
        return {
            "ping-pong": (lambda: ping_pong(proxy, count), lambda: ping_pong(forwarder, count)),
            "many": (lambda: many(self.crowd, 4 * count), lambda: window(self.direct, 4 * count, 2)),
            "big": (lambda: big(proxy, 20), lambda: big(forwarder, 20)),
        }

    def used(self) -> tuple[float, float]:
        """Seconds of CPU that the proxy and the forwarder have used so far."""
        return cpu_seconds(self.proxy), cpu_seconds(self.forwarder)


#: The rates of both sides in each round, by workload; and the seconds of processor that the proxy and the forwarder took in all.
Figures: TypeAlias = "tuple[dict[str, list[tuple[float, float]]], dict[str, list[float]]]"


def play(qemu: str, rounds: int, count: int) -> Figures:
    """Measure. :return: what was found"""
    results: dict[str, list[tuple[float, float]]] = {"ping-pong": [], "many": [], "big": []}
    used = {name: [0.0, 0.0] for name in results}
    with Stage(qemu) as stage:
        for client in (stage.through_proxy, stage.through_forwarder, stage.direct):
            ping_pong(client, 200)
        for number in range(rounds):
            for name, (ours, theirs) in stage.pairs(count).items():
                before = stage.used()
                results[name].append(alternate(ours, theirs, ours_first=number % 2 == 1))
                for side, (now, then) in enumerate(zip(stage.used(), before, strict=True)):
                    used[name][side] += now - then
    return results, used


def run(rounds: int, count: int) -> dict[str, Any]:
    """Measure. Returns the figures of each workload."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        sys.exit("there is no qemu-system-x86_64")
    results, used = play(qemu, rounds, count)
    summary: dict[str, Any] = {name: summarize(figures) for name, figures in results.items()}
    summary["cpu"] = {
        "proxy": 1e6 * used["ping-pong"][0] / (rounds * count),
        "forwarder": 1e6 * used["ping-pong"][1] / (rounds * count),
        "proxy, many": 1e6 * used["many"][0] / (rounds * 4 * count),
    }
    return summary


def alternate(ours: Callable[[], float], theirs: Callable[[], float], *, ours_first: bool) -> tuple[float, float]:
    """Measure both, in either order; ours is the first of the result."""
    if ours_first:
        rate = ours()
        return rate, theirs()
    base = theirs()
    return ours(), base


def summarize(figures: list[tuple[float, float]]) -> dict[str, float]:
    """The medians of both sides, and of the ratio with its spread."""
    ratios = [a / b for a, b in figures]
    spread = quantiles(ratios, n=10) if len(ratios) > 1 else [ratios[0]]
    return {
        "ours": median(a for a, _ in figures),
        "theirs": median(b for _, b in figures),
        "ratio": median(ratios),
        "low": spread[0],
        "high": spread[-1],
    }


#: What the proxy has to reach of what it is compared with; and its seconds of processor for a lone request, at most.
GOAL, GOAL_CPU = 0.9, 80e-6

#: Requests of one ping-pong, in the table.
COUNT = 200


def rows(pairs: int, seconds: float) -> Iterator[Row]:
    """In front of a QEMU; without one nothing is measured."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        return
    results, used = play(qemu, pairs, COUNT)
    for name, title, other, goal in (
        ("ping-pong", "QEMU through the proxy, 1 client", "a forwarder of bytes", GOAL),
        ("many", f"QEMU through the proxy, {CLIENTS} clients", "QEMU itself, 2 in flight", GOAL),
        ("big", "QEMU's schema, 200 KB", "a forwarder of bytes", None),
    ):
        ours, theirs = zip(*results[name], strict=True)
        # Of the big replies the processor was counted too, but not for 1,000 of them.
        cpu = {"ping-pong": 1, "many": 4}.get(name)
        requests = pairs * COUNT * (cpu or 1)
        yield Row(title, "the proxy", rate=median(ours), cpu=1000 * used[name][0] / requests if cpu else None)
        yield Row(
            title, other, rate=median(theirs), ratio=paired_ratio(ours, theirs), goal=goal,
            cpu=1000 * used[name][1] / requests if name == "ping-pong" else None,
        )  # fmt: skip
    each = used["ping-pong"][0] / (pairs * COUNT)
    part = each / GOAL_CPU
    yield Row(
        "the proxy's processor, a lone request", f"{GOAL_CPU * 1e6:.0f} us", rate=each * 1e6, unit="us CPU",
        ratio=Ratio(part, part, part), goal=1.0, smaller=True,
    )  # fmt: skip


MEASUREMENTS = {"proxy": rows}


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--count", type=int, default=300, help="requests of one ping-pong")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=3, metavar=("WHAT", "UPSTREAM", "SOCKET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        what, upstream, path = options.serve
        (serve_proxy if what == "proxy" else serve_forwarder)(upstream, path)
        return
    summary = run(options.rounds, options.count)
    if options.json:
        print(json.dumps(summary, indent=2))
        return
    against = {"ping-pong": "the forwarder", "many": "QEMU, two in flight", "big": "the forwarder"}
    print(f"{'workload':<12}{'proxy/s':>10}{'against':>22}{'rate/s':>10}{'ratio':>8}   10 % .. 90 % of the rounds")
    for name, other in against.items():
        each = summary[name]
        print(
            f"{name:<12}{each['ours']:>10.0f}{other:>22}{each['theirs']:>10.0f}{each['ratio']:>8.2f}"
            f"   {each['low']:.2f} .. {each['high']:.2f}"
        )
    for name, used in summary["cpu"].items():
        print(f"CPU of the {name}: {used:.0f} microseconds per request")


if __name__ == "__main__":
    main()
