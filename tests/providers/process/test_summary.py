"""One screen about the process: L{twisted_qmon.providers.process.summary}."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import Monitor
from twisted_qmon._text import short_span
from twisted_qmon.providers.process import Process, summary, text
from twisted_qmon.providers.process.latency import Latency
from twisted_qmon.providers.process.logs import MAX_ERRORS
from twisted_qmon.providers.process.stalls import Stalls
from twisted_qmon.providers.process.summary import KEPT, MAX_PORTS, MemoryChange, Trend
from twisted_qmon.testing import QMPConnection


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0ms"),
        (0.0124, "12ms"),
        (0.9994, "999ms"),
        (0.9996, "1.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m0s"),
        (3599, "59m59s"),
        (3600, "1h0m"),
        (86_399, "23h59m"),
        (90_000, "1d1h"),
        (86_400 * 100, "100d"),
    ],
)
def test_short_spans(seconds: float, expected: str) -> None:
    """At most six characters, in the two units that fit."""
    assert short_span(seconds) == expected


class SummaryTests(SynchronousTestCase):
    """A process on a reactor in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.publisher = LogPublisher()
        self.monitor = Monitor(clock=self.reactor)
        self.process = Process(self.reactor, publisher=self.publisher)
        self.monitor.register(self.process)
        for hook, args, kwargs in self.reactor.whenRunningHooks:
            hook(*args, **kwargs)

    def query(self) -> Any:
        """The summary."""
        return self.successResultOf(self.monitor.execute("query-summary"))

    def test_what_it_says(self) -> None:
        """The clients by kind, what is pending and for how long, the errors of the last minute, the ports."""
        self.monitor.register_command("wait", lambda: Deferred())
        self.monitor.execute("wait")
        QMPConnection(self.monitor)
        TCP4ServerEndpoint(self.reactor, 80).listen(Factory())
        log = Logger("shop", observer=self.publisher)
        log.error("one")
        log.critical("two")
        log.info("none")
        self.reactor.pump([1.0] * 20)
        info = self.query()
        self.assertEqual(info["clients"], [{"kind": "qmp", "count": 1}])
        self.assertEqual(info["pending"], {"count": 1, "abandoned": 0, "oldest": 20.0})
        self.assertEqual(info["errors"], 2)
        self.assertEqual((info["connections"], info["outgoing"]), (0, 0))
        self.assertGreaterEqual(info["processor"], 0.0)
        self.assertNotIn("stalls", info)
        printed = text.summary(info)
        self.assertIn("pending:     1 request, the oldest 20.0 s", printed)
        self.assertIn("errors:      2 logged in the last minute", printed)
        self.assertIn("clients:     1 qmp", printed)

    def test_errors_are_counted_whatever_is_kept(self) -> None:
        """A level that keeps them out of the log does not keep them out of the count; the count is bounded."""
        self.successResultOf(self.monitor.execute("set-log-level", {"level": "critical"}))
        log = Logger("shop", observer=self.publisher)
        for _ in range(MAX_ERRORS + 5):
            log.error("again")
        self.assertEqual(self.query()["errors"], MAX_ERRORS)
        self.assertEqual(self.process._log_keeper.errors(1e12), 0)

    def test_stalls_where_they_are_recorded(self) -> None:
        """How many, the longest, and when the last one was."""
        stalls = Stalls(Latency(self.reactor), monotonic=lambda: 0.0, wall=self.reactor.seconds)
        self.monitor.register(stalls)
        self.assertEqual(self.query()["stalls"], {"count": 0, "worst": 0.0})
        self.reactor.advance(10)
        stalls._over(0.0, 3.0)
        stalls._over(1.0, 1.0)
        self.reactor.advance(5)
        self.assertEqual(self.query()["stalls"], {"count": 2, "worst": 3.0, "last": 6.0})
        self.assertEqual(stalls.total, 4.0)

    def test_without_a_monitor(self) -> None:
        """The parts that ask the monitor cope with its absence."""
        self.assertEqual(summary.clients_of(None), [])
        self.assertEqual(summary.pending_of(None).count, 0)
        self.assertIsNone(summary.pending_of(self.monitor).oldest)


class _Memory:
    """Stands for what the system says of the memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes: int | None = 1000
        self.seconds = 0.0
        monkeypatch.setattr(summary, "resident_memory", lambda: self.bytes)
        monkeypatch.setattr(summary, "_processor_seconds", lambda: self.seconds)


def test_the_trend_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change over each span that it knows of; what is kept is bounded."""
    memory, clock = _Memory(monkeypatch), Clock()
    trend = Trend(clock)
    assert trend.memory_changes(1000) == []
    assert trend.processor() is None
    for second in range(3 * 86_400 // 5):
        memory.bytes = 1000 + 5 * second
        trend.look()
        if second in (1, 120, 720):
            found = [change.seconds for change in trend.memory_changes(memory.bytes)]
            assert found == {1: [], 120: [600.0], 720: [600.0, 3600.0]}[second]
        clock.advance(5)
    assert memory.bytes is not None
    changes = trend.memory_changes(memory.bytes + 5)
    assert [change.bytes for change in changes] == [change.seconds for change in changes]
    for change, span in zip(changes, summary.SPANS, strict=True):
        assert span <= change.seconds <= span + 600
    assert (len(trend._fine), len(trend._coarse)) == KEPT
    memory.bytes = None
    assert trend.memory_changes(None) == []


def test_the_part_of_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used since the first sample of the last minute; nothing can be said in the moment of the first."""
    memory, clock = _Memory(monkeypatch), Clock()
    trend = Trend(clock)
    trend.look()
    assert trend.processor() is None
    clock.advance(20)
    memory.seconds = 5.0
    assert trend.processor() == 0.25
    trend.look()
    clock.advance(70)
    assert trend.processor() is None
    assert MemoryChange(1.0, 2).bytes == 2


def test_the_text_of_everything() -> None:
    """All lines, at most so wide as a terminal; ports that are left out are counted."""
    info = {
        "pid": 4711,
        "uptime": 11_000.0,
        "latency": {"last": 0.0001, "mean": 0.0001, "worst": 2.1, "window": 60.0, "interval": 0.05},
        "errors": 1234,
        "clients": [],
        "pending": {"count": 0, "abandoned": 2},
        "connections": 1205,
        "outgoing": 3,
        "port-count": MAX_PORTS + 1,
        "ports": [
            {
                "address": "tcp:0.0.0.0:8080",
                "factory": "twisted.web.server.Site",
                "connections": 1200,
                "accepted": 40112,
            }
        ]
        + [{"address": "udp:[::]:53", "factory": "x.y", "connections": 0}] * (MAX_PORTS - 1),
        "memory-changes": [{"seconds": 600.0, "bytes": 1 << 20}, {"seconds": 3600.0, "bytes": -(3 << 20)}],
        "stalls": {"count": 2, "worst": 2.1, "last": 61.0},
        "processor": 0.031,
        "resident-memory": 120 << 20,
        "file-descriptors": 35,
        "file-descriptor-limit": 1024,
    }
    lines = text.summary(info).splitlines()
    assert lines[:15] == [
        "up:          3 h 3 min; pid 4711",
        "late by:     0.1 ms; mean 0.1 ms, worst 2.1 s in 60.0 s",
        "stalls:      2, the longest 2.1 s, the last 61.0 s ago",
        "errors:      1,234 logged in the last minute",
        "processor:   3.1 % of a core in the last minute",
        "memory:      120 MiB; +1 MiB in 10 min 0 s; -3 MiB in 60 min 0 s",
        "descriptors: 35 of 1024",
        "clients:     none",
        "pending:     0 requests; 2 abandoned",
        "connections: 1,205, 3 of them not accepted by a port",
        "",
        "   open  accepted  port              factory",
        "  1,200    40,112  tcp:0.0.0.0:8080  Site",
        "      0         -  udp:[::]:53       y",
        "      0         -  udp:[::]:53       y",
    ]
    assert lines[-1] == "  ... and 1 port more"
    assert max(map(len, lines)) <= 80
    bare = {key: info[key] for key in ("pid", "uptime", "latency", "errors", "pending", "connections", "outgoing")}
    lines = text.summary({**bare, "clients": [], "ports": [], "port-count": 0, "file-descriptors": 3}).splitlines()
    assert "descriptors: 3 of any number" in lines
    assert text.summary({**info, "stalls": {"count": 0, "worst": 0.0}}).splitlines()[2] == "stalls:      0"
