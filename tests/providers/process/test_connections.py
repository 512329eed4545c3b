"""Which connections there are, since when, and for how long nothing has come: L{twisted_qmon.providers.process.connections}."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorFDSet, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.logger import LogPublisher
from zope.interface import implementer

from twisted_qmon import GenericError, Monitor
from twisted_qmon.errors import CommandError
from twisted_qmon.hmp.printers import present
from twisted_qmon.providers.process import Process
from twisted_qmon.providers.process import connections as module
from twisted_qmon.providers.process.connections import MAX_MARKS, RESCAN, Accepted, Connections
from twisted_qmon.testing import QMPConnection


@implementer(IReactorFDSet)
class _Reactor:
    """Some readers and writers."""

    def __init__(self, readers: list[Any] | None = None) -> None:
        self.readers = readers or []

    def getReaders(self) -> list[Any]:
        return self.readers

    def getWriters(self) -> list[Any]:
        return []

    def addReader(self, reader: Any) -> None: ...
    def addWriter(self, writer: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...
    def removeWriter(self, writer: Any) -> None: ...
    def removeAll(self) -> list[Any]:
        return []


class _Paused(FileDescriptor):
    """A connection of a reactor that neither reads nor writes it at the moment."""

    connected = 1

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        super().__init__(reactor)
        self.socket = sock
        self.closed = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    def getPeer(self) -> Any:
        return IPv4Address("TCP", "10.0.0.9", 99)

    def getHost(self) -> Any:
        return IPv4Address("TCP", "10.0.0.1", 80)

    def loseConnection(self) -> None:
        self.closed += 1


@implementer(ITransport)
class _Transport:
    """One that is read, with whatever attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def getPeer(self) -> Any:
        return None

    def getHost(self) -> Any:
        return None

    def write(self, data: bytes) -> None: ...
    def writeSequence(self, data: Any) -> None: ...
    def loseConnection(self) -> None: ...


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two sockets that are connected."""
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def _port() -> Any:
    return Port(0, Factory(), reactor=Clock())


# -- those that the reactor does not know


def test_a_paused_connection_with_nothing_to_write_is_found(pair: tuple[socket.socket, socket.socket]) -> None:
    """Its socket is one that no known transport has, so it is looked for; it is told as paused."""
    reactor = _Reactor()
    paused = _Paused(reactor, pair[0])
    _elsewhere = _Paused(_Reactor(), pair[1])
    connections = Connections(reactor, Accepted(Clock()))
    assert connections.all() == [paused]
    (info,) = connections.infos(None)
    assert (info.fd, info.paused, info.peer) == (pair[0].fileno(), True, "tcp:10.0.0.9:99")
    reactor.readers.append(paused)
    (info,) = connections.infos(None)
    assert not info.paused


def test_sockets_that_are_no_connections_are_looked_at_once(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All objects of the process are looked through when there is a socket that is not known, and not again for the same one."""
    looks: list[type] = []
    alive = module._alive

    def look(cls: type[FileDescriptor]) -> list[FileDescriptor]:
        looks.append(cls)
        return alive(cls)

    monkeypatch.setattr(module, "_alive", look)
    reactor = _Reactor()
    connections = Connections(reactor, Accepted(Clock()))
    assert connections.all() == connections.all() == []
    assert len(looks) == 1
    more = socket.socketpair()
    with more[0], more[1]:
        assert connections.all() == []
        assert len(looks) == 2
    assert connections.all() == []
    assert len(looks) == 2


def test_a_system_that_does_not_tell_its_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without such a folder the connections are those that the reactor knows."""

    def missing(_path: object) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", missing)
    known = _Transport()
    assert Connections(_Reactor([known]), Accepted(Clock())).all() == [known]


# -- age


def test_the_age_follows_from_the_number_at_the_port() -> None:
    """A connection is as old as the first look that found its number given out; without a look yet, it is new."""
    clock, port = Clock(), _port()
    reactor, accepted = _Reactor([port]), Accepted(clock)
    port.sessionno = 3
    accepted.look(reactor)
    for number, seconds in ((5, 10), (5, 10), (9, 10)):
        port.sessionno = number
        clock.advance(seconds)
        accepted.look(reactor)
    clock.advance(1)
    ages = [accepted.age(_Transport(server=port, sessionno=number)) for number in (0, 2, 3, 4, 5, 8, 9)]
    assert ages == [31.0, 31.0, 21.0, 21.0, 1.0, 1.0, 0.0]


def test_what_no_port_accepted_has_no_age() -> None:
    """An outgoing connection, and one whose port was never seen."""
    accepted = Accepted(Clock())
    assert accepted.age(_Transport()) is None
    assert accepted.age(_Transport(server=_port(), sessionno=1)) is None


def test_a_new_port_is_found_within_some_looks() -> None:
    """Ports are looked for at each tenth look; what goes away takes its times along."""
    clock = Clock()
    reactor, accepted = _Reactor(), Accepted(clock)
    accepted.look(reactor)
    port = _port()
    reactor.readers.append(port)
    for _ in range(RESCAN):
        assert accepted.age(_Transport(server=port, sessionno=0)) is None
        accepted.look(reactor)
    assert accepted.age(_Transport(server=port, sessionno=0)) == 0.0
    reactor.readers.clear()
    del port
    assert len(accepted._marks) == 0


def test_the_times_of_a_port_are_bounded() -> None:
    """However long it accepts, so many are kept; an old connection's age stays about right."""
    clock, port = Clock(), _port()
    reactor, accepted = _Reactor([port]), Accepted(clock)
    for number in range(20_000):
        port.sessionno = number
        accepted.scan(reactor.readers)
        clock.advance(1)
    ((times, numbers),) = accepted._marks.values()
    assert len(times) == len(numbers) <= MAX_MARKS
    for number in (0, 100, 5000, 15_000, 19_000, 19_998):
        age = accepted.age(_Transport(server=port, sessionno=number))
        assert age is not None
        true = 20_000 - number - 1
        assert true * 0.97 - 1 <= age <= true


# -- idle time, order


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the system has no TCP_INFO")
def test_idle_is_what_the_kernel_says() -> None:
    """Of a TCP connection the time since data came or went."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                (info,) = Connections(_Reactor([_Transport(socket=server)]), Accepted(Clock())).infos(None)
    assert client is not None
    assert info.idle is not None
    assert 0 <= info.idle < 60


def test_a_tcp_socket_that_is_closed_has_no_counters() -> None:
    """What the kernel refuses to say is absent."""
    sock = socket.socket()
    sock.close()
    assert module._counters(_Transport(socket=sock)) == (None, None, None)


@pytest.mark.parametrize("sort", ["peer", "host", "protocol", "received", "sent", "queued", "fd", "age", "idle"])
def test_each_order_works(sort: Any) -> None:
    """Also where nothing is known of a connection."""
    port = _port()
    known = _Transport(server=port, sessionno=1, fileno=lambda: 3, dataBuffer=b"x", offset=0, _tempDataLen=0)
    unknown = _Transport()
    found = Connections(_Reactor([port, unknown, known]), Accepted(Clock())).infos(None, sort)
    assert len(found) == 2
    if sort in ("fd", "queued"):
        assert [each.fd for each in found] == ([3, None] if sort == "queued" else [None, 3])


# -- closing


class _Provided:
    """A monitor with the provider, and a connection of its reactor."""

    def __init__(self, *transports: Any) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.process = Process(self.clock, publisher=LogPublisher())
        self.process._reactor = _Reactor(list(transports))
        self.process._connections = Connections(self.process._reactor, Accepted(self.clock))
        self.monitor.register(self.process)

    def execute(self, name: str, **arguments: Any) -> Any:
        """The result, or the text of the error."""
        found: list[Any] = []
        self.monitor.execute(name, arguments).addCallbacks(found.append, lambda failure: found.append(failure.value))
        return found[0].desc if isinstance(found[0], CommandError) else found[0]


class _Closable(_Transport):
    def __init__(self, **attributes: Any) -> None:
        self.calls: list[str] = []
        super().__init__(**attributes)

    def fileno(self) -> int:
        return 7

    def loseConnection(self) -> None:
        self.calls.append("lose")

    def abortConnection(self) -> None:
        self.calls.append("abort")


def test_a_connection_is_closed_as_its_protocol_would() -> None:
    """By its descriptor, gently or at once; below TLS it is the TLS layer that is asked."""
    transport = _Closable()
    provided = _Provided(transport)
    assert provided.execute("connection-close", fd=7) == {}
    assert provided.execute("connection-close", fd=7, abort=True, peer="") == {}
    assert transport.calls == ["lose", "abort"]

    layer = _Closable()
    inner = Protocol()
    inner.transport = layer
    wrapper: Any = Protocol()
    wrapper.wrappedProtocol = inner
    transport = _Closable(protocol=wrapper)
    assert _Provided(transport).execute("connection-close", fd=7) == {}
    assert (layer.calls, transport.calls) == (["lose"], [])


def test_what_can_not_be_closed_is_refused() -> None:
    """Another descriptor, another peer by now, a transport that has no abort."""
    provided = _Provided(_Closable(), _Port := _port())
    assert _Port is not None
    assert provided.execute("connection-close", fd=8) == "There is no connection with file descriptor 8"
    assert provided.execute("connection-close", fd=7, peer="tcp:1.2.3.4:5") == "The peer of file descriptor 7 is ''"
    provided = _Provided(_Transport(fileno=lambda: 7))
    words = "The connection with file descriptor 7 can only be closed with abort=off"
    assert provided.execute("connection-close", fd=7, abort=True) == words
    with pytest.raises(GenericError):
        provided.process._connections.close(9, None, False)


# -- what a person sees


def test_a_table_that_fits_a_terminal() -> None:
    """Numbers are short, names without what they begin with; nothing is wider than 80 columns."""
    info: dict[str, Any] = {
        "fd": 1234,
        "peer": "tcp:192.168.100.100:65535",
        "host": "tcp:192.168.100.101:8080",
        "protocol": "twisted.web.http._GenericHTTPChannelProtocol",
        "class": "twisted.internet.tcp.Server",
        "age": 86_400 * 2.5,
        "idle": 0.25,
        "received": 123_456,
        "sent": 12_345_678_901,
        "queued": 0,
        "paused": False,
    }
    unix: dict[str, Any] = {
        "fd": 5,
        "peer": "unix",
        "host": "unix:/run/a/b/qmp.sock",
        "protocol": "x.QMPProtocol",
        "paused": True,
    }
    other: dict[str, Any] = {"peer": "", "host": "", "protocol": "", "class": ""}
    command = _Provided().monitor.command("query-connections")
    assert command is not None
    lines = present(command.info, [info, unix, other], {}).splitlines()
    assert lines == [
        "  fd  peer                   host        age   idle    in    out  queue  protocol",
        "1234  192.168.100.100:65535  :8080     2d12h  250ms  123k  12.3G      0  ~HTTPChannelProtocol",
        "   5  unix                   qmp.sock      -      -     -      -      -  QMPProtocol (paused)",
        "   -  -                      -             -      -     -      -      -",
    ]
    short = {**info, "peer": "tcp:10.0.0.1:65535", "protocol": "web.HTTPChannel"}
    assert max(map(len, present(command.info, [short], {}).splitlines())) <= 80


def test_of_its_own_clients_the_monitor_knows_the_idle_time() -> None:
    """Also where the kernel does not say it, as for a unix socket."""
    provided = _Provided()
    client = QMPConnection(provided.monitor)
    provided.clock.advance(4)
    (info,) = Connections(_Reactor([_Transport(protocol=client.protocol)]), Accepted(provided.clock)).infos(None)
    assert (info.idle, info.protocol) == (4.0, "twisted_qmon.qmp.protocol.QMPProtocol")
