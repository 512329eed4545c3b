"""Where a server is, as it is typed."""

from __future__ import annotations

import pytest

from twisted_qmon.shell.address import Address, default_address, parse_address
from twisted_qmon.shell.errors import UsageError

EXISTING = {"qmp.sock", "exec", "tcp:odd", "host:1"}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("./qmp.sock", Address("./qmp.sock", path="./qmp.sock")),
        ("/run/vm.qmp", Address("/run/vm.qmp", path="/run/vm.qmp")),
        ("qmp.sock", Address("qmp.sock", path="qmp.sock")),
        ("exec", Address("exec", path="exec")),
        ("tcp:odd", Address("tcp:odd", path="tcp:odd")),
        ("host:1", Address("host:1", path="host:1")),
        ("/run/a:4444", Address("/run/a:4444", path="/run/a:4444")),
        ("localhost:4444", Address("localhost:4444", host="localhost", port=4444)),
        ("10.0.0.1:65535", Address("10.0.0.1:65535", host="10.0.0.1", port=65535)),
        ("[::1]:4444", Address("[::1]:4444", host="::1", port=4444)),
        ("unix:/run/vm.qmp", Address("unix:/run/vm.qmp", path="/run/vm.qmp")),
        ("unix:vm", Address("unix:vm", path="vm")),
        ("unix:/run/vm:timeout=3", Address("unix:/run/vm:timeout=3", endpoint="unix:/run/vm:timeout=3")),
        (r"unix:/run/a\:b", Address(r"unix:/run/a\:b", endpoint=r"unix:/run/a\:b")),
        ("tcp:host:4444", Address("tcp:host:4444", host="host", port=4444)),
        ("tcp:host=h:port=1", Address("tcp:host=h:port=1", endpoint="tcp:host=h:port=1")),
        ("tls:host:4444", Address("tls:host:4444", endpoint="tls:host:4444")),
        ("ssl:host=h:port=1", Address("ssl:host=h:port=1", endpoint="ssl:host=h:port=1")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """A path, HOST:PORT and an endpoint are told apart, whatever looks alike."""
    assert parse_address(text, EXISTING.__contains__) == address


@pytest.mark.parametrize(
    "text", ["", "top", "localhost", ":4444", "host:", "host:0", "host:65536", "host:x", "::1:4444", "host:²"]
)
def test_what_is_no_address(text: str) -> None:
    """What is none of the three is a usage error that names it."""
    with pytest.raises(UsageError, match="is not an address") as caught:
        parse_address(text, EXISTING.__contains__)
    assert repr(text) in str(caught.value)
    assert caught.value.status == 2


def test_an_endpoint_of_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint type that a plugin brings is known, too."""
    monkeypatch.setattr("twisted_qmon.shell.address._more_endpoints", lambda: {"onion"})
    assert parse_address("onion:a.onion:80", EXISTING.__contains__).endpoint == "onion:a.onion:80"


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("/run/a:b=c\\d", "unix:/run/a\\:b\\=c\\\\d"),
        ("localhost:4444", "tcp:localhost:4444"),
        ("[::1]:4444", "tcp:\\:\\:1:4444"),
        ("tls:host:4444", "tls:host:4444"),
    ],
)
def test_description(text: str, description: str) -> None:
    """Each address is an endpoint to Twisted as well, with its special characters escaped."""
    assert parse_address(text, EXISTING.__contains__).description == description


def test_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address it is that of the environment, and without one there ./qmp.sock."""
    monkeypatch.delenv("QMON_ADDRESS", raising=False)
    assert default_address() == "./qmp.sock"
    monkeypatch.setenv("QMON_ADDRESS", "")
    assert default_address() == "./qmp.sock"
    monkeypatch.setenv("QMON_ADDRESS", "host:4444")
    assert default_address() == "host:4444"
