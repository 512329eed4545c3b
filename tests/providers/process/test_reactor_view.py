"""What a reactor has to do: L{twisted_qmon.providers.process.reactor_view}, and L{twisted_qmon.providers.process.facts}."""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IListeningPort, IReactorFDSet, ITransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import Clock, LoopingCall
from zope.interface import implementer

from twisted_qmon import Monitor
from twisted_qmon.hmp.printers import present
from twisted_qmon.providers.process import Process
from twisted_qmon.providers.process import facts as _facts
from twisted_qmon.providers.process import reactor_view as view
from twisted_qmon.providers.process.connections import Accepted, ConnectionInfo, Connections


def _connections(reactor: Any) -> list[ConnectionInfo]:
    return Connections(reactor, Accepted(Clock())).infos(None)


@implementer(IReactorFDSet)
class _Reactor:
    """Some readers and writers."""

    def __init__(self, readers: list[Any], writers: list[Any] | None = None) -> None:
        self.readers, self.writers = readers, writers or []

    def getReaders(self) -> list[Any]:
        return self.readers

    def getWriters(self) -> list[Any]:
        return self.writers

    def addReader(self, reader: Any) -> None: ...
    def addWriter(self, writer: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...
    def removeWriter(self, writer: Any) -> None: ...
    def removeAll(self) -> list[Any]:
        return []


@implementer(IListeningPort)
class _Port:
    def __init__(self, host: Any, factory: Any = None, protocol: Any = None) -> None:
        self.host, self.factory, self.protocol = host, factory, protocol

    def startListening(self) -> None: ...
    def stopListening(self) -> None: ...

    def getHost(self) -> Any:
        return self.host

    def fileno(self) -> int:
        return 9


@implementer(ITransport)
class _Transport:
    def __init__(self, protocol: Any, peer: Any, **attributes: Any) -> None:
        self.protocol, self.peer = protocol, peer
        vars(self).update(attributes)

    def getPeer(self) -> Any:
        return self.peer

    def getHost(self) -> Any:
        raise OSError("gone")

    def write(self, data: bytes) -> None: ...
    def writeSequence(self, data: Any) -> None: ...
    def loseConnection(self) -> None: ...


class _Breaks:
    """An application's object that can't even say its name."""

    def logPrefix(self) -> str:
        raise RuntimeError("no")

    def fileno(self) -> int:
        return -1


def _function() -> None: ...


class _Poller:
    def poll(self) -> None: ...

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_function, "tests.providers.process.test_reactor_view._function"),
        (partial(_function), "tests.providers.process.test_reactor_view._function"),
        (_Poller().poll, "tests.providers.process.test_reactor_view._Poller.poll"),
        (_Poller(), "a tests.providers.process.test_reactor_view._Poller"),
        (print, "builtins.print"),
        (None, "a builtins.NoneType"),
    ],
)
def test_what_is_called_has_the_name_a_programmer_knows(function: Any, expected: str) -> None:
    """Functions, methods with the class of their object, and what partial is around."""
    assert view.what(function) == expected


def test_delayed_calls_are_sorted_and_counted_from_now() -> None:
    """Soonest first, with the seconds left; a loop is told as what it calls."""
    clock = Clock()
    clock.advance(100)
    clock.callLater(9, _function)
    loop = LoopingCall(_Poller().poll)
    loop.clock = clock
    loop.start(2.5, now=False)
    calls = view.delayed_calls(clock)
    assert [(call.when, call.what) for call in calls] == [
        (2.5, "LoopingCall of tests.providers.process.test_reactor_view._Poller.poll, every 2.5 s"),
        (9.0, "tests.providers.process.test_reactor_view._function"),
    ]


def test_descriptors_tell_class_name_and_number() -> None:
    """What does not know its name or number is told without."""
    reader, broken = SimpleNamespace(logPrefix=lambda: "x" * 1000, fileno=lambda: 3), _Breaks()
    readers, writers = view.descriptors(_Reactor([reader], [broken]))
    info = view.describe_descriptor(readers[0])
    assert (info.class_, info.name, info.fd) == ("types.SimpleNamespace", "x" * view.MAX_TEXT, 3)
    info = view.describe_descriptor(writers[0])
    assert (info.name, info.fd) == ("", None)


def test_names_are_what_json_can_say() -> None:
    """A client's unix socket may have any bytes for its name: it does not spoil the list."""
    odd = SimpleNamespace(logPrefix=lambda: "QMP,0,/tmp/\udcff", fileno=lambda: 3)
    assert view.describe_descriptor(odd).name == "QMP,0,/tmp/?"


def test_a_reactor_that_can_not_tell_has_nothing() -> None:
    """No IReactorFDSet: no readers, ports and connections, and no error."""
    assert view.descriptors(Clock()) == ([], [])
    assert view.ports(Clock()) == []
    assert _connections(Clock()) == []


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (IPv4Address("TCP", "127.0.0.1", 80), "tcp:127.0.0.1:80"),
        (IPv4Address("UDP", "0.0.0.0", 53), "udp:0.0.0.0:53"),
        (IPv6Address("TCP", "::1", 80), "tcp:[::1]:80"),
        (UNIXAddress("/run/qmp.sock"), "unix:/run/qmp.sock"),
        (UNIXAddress(b"/run/\xff"), "unix:/run/\N{REPLACEMENT CHARACTER}"),
        (UNIXAddress("\0name"), "unix:@name"),
        (UNIXAddress(None), "unix"),
        (None, ""),
        ("somewhere", "somewhere"),
    ],
)
def test_addresses_are_written_like_endpoints(where: Any, expected: str) -> None:
    """The kind, the host, the port; or the path."""
    assert view.address(where) == expected


def test_ports_tell_who_serves_them() -> None:
    """Ports by address, with the factory inside its wrappers, or the datagram protocol."""

    class Outer(Factory):
        wrappedFactory = Factory()

    reactor = _Reactor(
        [
            _Port(IPv4Address("UDP", "127.0.0.1", 53), protocol=DatagramProtocol()),
            _Port(IPv4Address("TCP", "127.0.0.1", 80), Outer()),
            object(),
        ]
    )
    assert [(port.address, port.factory, port.fd) for port in view.ports(reactor)] == [
        ("tcp:127.0.0.1:80", "twisted.internet.protocol.Factory", 9),
        ("udp:127.0.0.1:53", "twisted.internet.protocol.DatagramProtocol", 9),
    ]


def test_connections_are_listed_once() -> None:
    """One that is read and written is one; ports and other readers are none; what fails is left empty."""

    class Outer(Protocol):
        wrappedProtocol = Protocol()

    peer = IPv4Address("TCP", "10.0.0.1", 4000)
    both = _Transport(Outer(), peer, dataBuffer=b"12345", offset=2, _tempDataLen=10)
    reactor = _Reactor([both, _Port(None), object()], [both])
    (info,) = _connections(reactor)
    assert (info.peer, info.host, info.protocol) == ("tcp:10.0.0.1:4000", "", "twisted.internet.protocol.Protocol")
    assert (info.received, info.sent, info.queued) == (None, None, 13)


def test_a_transport_of_another_kind() -> None:
    """One whose buffer is not as Twisted's is listed without what is unknown of it."""
    (info,) = _connections(_Reactor([_Transport(Protocol(), None, dataBuffer=b"x")]))
    assert info.queued is None


def test_some_of_many_connections() -> None:
    """A limit, a text, an order; what a person is shown is cut, says so, and begins with how many there are of each protocol."""

    class Web(Protocol): ...

    def connection(number: int) -> _Transport:
        protocol = Protocol() if number % 10 else Web()
        return _Transport(
            protocol, IPv4Address("TCP", "10.0.0.1", 1000 + number), dataBuffer=b"x" * number, offset=0, _tempDataLen=0
        )

    reactor: Any = _Reactor([connection(number) for number in range(1500)])
    monitor = Monitor(clock=Clock())
    process = Process(Clock())
    process._reactor = reactor
    process._connections = Connections(reactor, Accepted(Clock()))
    monitor.register(process)

    def query(**arguments: Any) -> list[dict[str, Any]]:
        found: list[list[dict[str, Any]]] = []
        monitor.execute("query-connections", arguments).addCallback(found.append)
        return found[0]

    def printed(**arguments: Any) -> list[str]:
        command = monitor.command("query-connections")
        assert command is not None
        return present(command.info, query(**arguments), arguments).splitlines()

    assert len(query()) == len(query(limit=0)) == 1500
    assert [each["queued"] for each in query(limit=2, sort="queued")] == [1499, 1498]
    assert [each["peer"] for each in query(limit=1, sort="protocol")] == ["tcp:10.0.0.1:1000"]
    assert len(query(filter=".Web")) == 150
    assert [each["peer"] for each in query(filter=":2345")] == ["tcp:10.0.0.1:2345"]
    assert printed()[:3] == [
        "1,500 connections:",
        "  count  protocol",
        "  1,350  twisted.internet.protocol.Protocol",
    ]
    assert printed()[-1] == "... and 1,400 more (limit=0 shows all)"
    assert printed(limit=20, filter=".Web")[-1] == "... and 130 more (limit=0 shows all)"
    assert len(printed(limit=20)) == 22
    assert len(printed(limit=0)) == 5 + 1 + 1500
    assert len(printed(filter=":2345")) == 2
    found: list[Any] = []
    monitor.execute("query-reactor").addCallback(found.append)
    assert found[0]["connection-count"] == 1500
    assert found[0]["reader-groups"] == [
        {"class": "tests.providers.process.test_reactor_view._Transport", "count": 1500}
    ]
    command = monitor.command("query-reactor")
    assert command is not None
    assert command.info.printer is not None
    assert "reads from 1,500:\n  count  class\n  1,500  tests." in command.info.printer(found[0])


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the system has no TCP_INFO")
def test_bytes_are_the_systems_own_count() -> None:
    """On Linux the kernel's counters of a TCP connection are told; a unix socket has none."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                client.sendall(b"x" * 1000)
                assert len(server.recv(1000, socket.MSG_WAITALL)) == 1000
                (info,) = _connections(_Reactor([_Transport(Protocol(), None, socket=server)]))
                assert info.received in (1000, None)
                assert info.sent in (0, None)
    one, other = socket.socketpair()
    with one, other:
        (info,) = _connections(_Reactor([_Transport(Protocol(), None, socket=one)]))
        assert (info.received, info.sent) == (None, None)


def test_the_thread_pool_is_not_made_by_asking() -> None:
    """A reactor without a pool has none; one with a pool tells its threads."""
    assert view.thread_pool(SimpleNamespace()) is None
    pool = SimpleNamespace(min=0, max=10, working=[1], waiters=[1, 2])
    info = view.thread_pool(SimpleNamespace(threadpool=pool))
    assert info is not None
    assert (info.minimum, info.maximum, info.busy, info.idle, info.queued) == (0, 10, 1, 2, 0)


def test_the_facts_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those of this process; an argument that is no UTF-8 can be said in JSON."""
    monkeypatch.setattr(sys, "argv", ["prog", "a\udcff"])
    info = _facts.process_info(3.5)
    assert info.pid == os.getpid()
    assert info.argv == ["prog", "a\N{REPLACEMENT CHARACTER}"]
    assert info.uptime == 3.5
    assert info.cpu_seconds > 0
    assert info.python_version.startswith(f"{sys.version_info[0]}.{sys.version_info[1]}.")
    if sys.platform == "linux":
        assert info.resident_memory is not None
        assert info.resident_memory > 1 << 20


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system has no /proc")
def test_file_descriptors_are_counted() -> None:
    """One more that is open is one more."""
    before = _facts.process_info(0).file_descriptors
    assert before is not None
    with open(os.devnull, "rb"):
        assert _facts.process_info(0).file_descriptors == before + 1
    assert _facts.process_info(0).file_descriptors == before


def test_uptime_goes_on_from_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The age of the process when asked first, and the clock from then on."""
    clock = Clock()
    monkeypatch.setattr(_facts, "process_age", lambda: 100.0)
    uptime = _facts.Uptime(clock)
    clock.advance(5)
    assert uptime.seconds() == 105.0
    monkeypatch.setattr(_facts, "process_age", lambda: None)
    uptime = _facts.Uptime(clock)
    clock.advance(5)
    assert uptime.seconds() == 5.0


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="the system has no /proc")
def test_the_age_is_plausible() -> None:
    """This process began between the machine's start and now."""
    age = _facts.process_age()
    assert age is not None
    assert 0 <= age < 86_400
