"""The server as a whole: tokens in use as clients of the monitor, rules, audit, its place in the service, its end."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from zope.interface.verify import verifyObject

from tests.support.web import ADMIN, OBSERVER, OPERATOR, Server, write_tokens
from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon._transport.connection import LINGER
from twisted_qmon.core.access.rules import AccessError
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.interfaces import ICaller
from twisted_qmon.service import serve_web
from twisted_qmon.tap import Options
from twisted_qmon.web.factory import WebFactory
from twisted_qmon.web.session import SESSION_IDLE, WebSession
from twisted_qmon.web.tokens import Tokens


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server."""
    return Server(tmp_path)


def _sessions(server: Server) -> list[str]:
    return [client.standing.identity.name for client in server.monitor.guard.clients.values()]


def test_client_of_the_monitor(tmp_path: Path) -> None:
    """A token in use is one client of the monitor, whatever the number of its connections."""
    reactor: Any = MemoryReactorClock()
    monitor = Monitor(clock=reactor)
    make_monitor_service(reactor, monitor)
    factory = WebFactory(monitor, Tokens(write_tokens(tmp_path)))
    factory.endpoint = "tcp:8080"
    from tests.support.web import Connection

    for _ in range(3):
        Connection(factory, OBSERVER).ask("POST", "/api/commands/quit")
        Connection(factory, ADMIN).ask("POST", "/api/commands/query-status")
    reactor.advance(2)
    answer = Connection(factory, ADMIN).ask("POST", "/api/commands/query-connections-monitor")
    one, other = answer.json["return"]
    assert [
        other[key] for key in ("kind", "endpoint", "identity", "level", "requests", "errors", "last-command", "idle")
    ] == [
        "web",
        "tcp:8080",
        "web:root",
        "admin",
        4,
        0,
        "query-connections-monitor",
        0.0,
    ]
    assert [one[key] for key in ("identity", "requests", "errors", "last-command", "idle")] == [
        "web:eye",
        3,
        3,
        "quit",
        2.0,
    ]


def test_token_that_is_not_used_any_more(server: Server) -> None:
    """A token that is not used counts as gone after a while; what is pending or followed keeps it."""
    server.ask("GET", "/api/session")
    server.ask("POST", "/api/commands/slow", {}, token=OPERATOR, prefer="respond-async")
    follower = server.connect(OBSERVER)
    follower.request("GET", "/api/events")
    server.reactor.advance(SESSION_IDLE / 2)
    server.ask("GET", "/api/session")
    server.reactor.advance(SESSION_IDLE / 2 + 1)
    assert _sessions(server) == ["web:root", "web:ops", "web:eye"]
    server.reactor.advance(SESSION_IDLE / 2)
    assert _sessions(server) == ["web:ops", "web:eye"]
    follower.close()
    server.slow.waiting[0].callback(None)
    server.reactor.pump([SESSION_IDLE] * 12)
    assert _sessions(server) == []


def test_callers(server: Server) -> None:
    """What asks is a caller like any other; a session that has ended does not end again."""
    server.ask("POST", "/api/commands/slow", {}, prefer="respond-async")
    [client] = server.monitor.guard.clients.values()
    assert isinstance(client, WebSession)
    caller = server.slow.requests[0].caller
    assert verifyObject(ICaller, caller)
    assert (caller.identity, str(caller.level), caller.kind) == ("web:root", "admin", "web")
    client.disconnect()
    client.turn_away()
    assert _sessions(server) == []
    assert server.slow.requests[0].detached
    server.slow.waiting[0].callback(None)


def test_rules(tmp_path: Path) -> None:
    """The lower of the token's level and that of the rules holds; who has none is refused."""
    (tmp_path / "access.toml").write_text(
        '[[grant]]\nwho = ["web:ops"]\nlevel = "admin"\n[[grant]]\nwho = ["web:root"]\nlevel = "observe"\nalso = ["slow"]\n'
    )
    server = Server(tmp_path)
    server.monitor.set_guard(access=tmp_path / "access.toml")
    assert server.ask("GET", "/api/session", token=OPERATOR).json["level"] == "operate"
    assert server.ask("GET", "/api/session").json["level"] == "observe"
    assert "slow" in {each["name"] for each in server.ask("GET", "/api/commands").json}
    answer = server.ask("GET", "/api/session", token=OBSERVER)
    assert (answer.status, answer.desc) == (403, "Permission denied: web:eye has no access here")


def test_rules_change(tmp_path: Path) -> None:
    """Rules that take a token's level away end its streams of events, and its next request is refused."""
    path = tmp_path / "access.toml"
    path.write_text('default = "admin"\n')
    server = Server(tmp_path)
    server.monitor.set_guard(access=path)
    stream = server.connect()
    stream.request("GET", "/api/events")
    path.write_text('default = "none"\n')
    server.monitor.guard.reload()
    assert stream.transport.value().endswith(b"0\r\n\r\n")
    assert server.ask("GET", "/api/session").status == 403


def test_level_of_the_endpoint(tmp_path: Path) -> None:
    """An endpoint's level is the most that a token has there."""
    server = Server(tmp_path, level="operate")
    assert server.ask("GET", "/api/session").json["level"] == "operate"
    assert server.ask("GET", "/api/session", token=OBSERVER).json["level"] == "observe"


def test_audit(tmp_path: Path) -> None:
    """What is done is recorded as that of other clients, with the token's name."""
    server = Server(tmp_path)
    server.monitor.set_guard(audit=Audit(tmp_path / "audit", server.reactor.seconds))
    assert server.monitor.guard.audit is not None
    server.monitor.guard.audit.open()
    server.ask("POST", "/api/commands/slow", {}, token=OBSERVER)
    server.ask("POST", "/api/commands/slow", {}, prefer="respond-async")
    server.slow.waiting[0].callback(None)
    server.reactor.pump([SESSION_IDLE] * 10)
    server.monitor.guard.audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(line["phase"], line["identity"], line["endpoint"]) for line in lines] == [
        ("connect", "web:eye", "tcp:8080"),
        ("refused", "web:eye", "tcp:8080"),
        ("connect", "web:root", "tcp:8080"),
        ("start", "web:root", "tcp:8080"),
        ("end", "web:root", "tcp:8080"),
        ("disconnect", "web:eye", "tcp:8080"),
        ("disconnect", "web:root", "tcp:8080"),
    ]
    assert not any(secret in (tmp_path / "audit").read_text() for secret in (ADMIN, OBSERVER))


def test_tokens_are_read_again(tmp_path: Path) -> None:
    """A token that is gone, or another, ends what goes on with it; one whose level is another has that at once."""
    server = Server(tmp_path)
    streams = [server.connect(token) for token in (ADMIN, OPERATOR, OBSERVER)]
    for stream in streams:
        stream.request("GET", "/api/events")
    text = (
        (tmp_path / "tokens.toml")
        .read_text()
        .replace('level = "admin"', 'level = "operate"')
        .replace(OBSERVER, "another-" * 4)
    )
    write_tokens(tmp_path, text.replace('"ops"', '"other"'))
    server.factory.reread()
    assert [stream.transport.value().endswith(b"0\r\n\r\n") for stream in streams] == [False, True, True]
    assert server.ask("GET", "/api/session").json["level"] == "operate"
    assert server.ask("GET", "/api/session", token=OBSERVER).status == 401


def test_limits_are_checked(tmp_path: Path) -> None:
    """A limit out of range is refused."""
    tokens = Tokens(write_tokens(tmp_path))
    for options in ({"max_connections": 0}, {"max_body": 0}, {"level": "all"}):
        with pytest.raises(ValueError, match=r"at least 1|not a level"):
            WebFactory(Monitor(clock=MemoryReactorClock()), tokens, **options)


def test_too_many_connections(tmp_path: Path) -> None:
    """More connections than the limit are closed at once."""
    server = Server(tmp_path, max_connections=1)
    server.connect()
    second = server.connect()
    assert second.transport.disconnecting
    assert server.factory.counters.refused == 1


def test_close(server: Server) -> None:
    """At the end streams end, what is being answered is answered, and silent connections are closed."""
    silent, stream, waiting, refused, stuck = (server.connect() for _ in range(5))
    stream.request("GET", "/api/events")
    waiting.request("POST", "/api/commands/slow")
    stuck.request("POST", "/api/commands/slow")
    refused.request("POST", "/", b"", content_length="5", content_type="text/plain")
    closed: list[None] = []
    server.factory.close().addCallback(closed.append)
    assert stream.transport.value().endswith(b"0\r\n\r\n")
    assert [each.transport.disconnecting for each in (silent, stream, waiting)] == [True, True, False]
    assert server.connect().transport.disconnecting
    server.slow.waiting[0].callback(None)
    assert waiting.transport.disconnecting
    for each in (silent, stream, waiting, refused):
        each.close()
    assert closed == []
    server.reactor.advance(LINGER)
    assert stuck.transport.disconnecting
    stuck.close()
    assert closed == [None]
    server.slow.waiting[1].callback(None)
    again: list[None] = []
    server.factory.close().addCallback(again.append)
    assert again == [None]


def test_close_in_time(server: Server) -> None:
    """Where all clients leave in time nothing is left behind."""
    connection = server.connect()
    closed: list[None] = []
    server.factory.close().addCallback(closed.append)
    connection.close()
    assert closed == [None]
    assert server.reactor.getDelayedCalls() == []


class _Port:
    def __init__(self, address: object) -> None:
        self._address = address

    def getHost(self) -> object:
        return self._address


@pytest.mark.parametrize(
    ("endpoint", "address", "hosts", "url"),
    [
        ("tcp:0", IPv4Address("TCP", "127.0.0.1", 8080), [], "http://127.0.0.1:8080/"),
        ("tcp6:0", IPv6Address("TCP", "::1", 8080), [], "http://[::1]:8080/"),
        ("tcp:0", IPv4Address("TCP", "0.0.0.0", 8080), [], "http://localhost:8080/"),
        ("ssl:0", IPv4Address("TCP", "0.0.0.0", 8080), ["a.example"], "https://a.example:8080/"),
        ("unix:x", UNIXAddress("x"), [], None),
    ],
)
def test_where_it_is(tmp_path: Path, endpoint: str, address: object, hosts: list[str], url: str | None) -> None:
    """Where it listens is told by a URL that a browser of this host can use."""
    server = Server(tmp_path, hosts=hosts)
    server.factory.endpoint = endpoint
    server.factory.listening(_Port(address))  # type: ignore[arg-type]
    told = tmp_path / "tokens.toml.url"
    assert (told.read_text() if told.exists() else None) == (url and f"{url}?token={ADMIN}\n")


def test_twisted_parts(server: Server) -> None:
    """No log of accesses is written, and only HTTP/1.1 is spoken."""
    server.factory.startFactory()
    server.factory.stopFactory()
    assert server.factory.acceptableProtocols() == [b"http/1.1"]
    assert server.factory.is_restricted
    assert server.reactor.getDelayedCalls() == []


# -- in the service


def test_service(tmp_path: Path) -> None:
    """The service serves it as it does the others, and reads its tokens again with the rest."""
    reactor: Any = MemoryReactorClock()
    service = make_monitor_service(reactor, Monitor(clock=reactor), [])
    serve_web(service, ["tcp:8080:interface=127.0.0.1:level=operate"], tmp_path / "tokens.toml", max_body=17)
    service.privilegedStartService()
    service.startService()
    [factory] = service.factories
    assert isinstance(factory, WebFactory)
    assert (factory.endpoint, str(factory.level), factory.max_body) == ("tcp:8080", "operate", 17)
    assert reactor.tcpServers[0][0] == 8080
    assert stat.S_IMODE((tmp_path / "tokens.toml").stat().st_mode) == 0o600
    assert (tmp_path / "tokens.toml.url").read_text().startswith("http://")
    before = factory.tokens.named("admin")
    service.reread()
    assert factory.tokens.named("admin") == before
    (tmp_path / "tokens.toml").write_text("nonsense")
    service.reread()
    assert factory.tokens.named("admin") == before
    service.stopService()
    reactor.pump([0, 1, 1])
    assert not (tmp_path / "tokens.toml.url").exists()


def test_service_without(tmp_path: Path) -> None:
    """Without an endpoint no file is made."""
    reactor: Any = MemoryReactorClock()
    service = make_monitor_service(reactor, Monitor(clock=reactor), [])
    serve_web(service, [], tmp_path / "tokens.toml")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "tokens.toml").write_text("nonsense")
    with pytest.raises(AccessError, match="its mode must be 600"):
        serve_web(service, ["tcp:1"], tmp_path / "tokens.toml")


def test_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """The options say where it is, who may use it, and by which names; without Klein one line says what to install."""
    options = Options()
    options.parseOptions(
        ["--web", "tcp:1", "--web", "unix:x:level=observe", "--web-host", "a.example", "--web-tokens", "t"]
    )
    assert (options["web"], options["web-host"], options["web-tokens"]) == (
        ["tcp:1", "unix:x:level=observe"],
        ["a.example"],
        "t",
    )
    with pytest.raises(UsageError, match="--web: 'nix:1' is not a valid server endpoint"):
        Options().parseOptions(["--web", "nix:1"])
    monkeypatch.setattr("twisted_qmon._twistd.extras.find_spec", lambda name: None)
    words = r"Klein is not installed: pip install 'twisted-qmon\[web\]'"
    with pytest.raises(UsageError, match=f"--web: {words}"):
        Options().parseOptions(["--web", "tcp:1"])
    reactor: Any = MemoryReactorClock()
    with pytest.raises(ImportError, match=f"^{words}$"):
        serve_web(make_monitor_service(reactor, Monitor(clock=reactor)), ["tcp:1"], "t")
