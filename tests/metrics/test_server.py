"""The page for Prometheus: L{twisted_qmon.metrics.server} and L{twisted_qmon.metrics.exposition}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport

from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon.info import Level
from twisted_qmon.metrics.exposition import process_families
from twisted_qmon.metrics.provider import Metrics
from twisted_qmon.metrics.server import MetricsFactory
from twisted_qmon.service import serve_metrics
from twisted_qmon.tap import Options


class _Client:
    """A connection to a factory."""

    def __init__(self, factory: MetricsFactory) -> None:
        self.transport = StringTransport()
        self.protocol: Any = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def ask(self, head: str, body: str = "") -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the answer to a request."""
        self.transport.clear()
        self.protocol.dataReceived(f"{head}\r\n\r\n{body}".encode())
        text = self.transport.value().decode()
        top, _, rest = text.partition("\r\n\r\n")
        lines = top.split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        return int(lines[0].split()[1]), headers, rest


class _Served:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.monitor = Monitor("shop", clock=self.clock, **options)
        self.metrics = Metrics()
        self.metrics.more.append(process_families)
        self.monitor.register(self.metrics)
        self.factory = MetricsFactory(self.monitor, self.metrics)


GET = "GET /metrics HTTP/1.1\r\nHost: x"


def test_the_page_has_the_numbers_of_the_command() -> None:
    """In both of Prometheus's formats, which its own parsers read; those of the process are there too."""
    served = _Served()
    client = _Client(served.factory)
    status, headers, body = client.ask(GET)
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert headers["cache-control"] == "no-store"
    page = {sample.name for family in parse(body) for sample in family.samples}
    command = {sample.name for family in served.metrics.families() for sample in family.samples}
    assert page == command
    assert {"qmon_info", "process_cpu_seconds_total"} <= page
    _, headers, body = client.ask(f"{GET}\r\nAccept: application/openmetrics-text; version=1.0.0")
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert {sample.name for family in parse_openmetrics(body) for sample in family.samples} == command


@pytest.mark.parametrize(
    ("request_head", "status", "words"),
    [
        ("GET / HTTP/1.1\r\nHost: x", 404, "The metrics are at /metrics\n"),
        ("GET /metrics/x HTTP/1.1\r\nHost: x", 404, "The metrics are at /metrics\n"),
        ("DELETE /metrics HTTP/1.1\r\nHost: x", 405, "GET and HEAD are all there is\n"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1", 413, "A request has no body here"),
        ("HEAD /metrics HTTP/1.1\r\nHost: x", 200, ""),
        ("HEAD /x HTTP/1.1\r\nHost: x", 404, ""),
    ],
)
def test_what_else_is_asked(request_head: str, status: int, words: str) -> None:
    """Each has its status, and a line that says what is wrong."""
    found, headers, body = _Client(_Served().factory).ask(request_head)
    assert (found, words in body) == (status, True)
    if request_head.startswith("HEAD"):
        assert body == ""
        assert int(headers["content-length"]) > 0


def test_who_may_not_look(tmp_path: Path) -> None:
    """Rules decide by the identity of the connection; a refusal is counted."""
    rules = tmp_path / "access.toml"
    rules.write_text('default = "none"\n')
    served = _Served(access=str(rules))
    served.factory.endpoint = "tcp:9411"
    assert served.factory.is_restricted
    status, _, body = _Client(served.factory).ask(GET)
    assert (status, body) == (403, "Permission denied: metrics need observe\n")
    assert served.monitor.guard.turned_away == 1
    rules.write_text('default = "none"\n[[grant]]\nwho = ["tcp:*"]\nlevel = "observe"\n')
    served.monitor.guard.reload()
    assert _Client(served.factory).ask(GET)[0] == 200
    assert not _Served().factory.is_restricted
    assert served.factory.level is Level.OBSERVE


def test_connections_are_bounded_and_end(flush_logged_errors: Any) -> None:
    """One more than may be is closed at once; the end waits for none that is idle."""
    served = _Served()
    factory = MetricsFactory(served.monitor, served.metrics, max_connections=1)
    client = _Client(factory)
    assert _Client(factory).transport.disconnecting
    assert factory.counters.refused == 1
    closed = factory.close()
    assert client.transport.disconnecting
    client.protocol.connectionLost(_done())
    assert closed.called
    with pytest.raises(ValueError, match="max_connections is at least 1, not 0"):
        MetricsFactory(served.monitor, served.metrics, max_connections=0)


def _done() -> Any:
    from twisted.internet.error import ConnectionDone
    from twisted.python.failure import Failure

    return Failure(ConnectionDone())


def test_numbers_that_can_not_be_collected(flush_logged_errors: Any) -> None:
    """The answer is one line, and the log has the reason."""
    served = _Served()

    def broken() -> Any:
        raise ZeroDivisionError

    served.metrics.more.append(broken)
    status, _, body = _Client(served.factory).ask(GET)
    assert (status, body) == (500, "The metrics could not be collected; the reason was logged\n")
    assert len(flush_logged_errors(ZeroDivisionError)) == 1


def test_the_service_serves_them() -> None:
    """At each description; without any nothing is added."""
    reactor = MemoryReactorClock()
    monitor = Monitor(clock=reactor)
    service = make_monitor_service(reactor, monitor)
    serve_metrics(service, [])
    assert service.factories == []
    serve_metrics(service, ["tcp:9411:interface=127.0.0.1", "unix:metrics.sock:level=observe"])
    assert [factory.kind for factory in service.factories] == ["metrics", "metrics"]
    names = {sample.name for family in _metrics(monitor).families() for sample in family.samples}
    assert "process_open_fds" in names


def _metrics(monitor: Monitor) -> Metrics:
    return next(provider for provider in monitor.providers if isinstance(provider, Metrics))


def test_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be given more than once; a description that is not valid, and a library that is missing, are usage errors."""
    from twisted.python.usage import UsageError

    from twisted_qmon._twistd import extras

    options = Options()
    options.parseOptions(["--metrics", "tcp:9411", "--metrics", "unix:m.sock"])
    assert options["metrics"] == ["tcp:9411", "unix:m.sock"]
    with pytest.raises(UsageError, match="--metrics: 'tcp:x'"):
        Options().parseOptions(["--metrics", "tcp:x"])
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"prometheus_client is not installed: pip install 'twisted-qmon\[metrics\]'"):
        Options().parseOptions(["--metrics", "tcp:9411"])
