"""File descriptors that come with messages: which request gets one, and that all others are closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.task import Clock

from tests.support.descriptors import Sent, descriptors
from twisted_qmon import CommandProvider, Monitor, Request, command
from twisted_qmon.core.command import Command
from twisted_qmon.core.descriptor import Descriptor
from twisted_qmon.testing import Connection, HMPConnection, QMPConnection


class TakingCommand(Command):
    """One that takes a descriptor."""

    __slots__ = ()
    takes_descriptor = True


class Taker(CommandProvider):
    """
    :ivar taken: what C{take} was given
    :ivar waiting: what C{wait} waits for
    """

    def __init__(self) -> None:
        self.taken: list[Descriptor | None] = []
        self.waiting: list[Deferred[None]] = []

    @command
    def take(self, request: Request) -> bool:
        """take the descriptor"""
        descriptor, request.descriptor = request.descriptor, None
        self.taken.append(descriptor)
        return descriptor is not None

    @command
    def leave(self, request: Request) -> bool:
        """see it, and leave it"""
        return request.descriptor is not None and not request.descriptor.closed

    @command
    def wait(self) -> Deferred[None]:
        """take one's time"""
        self.waiting.append(Deferred())
        return self.waiting[-1]

    @command
    def look(self) -> str:
        """take no descriptor"""
        return "nothing"


@pytest.fixture
def taker() -> Taker:
    """The provider."""
    return Taker()


@pytest.fixture
def monitor(taker: Taker) -> Monitor:
    """A monitor with two commands that take a descriptor."""
    monitor = Monitor(clock=Clock())
    monitor.register(taker)
    for name in ("take", "leave"):
        found: Any = monitor.registry.find(name)
        found.__class__ = TakingCommand
    return monitor


@pytest.fixture
def client(monitor: Monitor) -> QMPConnection:
    """A client."""
    return QMPConnection(monitor)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Each test leaves as many descriptors open as there were."""
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.fixture
def sent() -> Iterator[Sent]:
    """A descriptor."""
    with Sent() as sent:
        yield sent


def send(client: Connection, data: bytes, *several: Sent) -> None:
    """Send descriptors with some bytes."""
    for each in several:
        client.protocol.fileDescriptorReceived(each.number)
    client.protocol.dataReceived(data)


def close(taker: Taker) -> None:
    """Close what was taken."""
    for each in taker.taken:
        if each is not None:
            each.close()


def test_with_the_command(client: QMPConnection, taker: Taker, sent: Sent) -> None:
    """A descriptor that comes with a command is that request's, which closes it."""
    send(client, b'{"execute": "take", "id": 1}', sent)
    assert client.received() == [{"return": True, "id": 1}]
    assert sent.is_open()
    close(taker)
    assert not sent.is_open()


@pytest.mark.parametrize("ahead", [b" ", b"\r\n", b'{"execu', b'{"execute": "take"'])
def test_ahead_of_the_command(client: QMPConnection, taker: Taker, sent: Sent, ahead: bytes) -> None:
    """It may come with a blank ahead of the command, or with the command's beginning."""
    send(client, ahead, sent)
    assert client.received() == []
    assert sent.is_open()
    send(client, b'{"execute": "take"}'[len(ahead.strip()) :])
    assert client.received() == [{"return": True}]
    close(taker)
    assert not sent.is_open()


def test_left_by_its_handler(client: QMPConnection, sent: Sent) -> None:
    """What a handler leaves is closed when the request is answered."""
    send(client, b'{"execute": "leave"}', sent)
    assert client.received() == [{"return": True}]
    assert not sent.is_open()


def test_only_for_one(client: QMPConnection, taker: Taker, sent: Sent) -> None:
    """The next command has none."""
    send(client, b'{"execute": "take"}{"execute": "take"}{"execute": "look"}', sent)
    assert client.received() == [{"return": True}, {"return": False}, {"return": "nothing"}]
    close(taker)


@pytest.mark.parametrize(
    ("data", "answers"),
    [
        (b'{"execute": "look"}', [{"return": "nothing"}]),
        (b'{"execute": "look"}\r\n{"execute": "look"}\n ', [{"return": "nothing"}, {"return": "nothing"}]),
        (b'{"execute": "nope"}', None),
        (b'{"execute": "take", "x": 1}', None),
        (b"[1]", None),
        (b"}", None),
    ],
)
def test_with_another_command(client: QMPConnection, data: bytes, answers: Any, sent: Sent) -> None:
    """One that comes with another message, valid or not, is closed, and that is answered as always."""
    send(client, data, sent)
    received = client.received()
    assert not sent.is_open()
    assert received == answers if answers is not None else "error" in received[0]
    assert client.execute("take") == {"return": False}
    assert client.execute("look") == {"return": "nothing"}


def test_behind_another_command(client: QMPConnection, taker: Taker, sent: Sent) -> None:
    """It is not told with which of the bytes it came: it is for the command in them, or begun in them, that takes one."""
    send(client, b'{"execute": "look"}{"execute": "ta', sent)
    assert client.received() == [{"return": "nothing"}]
    assert sent.is_open()
    send(client, b'ke"}{"execute": "look"}')
    assert client.received() == [{"return": True}, {"return": "nothing"}]
    close(taker)


def test_too_many(client: QMPConnection) -> None:
    """If one message has more than one, all are closed, and the command has none."""
    with Sent() as first, Sent() as second, Sent() as third:
        send(client, b'{"execute": "take"}', first, second, third)
        assert client.received() == [{"return": False}]
        assert not any(each.is_open() for each in (first, second, third))


def test_another_one(client: QMPConnection, taker: Taker) -> None:
    """One that comes with later bytes takes the place of one that waits, as on QEMU."""
    with Sent() as first, Sent() as second:
        send(client, b" ", first)
        send(client, b" ", second)
        assert not first.is_open()
        assert second.is_open()
        assert client.execute("take") == {"return": True}
        close(taker)
        assert not second.is_open()


def test_after_too_many(client: QMPConnection, taker: Taker) -> None:
    """After too many there may be one again."""
    with Sent() as first, Sent() as second, Sent() as third:
        send(client, b" ", first, second)
        send(client, b" ", third)
        assert client.execute("take") == {"return": True}
        close(taker)


def test_many_clients(monitor: Monitor, taker: Taker) -> None:
    """Each client has its own."""
    with Sent() as first, Sent() as second:
        one, two = QMPConnection(monitor), QMPConnection(monitor)
        send(one, b" ", first)
        send(two, b" ", second)
        assert two.execute("take") == {"return": True}
        assert one.execute("take") == {"return": True}
        assert taker.taken[0] is not None
        assert taker.taken[0].fileno() == second.number
        close(taker)


def test_without_negotiation(monitor: Monitor, sent: Sent) -> None:
    """Before the negotiation it is closed, also with the negotiation itself."""
    client = QMPConnection(monitor, negotiate=False)
    with Sent() as other:
        send(client, b'{"execute": "take"}', sent)
        assert "Expecting capabilities negotiation" in client.received()[0]["error"]["desc"]
        assert not sent.is_open()
        send(client, b'{"execute": "qmp_capabilities"}', other)
        assert client.received() == [{"return": {}}]
        assert not other.is_open()
    assert client.execute("take") == {"return": False}


def test_client_leaves(client: QMPConnection, sent: Sent) -> None:
    """What waits is closed when the client leaves."""
    send(client, b" ", sent)
    client.lose()
    assert not sent.is_open()


def test_after_the_end(client: QMPConnection, sent: Sent) -> None:
    """What comes when the connection is over, or about to end, is closed."""
    client.protocol.finish()
    client.protocol.fileDescriptorReceived(sent.number)
    assert not sent.is_open()


def test_queued(client: QMPConnection, taker: Taker, sent: Sent) -> None:
    """A request that waits for its turn keeps its own; another one behind it has another one."""
    with Sent() as other:
        client.send({"execute": "wait"})
        send(client, b'{"execute": "take"}', sent)
        send(client, b'{"execute": "take"}', other)
        assert client.received() == []
        assert sent.is_open()
        assert other.is_open()
        taker.waiting[0].callback(None)
        assert client.received() == [{"return": {}}, {"return": True}, {"return": True}]
        assert [each and each.fileno() for each in taker.taken] == [sent.number, other.number]
        close(taker)


def test_cancelled_in_the_queue(client: QMPConnection, taker: Taker, sent: Sent) -> None:
    """A request that is cancelled while it waits closes its own, and so does one whose client leaves."""
    with Sent() as other:
        client.send({"execute": "wait"})
        send(client, b'{"execute": "take"}', sent)
        send(client, b'{"execute": "take"}', other)
        pending = [each for each in client.factory.monitor.pending if each.name == "take"]
        pending[0].cancel()
        assert not sent.is_open()
        assert other.is_open()
        client.lose()
        assert not other.is_open()
        taker.waiting[0].callback(None)
        assert taker.taken == []


def test_refused(client: QMPConnection, monitor: Monitor, sent: Sent) -> None:
    """A monitor that takes no new requests closes it."""
    monitor.dispatcher.refuse()
    send(client, b'{"execute": "take"}', sent)
    assert client.received()[0]["error"]["class"] == "GenericError"
    assert not sent.is_open()


def test_refused_in_the_queue(client: QMPConnection, taker: Taker, monitor: Monitor, sent: Sent) -> None:
    """And so it does with one that would have to wait."""
    client.send({"execute": "wait"})
    monitor.dispatcher.refuse()
    send(client, b'{"execute": "take"}', sent)
    assert not sent.is_open()
    taker.waiting[0].callback(None)


def test_out_of_band(monitor: Monitor, sent: Sent) -> None:
    """A command that may not be executed out of band is refused, and its descriptor closed."""
    client = QMPConnection(monitor, oob=True)
    send(client, b'{"exec-oob": "take", "id": 1}', sent)
    assert client.received()[0]["error"]["desc"] == "The command take does not support OOB"
    assert not sent.is_open()


def test_no_command_takes_one(sent: Sent) -> None:
    """Where no command takes descriptors they are closed at once, whatever they come with."""
    client = QMPConnection(Monitor(clock=Clock()))
    client.protocol.fileDescriptorReceived(sent.number)
    assert not sent.is_open()
    assert "return" in client.execute("query-version")


@pytest.mark.parametrize("make", [QMPConnection, HMPConnection])
def test_twisted_gives_them_to_us(monitor: Monitor, make: Callable[[Monitor], Connection]) -> None:
    """Twisted closes and logs what a protocol does not take: ours do, also for people."""
    assert IFileDescriptorReceiver.providedBy(make(monitor).protocol)


def test_a_person(monitor: Monitor, sent: Sent) -> None:
    """The human monitor closes them."""
    person = HMPConnection(monitor)
    person.protocol.fileDescriptorReceived(sent.number)
    assert not sent.is_open()


def test_while_held(client: QMPConnection, taker: Taker, sent: Sent) -> None:
    """In a batch behind a suspension the descriptor waits with it."""
    client.protocol.suspend()
    send(client, b'{"execute": "look"}{"execute": "take"}', sent)
    assert client.received() == []
    assert sent.is_open()
    client.protocol.resume()
    assert client.received() == [{"return": "nothing"}, {"return": True}]
    close(taker)


def test_nothing_kept(client: QMPConnection, sent: Sent) -> None:
    """A session that has no descriptors keeps nothing for them, and is as quick as before."""
    session: Any = client.protocol.session
    assert "_descriptors" not in vars(session)
    send(client, b'{"execute": "look"}', sent)
    client.received()
    client.execute("look")
    assert session._descriptors is None
    assert session._clear
