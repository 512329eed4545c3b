"""
Where a router is.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from tests.support.certificates import Authority
from twisted_qmon.fleet.router import MAX_TICKET, Router, read_ticket


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://router:8080/ws", ("router", 8080, "", True, False)),
        ("ws://router", ("router", 80, "", True, False)),
        ("wss://router/a/b", ("router", 443, "", True, True)),
        ("rs://127.0.0.1:9000", ("127.0.0.1", 9000, "", False, False)),
        ("rss://[::1]:9000", ("::1", 9000, "", False, True)),
        ("rs://unix:/run/router.sock", ("", 0, "/run/router.sock", False, False)),
    ],
)
def test_urls(url: str, expected: tuple[str, int, str, bool, bool]) -> None:
    """A URL says where the router is, and how it is spoken to."""
    router = Router.parse(url)
    assert (router.host, router.port, router.path, router.websocket, router.secure) == expected
    assert (router.url, router.realm) == (url, "qmon")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://router", "it begins with ws://"),
        ("router", "it begins with ws://"),
        ("ws://", "there is no host"),
        ("ws://router:x", "Port"),
        ("ws://alice@router", "no user"),
        ("ws://router/?a=1", "no query"),
        ("ws://router/#a", "no fragment"),
        ("rs://router/path", "RawSocket has no path"),
        ("rss://unix:/run/a", "a unix socket is rs://unix:/PATH"),
        ("ws://unix:/run/a", "a unix socket is rs://unix:/PATH"),
        ("rs://unix:a", "begins with a slash"),
        ("ws://[router", "Invalid IPv6 URL"),
    ],
)
def test_what_is_no_url(url: str, why: str) -> None:
    """The error names the URL, and says what is wrong with it."""
    with pytest.raises(ValueError, match="is not a valid URL of a router") as raised:
        Router.parse(url)
    assert repr(url) in str(raised.value)
    assert why in str(raised.value)


@pytest.mark.parametrize("realm", ["", "a b", "a#b"])
def test_what_is_no_realm(realm: str) -> None:
    """A realm has no spaces, since it is a URI for the router."""
    with pytest.raises(ValueError, match="not a valid realm"):
        Router.parse("ws://router", realm)


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("ws://router", False),
        ("rs://192.0.2.1:9", False),
        ("ws://localhost", True),
        ("ws://127.0.0.2", True),
        ("rs://[::1]:9", True),
        ("rs://unix:/a", True),
        ("wss://router", True),
        ("rss://router:9", True),
    ],
)
def test_where_a_ticket_may_go(url: str, private: bool) -> None:
    """A ticket goes over TLS, or stays on this host."""
    router = Router.parse(url)
    assert router.is_private is private
    if private:
        router.check_ticket()
    else:
        with pytest.raises(ValueError, match="use wss:// or rss://"):
            router.check_ticket()


def test_endpoints(tmp_path: Path) -> None:
    """Each kind of URL has its endpoint; over TLS it is wrapped, with the authority that was given."""
    reactor = MemoryReactorClock()
    assert isinstance(Router.parse("ws://router").endpoint(reactor), HostnameEndpoint)
    assert isinstance(Router.parse("rs://unix:/a").endpoint(reactor), UNIXClientEndpoint)
    wrapped = Router.parse("wss://router").endpoint(reactor)
    assert not isinstance(wrapped, HostnameEndpoint)
    ca = str(tmp_path / "ca.pem")
    Path(ca).write_bytes(Authority().certificate)
    assert not isinstance(Router.parse("rss://router:9", ca=ca).endpoint(reactor), HostnameEndpoint)


def test_what_is_no_ca(tmp_path: Path) -> None:
    """A file of authorities has certificates, and is for TLS."""
    file = tmp_path / "ca.pem"
    with pytest.raises(ValueError, match="No such file"):
        Router.parse("wss://router", ca=str(file))
    file.write_text("nothing")
    with pytest.raises(ValueError, match="no certificate in PEM form"):
        Router.parse("wss://router", ca=str(file))
    file.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(ValueError, match="not a certificate in PEM form"):
        Router.parse("wss://router", ca=str(file))
    with pytest.raises(ValueError, match="a CA is for wss:// and rss://"):
        Router.parse("ws://router", ca=str(file))


def test_tickets(tmp_path: Path) -> None:
    """A ticket is the one line of its file."""
    file = tmp_path / "ticket"
    file.write_text(" s3cret \n")
    assert read_ticket(file) == "s3cret"


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"a" * (MAX_TICKET + 1), b"\xff"])
def test_what_is_no_ticket(tmp_path: Path, content: bytes) -> None:
    """Anything else in the file is an error that names it."""
    file = tmp_path / "ticket"
    with pytest.raises(ValueError, match="ticket: No such file"):
        read_ticket(file)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"ticket: (not UTF-8|a ticket is one line)"):
        read_ticket(file)
