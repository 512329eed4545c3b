"""Events: what a client gets, in which order, and what it gets again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.web import ADMIN, OBSERVER, Connection, Server
from twisted_qmon.providers.clients import Clients
from twisted_qmon.testing import QMPConnection
from twisted_qmon.web.streams import HEARTBEAT


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A server."""
    return Server(tmp_path)


def _follow(server: Server, query: str = "", token: str = ADMIN, **headers: str) -> Connection:
    connection = server.connect(token)
    connection.request("GET", f"/api/events{query}", **headers)
    return connection


def _tick(server: Server, *numbers: int, name: str = "TICK") -> None:
    for number in numbers:
        server.monitor.emit(name, {"n": number})


def _records(text: str) -> list[dict[str, str]]:
    return [
        dict(line.split(": ", 1) for line in record.splitlines() if not line.startswith(":"))
        for record in text.split("\n\n")[:-1]
    ]


def _numbers(connection: Connection) -> list[int]:
    return [
        json.loads(record["data"])["data"]["n"] for record in _records(connection.stream()) if "event" not in record
    ]


def test_stream(server: Server) -> None:
    """The stream begins with where it stands; then each event comes when it happens, under its number."""
    _tick(server, 1)
    connection = _follow(server)
    monitor = server.monitor.events.history.id
    assert connection.transport.value().startswith(b"HTTP/1.1 200 OK")
    assert b"Content-Type: text/event-stream" in connection.transport.value()
    [first] = _records(connection.stream())
    hello = f'{{"monitor":"{monitor}","first":1,"last":1,"lost":0,"restarted":false}}'
    assert first == {"retry": "1000", "id": f"{monitor}/1", "event": "resumed", "data": hello}
    _tick(server, 2)
    [record] = _records(connection.stream())
    assert record["id"] == f"{monitor}/2"
    assert record["data"].endswith(',"event":"TICK","data":{"n":2}}')


def test_resume(server: Server) -> None:
    """A client that was away gets what it missed, then what comes: none twice, none missing."""
    _tick(server, 1, 2, 3)
    monitor = server.monitor.events.history.id
    by_header = _follow(server, last_event_id=f"{monitor}/1")
    by_query = _follow(server, f"?after={monitor}/2&names=")
    from_the_first = _follow(server, "?after=0")
    elsewhere = _follow(server, last_event_id="another-monitor/3")
    beyond = _follow(server, "?after=17")
    _tick(server, 4)
    assert '"restarted":true' in elsewhere.transport.value().decode()
    assert '"restarted":true' in beyond.transport.value().decode()
    streams = (by_header, by_query, from_the_first, elsewhere, beyond)
    assert [_numbers(each) for each in streams] == [[2, 3, 4], [3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]


@pytest.mark.parametrize("position", ["x", "1/", "/1", "a/b/1", "-1", "1" * 30, "x" * 100 + "/1"])
def test_bad_position(server: Server, position: str) -> None:
    """A position that is none is an error."""
    answer = server.ask("GET", "/api/events", last_event_id=position)
    assert answer.status == 400


def test_names(server: Server) -> None:
    """A client may want some events only; one that is not defined is an error."""
    connection = _follow(server, "?names=SHUTDOWN,SECRET_TICK")
    connection.stream()
    _tick(server, 1)
    _tick(server, 2, name="SECRET_TICK")
    assert _numbers(connection) == [2]
    answer = server.ask("GET", "/api/events?names=TICK,NIX")
    assert (answer.status, answer.desc) == (422, "Event 'NIX' is not defined")
    assert server.ask("HEAD", "/api/events").headers["content-type"] == "text/event-stream"


def test_levels(server: Server) -> None:
    """An event above the token's level is left out, live and from the history."""
    before = _follow(server, token=OBSERVER)
    before.stream()
    _tick(server, 1, name="SECRET_TICK")
    _tick(server, 2)
    assert _numbers(before) == [2]
    assert _numbers(_follow(server, "?after=0", token=OBSERVER)) == [2]
    assert _numbers(_follow(server, "?after=0")) == [1, 2]


def test_client_that_does_not_read(server: Server) -> None:
    """Nothing is queued for a client that does not read: it reads on from the history, and is told what has left that."""
    server.monitor.events.history.limit(3)
    connection, other = _follow(server), _follow(server)
    _tick(server, 1)
    assert _numbers(connection) == [1]
    connection.transport.producer.pauseProducing()
    _tick(server, 2, 3)
    assert connection.stream() == ""
    connection.transport.producer.resumeProducing()
    _tick(server, 4)
    assert _numbers(connection) == [2, 3, 4]
    connection.transport.producer.pauseProducing()
    connection.transport.producer.pauseProducing()
    _tick(server, 5, 6, 7, 8, 9)
    connection.transport.producer.resumeProducing()
    text = connection.stream()
    assert 'event: lost\ndata: {"lost":2}' in text
    assert [record["id"].split("/")[1] for record in _records(text)] == ["6", "7", "8", "9"]
    assert _numbers(other) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_pause_within_the_replay(server: Server) -> None:
    """A replay that fills the transport stops there, and goes on where it was."""
    _tick(server, *range(250))
    connection = server.connect()
    write = connection.transport.write

    def full(data: bytes) -> None:
        write(data)
        if b'"n":123}' in data or b'"n":200}' in data:
            connection.transport.producer.pauseProducing()

    connection.transport.write = full
    connection.request("GET", "/api/events?after=0")
    _tick(server, 250)
    assert _numbers(connection) == list(range(124))
    connection.transport.producer.resumeProducing()
    assert _numbers(connection) == list(range(124, 201))
    connection.transport.producer.resumeProducing()
    connection.transport.producer.resumeProducing()
    assert _numbers(connection) == list(range(201, 251))


def test_heartbeat(server: Server) -> None:
    """A line that says nothing keeps the way open."""
    connection = _follow(server)
    connection.stream()
    server.reactor.advance(HEARTBEAT)
    assert connection.stream() == ":\n\n"


def test_client_leaves(server: Server) -> None:
    """The last client that leaves takes the subscription and its timers along."""
    one, other = _follow(server), _follow(server)
    streams = server.factory.streams
    assert len(streams) == 2
    one.close()
    assert len(streams) == 1
    other.transport.producer.stopProducing()
    other.close()
    assert len(streams) == 0
    _tick(server, 1)
    server.reactor.advance(1000)
    assert server.reactor.getDelayedCalls() == []


def test_client_leaves_while_it_does_not_read(server: Server) -> None:
    """A client that has not read, and leaves, is forgotten."""
    connection = _follow(server)
    connection.transport.producer.pauseProducing()
    producer = connection.transport.producer
    connection.close()
    producer.resumeProducing()
    _tick(server, 1)
    assert server.factory.streams._streams == {}


def test_old_http(server: Server) -> None:
    """A client of HTTP/1.0 gets no chunks."""
    connection = server.connect()
    connection.send(f"GET /api/events HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n\r\n".encode())
    connection.transport.clear()
    _tick(server, 1)
    assert connection.transport.value().startswith(b"id: ")


def test_one_encoding(server: Server) -> None:
    """An event that was encoded for QMP's clients is not encoded again, and has the same bytes."""
    qmp = QMPConnection(server.monitor)
    connection = _follow(server)
    connection.stream()
    _tick(server, 1)
    [record] = _records(connection.stream())
    assert record["data"] == server.monitor.events.history.after(0, 1)[0].encoded.decode().strip()  # type: ignore[union-attr]
    qmp.lose()


def test_end(server: Server) -> None:
    """A client that is disconnected by another one gets the end of its stream; its connection can be used on."""
    connection = _follow(server)
    server.monitor.register(Clients())
    name = server.ask("GET", "/api/session").json["session"]
    assert server.ask("POST", "/api/commands/client-disconnect", {"session": name}).status == 200
    # It has disconnected itself, and had the reply first.
    server.reactor.advance(0)
    assert connection.transport.value().endswith(b"0\r\n\r\n")
    connection.transport.clear()
    assert connection.ask("GET", "/api/session").json["session"] != name


def test_end_while_it_does_not_read(server: Server) -> None:
    """A stream that has not been read ends as well, once."""
    connection = _follow(server)
    stream = connection.transport.producer._requestProducer
    connection.transport.producer.pauseProducing()
    stream.end()
    stream.end()
    assert connection.transport.value().endswith(b"0\r\n\r\n")
