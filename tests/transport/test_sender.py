"""What is sent at once, and what in a turn of the reactor."""

from __future__ import annotations

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactor, StringTransport

from twisted_qmon._transport.connection import sender


class Socket(FileDescriptor):
    """
    A transport over a socket that takes so many bytes.

    :ivar sent: what it has taken
    :ivar waits: the reactor was told to say when it takes more
    """

    connected = True

    def __init__(self) -> None:
        super().__init__(MemoryReactor())
        self.sent = b""
        self.room: int | Exception = 1000
        self.waits = False

    def fileno(self) -> int:
        return 0

    def startWriting(self) -> None:
        self.waits = True

    def stopWriting(self) -> None:
        self.waits = False

    def writeSomeData(self, data: bytes) -> int | Exception:
        if isinstance(self.room, Exception):
            return self.room
        taken = bytes(data[: self.room])
        self.room -= len(taken)
        self.sent += taken
        return len(taken)


def send(socket: Socket, *pieces: bytes) -> None:
    """Send these."""
    write = sender(socket)
    assert write is not None
    for piece in pieces:
        write(piece)


def test_at_once() -> None:
    """What the peer takes is sent without a turn of the reactor."""
    socket = Socket()
    send(socket, b"one", b"two")
    assert (socket.sent, socket.waits) == (b"onetwo", False)


@pytest.mark.parametrize("room", range(7))
def test_in_order(room: int) -> None:
    """What the peer does not take yet follows in order when it does."""
    socket = Socket()
    socket.room = room
    send(socket, b"one", b"two")
    assert socket.sent == b"onetwo"[:room]
    assert socket.waits == (room < 6)
    socket.room = 1000
    socket.doWrite()
    assert (socket.sent, socket.waits) == (b"onetwo", False)


def test_behind_others() -> None:
    """What was written before goes first, at once as well."""
    socket = Socket()
    socket.write(b"one")
    send(socket, b"two")
    assert (socket.sent, socket.waits) == (b"onetwo", False)


def test_lost() -> None:
    """That the connection is lost is for the reactor to find."""
    socket = Socket()
    socket.room = ConnectionLost()
    send(socket, b"one")
    assert (socket.sent, socket.waits) == (b"", True)
    assert isinstance(socket.doWrite(), ConnectionLost)


@pytest.mark.parametrize("name", ["disconnecting", "disconnected"])
def test_ended(name: str) -> None:
    """Nothing is sent on a connection that is ending or has ended."""
    socket = Socket()
    if name == "disconnecting":
        socket.write(b"one")
        socket.loseConnection()
    else:
        socket.connected = False
    send(socket, b"two")
    socket.loseConnection()
    socket.doWrite()
    assert socket.sent == (b"onetwo" if name == "disconnecting" else b"")


def test_half_closed() -> None:
    """Nothing is sent after the end of what this side sends."""
    socket = Socket()
    socket._writeDisconnected = True
    send(socket, b"one")
    assert socket.sent == b""


def test_tls() -> None:
    """With TLS the bytes go to TLS, not to the socket."""
    socket = Socket()
    socket.TLS = True  # type: ignore[attr-defined]
    written: list[bytes] = []
    socket.write = written.append  # type: ignore[method-assign,assignment]
    send(socket, b"one")
    assert (socket.sent, written) == (b"", [b"one"])


def test_others() -> None:
    """A transport of another kind can't do that."""
    assert sender(StringTransport()) is None
