"""
The connections of a reactor: all of them, also those that it neither reads nor writes at the moment.

Nothing is kept for a connection while it lives. Its idle time is the kernel's, and its age follows from its number at the port
that accepted it: L{Accepted} notes once a second how many connections each port has accepted.
"""

from __future__ import annotations

import gc
import os
import socket
import stat
import struct
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Literal, NamedTuple, Protocol, TypeAlias, cast
from weakref import WeakKeyDictionary

import msgspec
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IListeningPort, IReactorTime, ITransport
from twisted.internet.tcp import Port
from twisted.python.reflect import qual

from twisted_qmon._transport.connection import ConnectionMixin, unsent
from twisted_qmon.errors import GenericError
from twisted_qmon.providers.process import reactor_view as view
from twisted_qmon.qapi.types import Size

__all__ = ["MAX_MARKS", "RESCAN", "Accepted", "ConnectionInfo", "Connections", "Sort"]

#: How many times L{Accepted} keeps for a port. Beyond it those are dropped without which the age of an old connection is still
#: known to within 2 %; some hundreds are enough for a year.
MAX_MARKS = 2000

#: Of so many looks of L{Accepted}, one looks for new ports.
RESCAN = 10

#: By which member C{query-connections} sorts.
Sort: TypeAlias = Literal["peer", "host", "protocol", "received", "sent", "queued", "fd", "age", "idle"]


class ConnectionInfo(msgspec.Struct):
    """
    A connection.

    :ivar peer: the address of the other end
    :ivar host: the address of our end
    :ivar protocol: the qualified name of the protocol's class
    :ivar class_: the qualified name of the transport's class
    :ivar paused: nothing is read from it at the moment
    :ivar fd: its file descriptor, if it has one
    :ivar age: seconds since it was accepted, to within a second or 2 %; of one that was accepted before the ports were watched,
        at least so many. Absent if it was not accepted but opened by this process
    :ivar idle: seconds in which nothing has come and no data was sent, where the system or the monitor's own connection knows
    :ivar received: bytes received so far, where the system counts them
    :ivar sent: bytes sent so far, where the system counts them
    :ivar queued: bytes written that the system has not taken yet, if known
    """

    peer: str
    host: str
    protocol: str
    class_: str
    paused: bool = False
    fd: int | None = None
    age: float | None = None
    idle: float | None = None
    received: Size | None = None
    sent: Size | None = None
    queued: Size | None = None


class _Counters(NamedTuple):
    """What the kernel knows of a TCP connection."""

    received: int | None = None
    sent: int | None = None
    idle: float | None = None


# Where Linux has them in struct tcp_info: tcpi_last_data_sent and tcpi_last_data_recv (milliseconds ago),
# tcpi_bytes_received since 4.1, tcpi_bytes_sent since 4.19.
_LAST_SENT, _LAST_RECEIVED, _BYTES_RECEIVED, _BYTES_SENT = 44, 52, 128, 200


def _counters(transport: object) -> _Counters:
    """What the kernel counts: no cost until asked."""
    option = getattr(socket, "TCP_INFO", None)
    sock = getattr(transport, "socket", None)
    if option is None or not isinstance(sock, socket.socket) or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return _Counters()
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, option, 256)
    except OSError:
        return _Counters()
    received = struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0] if len(info) >= _BYTES_RECEIVED + 8 else None
    sent = struct.unpack_from("=Q", info, _BYTES_SENT)[0] if len(info) >= _BYTES_SENT + 8 else None
    idle = None
    if len(info) >= _LAST_RECEIVED + 4:
        idle = min(struct.unpack_from("=I", info, place)[0] for place in (_LAST_SENT, _LAST_RECEIVED)) / 1000
    return _Counters(received, sent, idle)


# -- which there are


class _Accepting(Protocol):
    """The part of a port of Twisted's that is used here."""

    sessionno: int


class Accepted:
    """
    When each port had accepted how many connections. Twisted numbers the connections of a port, and so the number of one says
    when it was accepted.

    :param clock: the time
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._looks = 0
        # For each port when it was looked at, and the number that its next connection had then, where that had changed.
        self._marks: WeakKeyDictionary[_Accepting, tuple[list[float], list[int]]] = WeakKeyDictionary()

    def look(self, reactor: object) -> None:
        """Called about once a second: costs a microsecond for each port, and each L{RESCAN}th time some for each connection."""
        if self._looks % RESCAN == 0:
            self.scan(view.descriptors(reactor)[0])
        else:
            self._note(list(self._marks))
        self._looks += 1

    def scan(self, readers: Iterable[object]) -> None:
        """:param readers: what the reactor reads from, the ports among it"""
        self._note([cast(_Accepting, reader) for reader in readers if isinstance(reader, Port)])

    def _note(self, ports: Iterable[_Accepting]) -> None:
        now = self._clock.seconds()
        for port in ports:
            times, numbers = self._marks.setdefault(port, ([], []))
            if not numbers or numbers[-1] != port.sessionno:
                times.append(now)
                numbers.append(port.sessionno)
                if len(times) > MAX_MARKS:
                    kept = _thinned(times)
                    times[:], numbers[:] = [times[place] for place in kept], [numbers[place] for place in kept]

    def age(self, transport: object) -> float | None:
        """:return: seconds since a connection was accepted; C{None} if it was not, or its port is not known"""
        port, number = getattr(transport, "server", None), getattr(transport, "sessionno", None)
        if port is None or not isinstance(number, int) or port not in self._marks:
            return None
        times, numbers = self._marks[port]
        # The first time at which its number had been given out.
        place = bisect_right(numbers, number)
        return round(max(0.0, self._clock.seconds() - times[place]), 1) if place < len(times) else 0.0


def _thinned(times: list[float]) -> list[int]:
    """:return: the places of the times that are enough to tell how long ago something was to within 2 %"""
    last = len(times) - 1
    kept = [0]
    for place in range(1, last):
        if times[place + 1] - times[kept[-1]] > (times[last] - times[place + 1]) / 50:
            kept.append(place)
    return [*kept, last]


class Connections:
    """
    The connections of a reactor.

    :param reactor: the reactor
    :param accepted: knows their ages
    """

    def __init__(self, reactor: object, accepted: Accepted) -> None:
        self._reactor = reactor
        self._accepted = accepted
        # Sockets of this process that no transport of the reactor has: their descriptors and inodes.
        self._others: set[tuple[int, int]] = set()

    def all(self) -> list[object]:
        """
        :return: the transports. One that is paused and has nothing to write is unknown to the reactor. The system knows its
            socket: if there is one that no known transport has, the garbage collector is asked for the rest.
        """
        readers, writers = view.descriptors(self._reactor)
        self._accepted.scan(readers)
        known = [*readers, *writers]
        found = _transports(known)
        hidden = self._hidden(known)
        return [*found, *hidden] if hidden else found

    def _hidden(self, known: Iterable[object]) -> list[object]:
        sockets = _sockets(set(map(view.fd_of, known)))
        self._others &= sockets
        if sockets == self._others:
            return []
        fds = {fd for fd, _ in sockets}
        found = [
            each
            for each in _alive(FileDescriptor)
            if each.connected and each.reactor is self._reactor and view.fd_of(each) in fds
        ]
        fds -= set(map(view.fd_of, found))
        self._others = {(fd, inode) for fd, inode in sockets if fd in fds}
        return _transports(found)

    def infos(self, filter: str | None, sort: Sort = "peer", limit: int | None = None) -> list[ConnectionInfo]:
        """
        :param filter: only those with this text in peer, host or protocol
        :param sort: by this; numbers: the largest first, but C{fd}
        :param limit: at most this many; C{None}: all
        """
        found = self.matching(filter)
        if sort == "age":
            found.sort(key=lambda each: _largest_first(self._accepted.age(each)))
        elif sort in ("peer", "host", "protocol"):
            found.sort(key=_TEXTS[sort])
        else:
            found.sort(key=_NUMBERS[sort])
        readers = set(map(id, view.descriptors(self._reactor)[0]))
        return [self._describe(each, readers) for each in found[:limit]]

    def matching(self, filter: str | None) -> list[object]:
        """:return: the transports with this text in peer, host or protocol; all without one"""
        found = self.all()
        if not filter:
            return found
        return [each for each in found if any(filter in text(each) for text in (_peer, _host, _protocol))]

    def _describe(self, transport: object, readers: set[int]) -> ConnectionInfo:
        counters = _counters(transport)
        return ConnectionInfo(
            peer=_peer(transport),
            host=_host(transport),
            protocol=_protocol(transport),
            class_=qual(type(transport)),
            paused=id(transport) not in readers,
            fd=view.fd_of(transport),
            age=self._accepted.age(transport),
            idle=_idle(transport, counters),
            received=counters.received,
            sent=counters.sent,
            queued=_queued(transport),
        )

    def close(self, fd: int, peer: str | None, abort: bool) -> None:
        """
        Close a connection as its protocol would.

        :param fd: its file descriptor
        :param peer: what its peer must be; C{None}: anything
        :param abort: at once, without writing what is queued
        :raise GenericError: when there is no such connection, or it can't be closed so
        """
        transport = next((each for each in self.all() if view.fd_of(each) == fd), None)
        if transport is None:
            raise GenericError(f"There is no connection with file descriptor {fd}")
        if peer is not None and peer != _peer(transport):
            raise GenericError(f"The peer of file descriptor {fd} is '{_peer(transport)}'")
        # With TLS the protocol's transport is another one, which says so to the peer first.
        inner = getattr(_innermost(transport), "transport", None) or transport
        method = getattr(inner, "abortConnection" if abort else "loseConnection", None)
        if method is None:
            raise GenericError(f"The connection with file descriptor {fd} can only be closed with abort=off")
        method()


def _transports(things: Iterable[object]) -> list[object]:
    kinds: dict[type, bool] = {}
    found: dict[int, object] = {}
    for thing in things:
        kind = type(thing)
        is_one = kinds.get(kind)
        if is_one is None:
            is_one = kinds[kind] = ITransport.providedBy(thing) and not IListeningPort.providedBy(thing)
        if is_one:
            found[id(thing)] = thing
    return list(found.values())


def _sockets(known: Container[int | None]) -> set[tuple[int, int]]:
    """
    :param known: descriptors that are left out
    :return: descriptor and inode of each other socket of this process; none where the system does not tell
    """
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            fds = [int(name) for name in os.listdir(folder)]
        except (OSError, ValueError):
            continue
        found = set()
        for fd in fds:
            if fd not in known:
                # One of them was that of the folder.
                status = view.guarded(partial(os.fstat, fd), None)
                if status is not None and stat.S_ISSOCK(status.st_mode):
                    found.add((fd, status.st_ino))
        return found
    return set()


def _alive(cls: type[FileDescriptor]) -> list[FileDescriptor]:
    """:return: the instances of a class and its subclasses: some ten milliseconds for each million objects of the process"""
    kinds, more = {cls}, [cls]
    while more:
        more = [sub for kind in more for sub in kind.__subclasses__() if sub not in kinds]
        kinds.update(more)
    return [thing for thing in gc.get_objects() if type(thing) in kinds]


# -- what is known of one


def _peer(transport: object) -> str:
    return view.address(view.asked(transport, "getPeer"))


def _host(transport: object) -> str:
    return view.address(view.asked(transport, "getHost"))


def _innermost(transport: object) -> object:
    return view.unwrapped(getattr(transport, "protocol", None), "wrappedProtocol")


def _protocol(transport: object) -> str:
    protocol = _innermost(transport)
    return qual(type(protocol)) if protocol is not None else ""


def _idle(transport: object, counters: _Counters) -> float | None:
    protocol = _innermost(transport)
    if counters.idle is None and isinstance(protocol, ConnectionMixin) and protocol.name:
        return protocol.idle
    return counters.idle


def _queued(transport: object) -> int | None:
    return view.guarded(partial(unsent, transport), None)


def _largest_first(number: float | None) -> float:
    return -(number or 0)


def _fd_first(transport: object) -> int:
    fd = view.fd_of(transport)
    return -1 if fd is None else fd


# What C{query-connections} sorts by, but for the age.
_TEXTS: dict[Sort, Callable[[object], str]] = {"peer": _peer, "host": _host, "protocol": _protocol}
_NUMBERS: dict[Sort, Callable[[object], float]] = {
    "fd": _fd_first,
    "received": lambda transport: _largest_first(_counters(transport).received),
    "sent": lambda transport: _largest_first(_counters(transport).sent),
    "queued": lambda transport: _largest_first(_queued(transport)),
    "idle": lambda transport: _largest_first(_idle(transport, _counters(transport))),
}
