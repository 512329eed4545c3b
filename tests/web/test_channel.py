"""The limits of one connection: what it may hold, and how long it may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.web import ADMIN, OBSERVER, Connection, Server
from twisted_qmon._transport.connection import LINGER
from twisted_qmon.web.channel import IDLE_TIMEOUT, RECEIVE_TIMEOUT, STALL

HEAD = f"POST /api/commands/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n"
JSON = "Content-Type: application/json\r\n"
CHUNKED = f"{HEAD}{JSON}Transfer-Encoding: chunked\r\n\r\n".encode()


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server that takes bodies of 1000 bytes."""
    return Server(tmp_path, max_body=1000)


def _raw(server: Server, data: bytes) -> Connection:
    connection = server.connect()
    connection.send(data)
    return connection


def test_body_too_large(server: Server) -> None:
    """A body that is too large is refused before a byte of it is read, and what still comes is dropped."""
    connection = _raw(server, f"{HEAD}{JSON}Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n".encode())
    [answer] = connection.answers()
    assert (answer.status, answer.desc) == (413, "The body has more than 1000 bytes")
    assert answer.headers["connection"] == "close"
    connection.send(b"x" * 1001 + b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.answers() == []
    assert connection.channel.requests[0].content.getvalue() == b""
    assert connection.transport.disconnecting
    server.reactor.advance(LINGER)
    assert connection.transport.disconnected or connection.transport.aborting
    connection.close()


def test_body_of_the_largest_size(server: Server) -> None:
    """A body of just the limit is taken, in one piece or in chunks; the client that asks first is told to go on."""
    body = b'{"text":""}'.ljust(1000)
    connection = _raw(server, f"{HEAD}{JSON}Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n".encode())
    assert connection.transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.transport.clear()
    connection.send(body)
    assert [each.status for each in connection.answers()] == [200]
    connection = _raw(server, CHUNKED + b"3e8\r\n" + body + b"\r\n0\r\n\r\n")
    assert [each.status for each in connection.answers()] == [200]


def test_chunks_too_large(server: Server) -> None:
    """A body in chunks is counted as it comes."""
    connection = _raw(server, CHUNKED + b"3e8\r\n" + b" " * 1000 + b"\r\n")
    assert connection.answers() == []
    connection.send(b"1\r\nx\r\n")
    assert [each.status for each in connection.answers()] == [413]
    connection.send(b"5\r\nabcde\r\n0\r\n\r\n")
    assert connection.answers() == []
    one_go = _raw(server, CHUNKED + b"3e9\r\n" + b" " * 1001 + b"\r\n1\r\nx\r\n0\r\n\r\n")
    assert [each.status for each in one_go.answers()] == [413]
    server.reactor.advance(RECEIVE_TIMEOUT)
    assert one_go.answers() == []


@pytest.mark.parametrize(
    "rubbish", [b"zz\r\n", b"-1\r\n", b"1\r\nabc\r\n", b"1;" + b"x" * 20_000, b"ffffffffffffffffff\r\n" + b"x" * 2000]
)
def test_chunked_rubbish(server: Server, rubbish: bytes) -> None:
    """Chunks that are none are an error, and the end of the connection."""
    connection = _raw(server, CHUNKED + rubbish)
    assert connection.transport.value().startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
    assert connection.transport.disconnecting
    connection.transport.clear()
    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200" not in connection.transport.value()
    connection.close()


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000,
        b"GET /" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        f"{HEAD}{JSON}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
        f"{HEAD}{JSON}Content-Length: x\r\n\r\n".encode(),
        f"{HEAD}{JSON}Transfer-Encoding: gzip, chunked\r\n\r\n".encode(),
    ],
)
def test_not_http(server: Server, data: bytes) -> None:
    """What is no HTTP, or has no end, ends the connection."""
    connection = _raw(server, data)
    assert connection.transport.disconnecting
    assert b" 200 " not in connection.transport.value()


@pytest.mark.parametrize(("token", "status"), [(None, 401), (OBSERVER, 415)])
def test_refused_before_its_body(server: Server, token: str | None, status: int) -> None:
    """A request that will not be served is refused before its body has come."""
    connection = server.connect(token)
    kind = "text/plain" if status == 415 else "application/json"
    connection.request("POST", "/api/commands/echo", b"", content_type=kind, content_length="900")
    assert [each.status for each in connection.answers()] == [status]
    assert connection.transport.disconnecting


def test_slow_request(server: Server) -> None:
    """A request that comes a byte at a time has no more time than any other."""
    connection = _raw(server, f"{HEAD}{JSON}Content-Length: 900\r\n\r\n".encode())
    for _ in range(int(RECEIVE_TIMEOUT) // 10 - 1):
        server.reactor.advance(10)
        connection.send(b" ")
    assert connection.answers() == []
    server.reactor.advance(10)
    [answer] = connection.answers()
    assert (answer.status, answer.desc) == (408, "The request did not arrive within 60 s")
    assert server.factory.counters.idle == 1
    assert connection.transport.disconnecting


def test_silent_connection(server: Server) -> None:
    """A connection on which nothing is asked is closed; one whose command takes long is not."""
    silent, waiting, kept = server.connect(), server.connect(), server.connect()
    waiting.request("POST", "/api/commands/slow")
    kept.ask("GET", "/api/session")
    server.reactor.advance(IDLE_TIMEOUT)
    assert [each.transport.disconnecting for each in (silent, waiting, kept)] == [True, False, True]
    server.slow.waiting[0].callback(None)
    assert [each.status for each in waiting.answers()] == [200]
    assert not waiting.transport.disconnecting


def test_client_that_does_not_read(server: Server) -> None:
    """While a client does not read, its next requests wait; they are served in order when it does."""
    connection = server.connect()
    connection.transport.producer.pauseProducing()
    connection.request("POST", "/api/commands/echo", {"text": "one"})
    connection.request("POST", "/api/commands/echo", {"text": "two"})
    assert connection.answers() == []
    server.reactor.advance(STALL - 1)
    connection.transport.producer.resumeProducing()
    assert [each.json["return"] for each in connection.answers()] == ["one", "two"]
    server.reactor.advance(2)
    assert not connection.transport.disconnecting


def test_client_that_never_reads(server: Server) -> None:
    """A client that reads nothing for long is disconnected, its request with it."""
    connection = server.connect()
    connection.transport.producer.pauseProducing()
    connection.transport.producer.pauseProducing()
    connection.request("POST", "/api/commands/slow")
    server.reactor.advance(STALL)
    assert connection.transport.disconnecting
    assert server.factory.counters.slow == 1
    connection.close()
    assert server.slow.waiting == []


def test_client_that_reads_slowly(server: Server) -> None:
    """A client that reads a little now and then is not disconnected."""
    connection = server.connect()
    connection.request("POST", "/api/commands/slow")
    transport = connection.transport
    transport.offset, transport._tempDataLen, transport.dataBuffer = 0, 0, b"x" * 100
    transport.producer.pauseProducing()
    transport.dataBuffer = b"x" * 99
    server.reactor.advance(STALL)
    assert not transport.disconnecting
    server.reactor.advance(STALL)
    assert transport.disconnecting
    connection.close()
    server.slow.waiting[0].callback(None)


def test_half_closed(server: Server) -> None:
    """Where the transport can close one way, an answer before the end of a request ends only the way out."""
    connection = server.connect()
    closed: list[bool] = []
    connection.transport.loseWriteConnection = lambda: closed.append(connection.transport.producer is None)
    connection.send(f"{HEAD}{JSON}Content-Length: 1001\r\n\r\n".encode())
    assert closed == [True]
    assert not connection.transport.disconnecting
    server.reactor.advance(LINGER)
    assert connection.transport.disconnecting
