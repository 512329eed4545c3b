"""
Endpoint descriptions: what is wrong with one is said in plain words.
"""

from __future__ import annotations

import pytest

from twisted_qmon._transport.endpoints import client_endpoint, server_endpoint, service_name


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
