"""The numbers, and how they are printed: L{twisted_qmon.metrics.families} and L{twisted_qmon.metrics.provider}."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_qemu import Proxy
from twisted_qmon import Event, GenericError, Monitor, make_monitor_service
from twisted_qmon.core.tally import BOUNDS
from twisted_qmon.hmp.printers import present
from twisted_qmon.metrics.families import Family, families
from twisted_qmon.metrics.provider import Metrics
from twisted_qmon.qmp.protocol import QMPFactory
from twisted_qmon.testing import Connection, QMPConnection


def values(found: list[Family]) -> dict[str, float]:
    """:return: the numbers by name and labels, as Prometheus writes them"""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in found
        for sample in family.samples
    }


def test_requests() -> None:
    """By command and outcome, those that waited with their times; a command that was never called has nothing."""
    clock = Clock()
    monitor = Monitor("shop", clock=clock)
    waits: Deferred[None] = Deferred()
    monitor.register_command("waits", lambda: waits)
    client = QMPConnection(monitor)
    client.send({"execute": "query-name"}, {"execute": "nonsense"}, {"execute": "waits"})
    found = values(families(monitor))
    assert found["qmon_pending_requests"] == 1
    clock.advance(2)
    waits.callback(None)
    found = values(families(monitor))
    assert found["qmon_requests_total command=query-name outcome=ok"] == 1
    assert found["qmon_requests_total command=(unknown) outcome=error"] == 1
    assert found["qmon_requests_total command=waits outcome=ok"] == 1
    assert found["qmon_request_pending_seconds_sum command=waits"] == 2.0
    assert found["qmon_request_pending_seconds_count command=waits"] == 1
    assert found["qmon_request_pending_seconds_bucket command=waits le=1.0"] == 0
    assert found["qmon_request_pending_seconds_bucket command=waits le=5.0"] == 1
    assert found["qmon_request_pending_seconds_bucket command=waits le=+Inf"] == 1
    assert found["qmon_handler_call_seconds_count command=query-name"] == 1
    assert found["qmon_pending_requests"] == 0
    assert not any("query-version" in name for name in found)
    assert found["qmon_clients kind=qmp"] == 1


def test_the_names_follow_the_conventions() -> None:
    """Counters end in _total and only they, everything has help, and the bounds of histograms go up to infinity."""
    found = families(Monitor(clock=Clock()))
    for family in found:
        assert family.name.endswith("_total") is (family.type == "counter")
        assert family.help.endswith(".")
        assert family.name.startswith("qmon_")
        for sample in family.samples:
            assert sample.name.startswith(family.name)
    assert len(BOUNDS) == 11


class ServedTests(SynchronousTestCase):
    """A whole service on a reactor in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.monitor = Monitor(clock=self.reactor)
        self.service = make_monitor_service(self.reactor, self.monitor, ["tcp:1"], max_connections=1, max_queued=0)

    def found(self) -> dict[str, float]:
        """The numbers, as the command has them."""
        result: Any = self.successResultOf(self.monitor.execute("query-metrics"))
        return values([Family(**{**each, "samples": []}) for each in result]) | {
            sample["name"] + "".join(f" {name}={value}" for name, value in sorted(sample["labels"].items())): sample[
                "value"
            ]
            for each in result
            for sample in each["samples"]
        }

    def test_connections_and_events(self) -> None:
        """Accepted and refused by kind; events emitted, handed over, queued and lost."""
        (factory,) = self.service.factories
        assert isinstance(factory, QMPFactory)
        factory.slow_client = "drop-oldest"
        client = Connection(factory)
        client.send_bytes(b'{"execute": "qmp_capabilities"}')
        Connection(factory)
        self.monitor.events.define([Event("TICK")])
        self.monitor.emit("TICK")
        client.transport.stop_reading()
        for _ in range(3):
            client.transport.write(b"x" * 100_000)
            self.monitor.emit("TICK")
        found = self.found()
        self.assertEqual(found["qmon_connections_accepted_total kind=qmp"], 1)
        self.assertEqual(found["qmon_connections_refused_total kind=qmp"], 1)
        self.assertEqual(found["qmon_events_total"], 4)
        self.assertEqual(found["qmon_event_deliveries_total"], 4)
        self.assertEqual((found["qmon_events_lost_total"] > 0, found["qmon_events_queued_bytes"]), (True, 0))

    def test_lateness_stalls_and_drains(self) -> None:
        """Those of the process that is measured, and of the service that drains."""
        self.service.startService()
        for hook, args, kwargs in self.reactor.whenRunningHooks:
            hook(*args, **kwargs)
        self.reactor.pump([0.05] * 40)
        found = self.found()
        self.assertEqual(found["qmon_reactor_late_seconds_count"], 40)
        self.assertEqual((found["qmon_stalls_total"], found["qmon_stall_seconds_total"]), (0, 0.0))
        self.assertEqual((found["qmon_drains_total"], found["qmon_draining"]), (0, 0))
        self.monitor.register_command("waits", lambda: Deferred())
        self.monitor.execute("waits").addErrback(lambda _: None)
        stopped = self.service.stopService()
        self.assertEqual(values(families(self.monitor, self.service))["qmon_draining"], 1)
        self.reactor.pump([0.1] * 60)
        self.successResultOf(stopped)
        found = values(families(self.monitor, self.service))
        self.assertEqual((found["qmon_drains_total"], found["qmon_drain_cancelled_requests_total"]), (1, 1))
        self.assertEqual(found["qmon_requests_total command=waits outcome=cancelled"], 1)


def test_behind_the_proxy() -> None:
    """Whether QEMU is there, how often it was, and what waits for it."""
    proxy = Proxy()
    found = values(families(proxy.monitor))
    assert {name for name in found if "upstream" in name} == {
        "qmon_upstream_connected",
        "qmon_upstream_connections_total",
        "qmon_upstream_waiting_requests",
        "qmon_upstream_sent_requests",
    }
    assert found["qmon_upstream_connected"] in (0, 1)
    assert found["qmon_upstream_connections_total"] == found["qmon_upstream_connected"]


def test_clients_that_are_turned_away(tmp_path: Any) -> None:
    """They are counted."""
    rules = tmp_path / "access.toml"
    rules.write_text('default = "none"\n')
    monitor = Monitor(clock=Clock(), access=str(rules))
    Connection(QMPFactory(monitor))
    assert values(families(monitor))["qmon_clients_turned_away_total"] == 1


def test_what_a_person_sees() -> None:
    """A line for each number; of a histogram how many there are, and the mean."""
    clock = Clock()
    monitor = Monitor(clock=clock)
    metrics = Metrics()
    metrics.more.append(lambda: [Family("process_x", "gauge", "X.", [])])
    monitor.register(metrics)
    QMPConnection(monitor).send({"execute": "query-name"})
    command = monitor.command("query-metrics")
    assert command is not None

    def printed(**arguments: Any) -> list[str]:
        found: list[Any] = []
        monitor.execute("query-metrics", arguments).addCallback(found.append)
        return present(command.info, found[0], arguments).splitlines()

    assert printed(filter="nonsense") == ["no metrics"]
    assert printed(filter="pending") == ["value  metric", "    0  qmon_pending_requests"]
    assert '    1  qmon_requests_total{command="query-name",outcome="ok"}' in printed(filter="requests_total")
    (_, line) = printed(filter="handler_call")[:2]
    assert line.startswith('    1  qmon_handler_call_seconds{command="query-name"}, mean ')
    assert printed(filter="history_id") == ["no metrics"]


def test_without_a_monitor() -> None:
    """One that is not registered says so."""
    with pytest.raises(GenericError, match="The monitor is gone"):
        Metrics().families()
