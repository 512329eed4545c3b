"""
How a connection to a router is made, over transports in memory.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.python.failure import Failure

from tests.support.wamp_router import welcome
from twisted_qmon.errors import CommandError, ConnectionClosed
from twisted_qmon.fleet import _connection
from twisted_qmon.fleet._autobahn import CBORSerializer
from twisted_qmon.fleet._connection import JOIN_TIMEOUT, connect
from twisted_qmon.fleet.errors import JoinRefused
from twisted_qmon.fleet.interfaces import IFleet
from twisted_qmon.fleet.router import Router

RAW = "rs://127.0.0.1:9"
WEB = "ws://127.0.0.1:9/ws"


class Transport(StringTransportWithDisconnection):
    """Says when it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        """End it at once."""
        self.aborted = True
        if self.connected:
            self.loseConnection()

    def unregisterProducer(self) -> None:
        """As with real ones it does no harm where there is none."""
        self.producer = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Autobahn asks for it."""


class Endpoint:
    """An endpoint that is connected at once."""

    def __init__(self) -> None:
        self.transport = Transport()

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect."""
        protocol = factory.buildProtocol(None)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        return succeed(protocol)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    """The endpoint of each router."""
    made = Endpoint()
    monkeypatch.setattr(Router, "endpoint", lambda self, reactor: made)
    return made


def outcome(deferred: Deferred[IFleet]) -> list[Any]:
    found: list[Any] = []
    deferred.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found


def frames(data: bytes) -> list[Any]:
    """:return: the messages behind the handshake of RawSocket"""
    messages = []
    data = data[4:]
    while data:
        (length,) = struct.unpack("!L", data[:4])
        messages += CBORSerializer().unserialize(data[4 : 4 + length], True)
        data = data[4 + length :]
    return messages


def frame(msg: Any) -> bytes:
    data, _ = CBORSerializer().serialize(msg)
    return struct.pack("!L", len(data)) + data


def test_joining_over_rawsocket(endpoint: Endpoint) -> None:
    """The handshake says how long messages may be; then the router is told who one is."""
    clock = Clock()
    found = outcome(connect(clock, Router.parse(RAW), "m1", "secret"))
    transport = endpoint.transport
    assert transport.value() == b"\x7f\xf3\x00\x00"
    transport.protocol.dataReceived(b"\x7f\xf3\x00\x00")
    (hello,) = frames(transport.value())
    assert (hello.realm, hello.authid, hello.authmethods) == ("qmon", "m1", ["ticket"])
    transport.protocol.dataReceived(frame(welcome(7, "m1")))
    assert IFleet.providedBy(found[0])
    assert clock.getDelayedCalls() == []
    lost = found[0].when_lost()
    transport.loseConnection()
    assert isinstance(lost.result, ConnectionClosed)


def test_no_ticket_over_a_network() -> None:
    """A ticket is not sent where it could be read, whoever asks."""
    found = outcome(connect(Clock(), Router.parse("ws://router"), "m1", "secret"))
    assert isinstance(found[0], ValueError)


def test_what_is_no_router(endpoint: Endpoint) -> None:
    """A server that speaks something else is left, and that is said."""
    found = outcome(connect(Clock(), Router.parse(RAW)))
    endpoint.transport.protocol.dataReceived(b"HTTP/1.1 400 Bad Request\r\n")
    assert isinstance(found[0], ConnectionClosed)
    assert endpoint.transport.aborted


def test_a_web_server_that_is_no_router(endpoint: Endpoint) -> None:
    """A web server that refuses WebSocket says why."""
    clock = Clock()
    found = outcome(connect(clock, Router.parse(WEB)))
    assert endpoint.transport.value().startswith(b"GET /ws HTTP/1.1\r\n")
    assert b"Sec-WebSocket-Protocol: wamp.2.cbor\r\n" in endpoint.transport.value()
    endpoint.transport.protocol.dataReceived(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    if endpoint.transport.connected:
        endpoint.transport.loseConnection()
    assert isinstance(found[0], ConnectionClosed)
    assert "404" in found[0].desc


@pytest.mark.parametrize("url", [RAW, WEB])
def test_a_router_that_does_not_answer(endpoint: Endpoint, url: str) -> None:
    """A router that does not answer counts as gone after a while."""
    clock = Clock()
    found = outcome(connect(clock, Router.parse(url)))
    clock.advance(JOIN_TIMEOUT)
    assert isinstance(found[0], CommandError)
    assert found[0].desc == "The router does not answer within 10 s"
    assert endpoint.transport.aborted


@pytest.mark.parametrize("url", [RAW, WEB])
def test_why_tls_fails(endpoint: Endpoint, url: str) -> None:
    """If the router's certificate is not trusted, that is said."""
    from OpenSSL.SSL import Error

    found = outcome(connect(Clock(), Router.parse(url)))
    endpoint.transport.connected = False
    reason = Failure(Error([("SSL routines", "", "certificate verify failed")]))
    endpoint.transport.protocol.connectionLost(reason)
    assert isinstance(found[0], ConnectionClosed)
    assert found[0].desc == "The connection to the router was lost: certificate verify failed"


def test_tls_is_not_suspended(endpoint: Endpoint) -> None:
    """
    What is asked of the transport comes after the router has let one in: a TLS handshake that is not complete pauses who
    writes, and must go on being read.
    """
    found = outcome(connect(Clock(), Router.parse(RAW)))
    producers: list[object] = [endpoint.transport.producer]
    for data in (b"\x7f\xf3\x00\x00", frame(welcome(7, "m1"))):
        endpoint.transport.protocol.dataReceived(data)
        producers.append(endpoint.transport.producer)
    assert producers[:2] == [None, None]
    assert producers[2] is not None
    assert len(found) == 1


def test_giving_up(endpoint: Endpoint) -> None:
    """An attempt that is cancelled ends its connection."""
    joining = connect(Clock(), Router.parse(RAW))
    found = outcome(joining)
    joining.cancel()
    assert endpoint.transport.aborted
    assert len(found) == 1


@pytest.mark.parametrize("ticket", [None, "secret"])
def test_other_ways_to_prove_it(endpoint: Endpoint, ticket: str | None) -> None:
    """A router that asks for something else than a ticket is told that there is none."""
    from twisted_qmon.fleet._autobahn import message

    found = outcome(connect(Clock(), Router.parse(RAW), "m1", ticket))
    transport = endpoint.transport
    transport.protocol.dataReceived(b"\x7f\xf3\x00\x00")
    transport.protocol.dataReceived(frame(message.Challenge("ticket" if ticket is None else "wampcra")))
    assert isinstance(frames(transport.value())[-1], message.Abort)
    assert isinstance(found[0], JoinRefused)


def test_a_connection_is_kept_alive(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel finds out when the other host is gone, and sends at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as handle:
        below = type("TCP", (), {"getHandle": lambda self: handle})()
        layer = type("TLS", (), {"wrappedProtocol": None, "transport": below})()
        _connection._tune(layer)
        assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    _connection._tune(object())
