"""
Endpoint descriptions: what is wrong with one is said in plain words.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from twisted_qmon._transport.endpoints import client_endpoint, server_endpoint, service_name, take_level
from twisted_qmon.info import Level


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("", "'' is not an endpoint type"),
        ("nope:1", "'nope' is not an endpoint type"),
        ("unix", "it lacks 'address' (as in unix:PATH)"),
        ("unix:", "the path is empty"),
        ("tcp", "it lacks 'port' (as in tcp:PORT)"),
        ("tcp:x", "'x' is not a number"),
        ("tcp:1:port=2", "'port' is given twice"),
        ("tcp:1:bogus=2", "'bogus' is not one of its options"),
        ("unix:a:mode=9", "'9' is not an octal number"),
        ("ssl:1:privateKey=/nowhere/key.pem", "/nowhere/key.pem: No such file or directory"),
        ("systemd:domain=UNIX:index=7", "there is no socket of that index"),
    ],
)
def test_server_errors(description: str, reason: str) -> None:
    """Without Python's words for what a function was called with."""
    with pytest.raises(ValueError) as caught:
        server_endpoint(None, description)
    assert str(caught.value) == f"{description!r} is not a valid server endpoint: {reason}"


def test_key_that_is_not_pem(tmp_path: Path) -> None:
    """What OpenSSL says of a file that is no key is for programmers."""
    pytest.importorskip("OpenSSL")
    key = tmp_path / "key.pem"
    key.write_text("no key")
    with pytest.raises(ValueError, match="endpoint: the key or the certificate is not in PEM, or can't be read$"):
        server_endpoint(None, f"ssl:1:privateKey={key}:certKey={key}")


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("unix", "it lacks 'path' (as in unix:PATH)"),
        ("unix:", "the path is empty"),
        ("tcp", "it lacks 'host' and 'port' (as in tcp:HOST:PORT)"),
        ("tcp:here:x", "'x' is not a number"),
        ("tls:here:1:trustRoots=/nowhere", "/nowhere: No such file or directory"),
        ("nope", "'nope' is not an endpoint type"),
    ],
)
def test_client_errors(description: str, reason: str) -> None:
    """The same for the client's side."""
    with pytest.raises(ValueError) as caught:
        client_endpoint(None, description)
    assert str(caught.value) == f"{description!r} is not a valid client endpoint: {reason}"


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("unix:qmp.sock", "unix:qmp.sock"),
        ("unix:/run/shop/qmp.sock:mode=660", "unix:qmp.sock:mode=660"),
        ("unix:address=../qmp.sock", "unix:address=qmp.sock"),
        ("ssl:4433:privateKey=/etc/key.pem:certKey=pem/cert.pem", "ssl:4433:privateKey=key.pem:certKey=cert.pem"),
        ("tcp:4444:interface=127.0.0.1", "tcp:4444:interface=127.0.0.1"),
    ],
)
def test_service_names(description: str, name: str) -> None:
    """A service's name has no slash in it, or it could not be part of a path."""
    assert service_name(description) == name


@pytest.mark.parametrize(
    ("description", "rest", "level"),
    [
        ("unix:a.sock", "unix:a.sock", "admin"),
        ("unix:a.sock:mode=660:level=observe", "unix:a.sock:mode=660", "observe"),
        ("tcp:1:level=operate:interface=::1", "tcp:1:interface=::1", "operate"),
        (r"unix:a\:level=observe:mode=600", r"unix:a\:level=observe:mode=600", "admin"),
        ("level=observe", "level=observe", "admin"),
    ],
)
def test_level_is_taken_out(description: str, rest: str, level: str) -> None:
    """What is left is the description as Twisted takes it, nothing else in it changed."""
    assert take_level(description) == (rest, Level.of(level))


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("unix:a:level=root", "'root' is not a level: none, observe, operate or admin"),
        ("unix:a:level=", "'' is not a level: none, observe, operate or admin"),
        ("unix:a:level=observe:level=admin", "'level' is given twice"),
    ],
)
def test_level_that_is_wrong(description: str, reason: str) -> None:
    """A misspelt level is an error: no endpoint is more open than it was meant to be."""
    with pytest.raises(ValueError) as caught:
        take_level(description)
    assert str(caught.value) == f"{description!r} is not a valid server endpoint: {reason}"


@pytest.mark.parametrize(("options", "mode"), [("", 0o600), (":mode=660", 0o660)])
def test_socket_behind_haproxy(options: str, mode: int) -> None:
    """A unix socket that is served by way of C{haproxy:} is not open to all users either."""
    reactor = MemoryReactorClock()
    server_endpoint(reactor, f"haproxy:unix:x{options}").listen(Factory())
    [(path, _, _, given, locked)] = reactor.unixServers
    assert (path, given, bool(locked)) == ("x", mode, False)
