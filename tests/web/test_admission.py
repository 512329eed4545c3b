"""Who is let in, and from where."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress

from tests.support.web import ADMIN, Server


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server that has another name."""
    return Server(tmp_path, hosts=["Monitor.example.org"])


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong-wrong-wrong-wrong"},
        {"authorization": f"Basic {ADMIN}"},
        {"authorization": ADMIN},
        {"authorization": "", "cookie": "a=b; qmon-x=y; nonsense"},
    ],
)
def test_no_token(server: Server, headers: dict[str, str]) -> None:
    """Without a valid token there is nothing, and no command runs."""
    for method, path in (("POST", "/api/commands/slow"), ("GET", "/api/commands"), ("GET", "/api/events")):
        answer = server.ask(method, path, **headers)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert server.slow.waiting == []


def test_token_in_an_address(server: Server) -> None:
    """A token in the address of anything but the page is no token."""
    for path in (f"/api/commands?token={ADMIN}", f"/api/events?token={ADMIN}", f"/api/session?token={ADMIN}"):
        assert server.ask("GET", path, token=None).status == 401
    assert server.ask("POST", f"/api/commands/query-status?token={ADMIN}", token=None).status == 401


def test_cookie_of_another(server: Server) -> None:
    """A cookie whose name is right and whose value is not is no session."""
    name = server.factory.admission.cookies.name
    assert server.ask("GET", "/api/session", token=None, cookie=f"{name}=x.1.root.y").status == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("localhost:9999", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("monitor.EXAMPLE.org:80", 200),
        ("evil.example.org", 403),
        ("evil.example.org:8080", 403),
        ("localhost.evil.example.org", 403),
        ("localhost@evil.example.org", 403),
        ("192.0.2.1", 403),
        ("[::2]", 403),
        ("", 403),
        ("a b", 403),
        ("localhost:123456", 403),
    ],
)
def test_host(server: Server, host: str, status: int) -> None:
    """A name that was pointed here by another is refused (DNS rebinding), for the page too."""
    for path in ("/api/session", "/", "/static/index.html"):
        assert server.ask("GET", path, host=host).status == status


def test_hosts_are_remembered_with_their_address(server: Server) -> None:
    """What is right for one address of this host is not right for another."""
    connection = server.connect()
    assert connection.ask("GET", "/api/session", host="127.0.0.1").status == 200
    other = server.connect()
    other.transport.hostAddr = IPv4Address("TCP", "192.0.2.7", 8080)
    assert other.ask("GET", "/api/session", host="127.0.0.1").status == 403
    assert other.ask("GET", "/api/session", host="192.0.2.7").status == 200
    for number in range(100):
        assert connection.ask("GET", "/api/session", host=f"127.0.0.1:{number}").status == 200


def test_unix_socket(server: Server) -> None:
    """On a unix socket a host is called localhost."""
    connection = server.connect()
    connection.transport.hostAddr = UNIXAddress(b"/run/web.sock")
    connection.transport.peerAddr = UNIXAddress(None)
    assert connection.ask("POST", "/api/commands/query-status", host="localhost").status == 200
    assert connection.ask("GET", "/api/session", host="127.0.0.1").status == 403


def test_two_of_a_header(server: Server) -> None:
    """Two hosts, two origins or two tokens are an error: it is not guessed which one is meant."""
    connection = server.connect()
    for name in ("host: localhost", "origin: http://localhost:8080", f"authorization: Bearer {ADMIN}"):
        header, _, value = name.partition(": ")
        connection.request("GET", "/api/session", **{header: f"{value}\r\n{name}"})
        [answer] = connection.answers()
        assert answer.status == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://localhost:8080"}, 200),
        ({"origin": "https://localhost:8080"}, 403),
        ({"origin": "http://localhost:8081"}, 403),
        ({"origin": "http://evil.example.org"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "anything"}, 403),
    ],
)
def test_other_sites(server: Server, headers: dict[str, str], status: int) -> None:
    """A request that comes from a page of another site is refused, whatever it shows; a link to the page is not."""
    assert server.ask("POST", "/api/commands/query-status", {}, **headers).status == status
    assert server.ask("GET", "/api/session", **headers).status == status
    assert server.ask("GET", "/", **headers).status == 200


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"],
)
def test_forms(server: Server, kind: str) -> None:
    """What a form can send is refused, before it is read."""
    connection = server.connect()
    connection.request("POST", "/api/commands/slow", b"", content_type=kind, content_length="100")
    [answer] = connection.answers()
    assert answer.status == 415
    assert server.slow.waiting == []
    assert (
        server.ask("POST", "/api/commands/echo", {"text": ""}, content_type="Application/JSON; charset=utf-8").status
        == 200
    )
