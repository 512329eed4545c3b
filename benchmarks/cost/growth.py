"""
What grows with what, and what takes how much memory: in this process, over a transport that only counts.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from benchmarks.report.stats import Ratio, paired_ratio
from benchmarks.report.table import Row
from twisted_qmon import Monitor, QMPFactory

_WINDOW = 64


class Sink(StringTransport):
    """Takes everything, keeps nothing."""

    def write(self, data: bytes) -> None:
        """Nothing."""


def _connect(factory: Any) -> Any:
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(Sink())
    protocol.dataReceived(b'{"execute":"qmp_capabilities"}\n')
    return protocol


def _server(commands: int = 0, pending: int = 0, sessions: int = 1) -> Any:
    """:return: the protocol of one of so many sessions, in front of a monitor of so many commands and pending requests"""
    monitor = Monitor("benchmark", Clock())
    for n in range(commands):
        monitor.register_command(f"filler-{n}", lambda: None)
    monitor.register_command("nothing", lambda: None)
    monitor.register_command("wait", lambda: Deferred())
    factory = QMPFactory(monitor, in_flight=1 << 20, max_connections=1 << 20)
    protocols = [_connect(factory) for _ in range(sessions)]
    for n in range(pending):
        protocols[0].dataReceived(b'{"execute":"wait","id":%d}\n' % n)
    return protocols[0]


def _seconds(protocol: Any, repeat: int) -> float:
    data = b"".join(b'{"execute": "nothing", "id": "req-%d"}\n' % n for n in range(_WINDOW))
    started = time.process_time()
    for _ in range(repeat):
        protocol.dataReceived(data)
    return (time.process_time() - started) / repeat / _WINDOW


def _growth(title: str, what: str, sizes: tuple[int, ...]) -> Callable[[int, float], Iterable[Row]]:
    def measure(pairs: int, seconds: float) -> Iterable[Row]:
        servers = [_server(**{what: size}) for size in sizes]
        gc.collect()
        rates: list[list[float]] = [[] for _ in sizes]
        # Best of three each time: what disturbs only ever slows down.
        for _ in range(max(pairs, 2)):
            for n, server in enumerate(servers):
                rates[n].append(1 / min(_seconds(server, 10) for _ in range(3)))
        for n, size in enumerate(sizes):
            yield Row(
                title,
                f"{size:,}",
                rate=1e6 / max(rates[n]),
                unit="us",
                ratio=paired_ratio(rates[n], rates[0]) if n else None,
                goal=0.95 if n else None,
            )

    return measure


def _bytes_each(make: Callable[[int], Any], number: int) -> float:
    """Memory that each of so many objects takes, by Python's own account."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [make(n) for n in range(number)]
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return (after - before) / number


def _pending_bytes(number: int) -> float:
    """What each of so many pending requests takes, without what its handler made."""
    protocol = _server()
    handlers = _bytes_each(lambda n: Deferred(), number)
    return _bytes_each(lambda n: protocol.dataReceived(b'{"execute":"wait","id":%d}\n' % n), number) - handlers


def memory(pairs: int, seconds: float) -> Iterable[Row]:
    """Bytes of a pending request, and of an idle connection."""
    for number in (1000, 10_000):
        yield _fits("a pending request", f"of {number:,}", _pending_bytes(number), 1536)

    def bare(n: int) -> Any:
        protocol = Protocol()
        protocol.makeConnection(Sink())
        return protocol

    factory = QMPFactory(Monitor("benchmark", Clock()), max_connections=1 << 20)
    ours = _bytes_each(lambda n: _connect(factory), 1000)
    yield _fits("an idle connection", "more than a bare protocol", ours - _bytes_each(bare, 1000), 2560)


def _fits(workload: str, contender: str, value: float, limit: int) -> Row:
    """A row for a number of bytes: its ratio is to the limit."""
    ratio = Ratio(value / limit, value / limit, value / limit)
    return Row(workload, contender, rate=value, unit="bytes", ratio=ratio, goal=1.0, smaller=True)


MEASUREMENTS: dict[str, Callable[[int, float], Iterable[Row]]] = {
    "commands": _growth("time per request, by registered commands", "commands", (10, 1000, 10_000)),
    "pending": _growth("time per request, by pending requests", "pending", (0, 1000, 10_000)),
    "sessions": _growth("time per request, by sessions", "sessions", (1, 100, 1000)),
    "memory": memory,
}
