"""File descriptors on their way to a QEMU that the test plays: each gets there, or is closed; and what QEMU has of whom."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.descriptors import Sent, descriptors
from tests.support.fake_qemu import Proxy
from twisted_qmon.core.access.identity import unix_identity
from twisted_qmon.info import Level
from twisted_qmon.providers.qemu import descriptors as module
from twisted_qmon.testing import MemoryTransport, QMPConnection

NONE = "No file descriptor supplied via SCM_RIGHTS"


class Playing:
    """
    A proxy in front of a played QEMU.

    :ivar proxy: the proxy
    """

    def __init__(self) -> None:
        self.proxy = Proxy()
        self.sent: list[Sent] = []

    def new(self) -> Sent:
        """:return: a descriptor"""
        self.sent.append(Sent())
        return self.sent[-1]

    def send(self, client: QMPConnection, data: str, *several: Sent) -> None:
        """Send descriptors with some text."""
        for each in several:
            client.protocol.fileDescriptorReceived(each.number)
        client.protocol.dataReceived(data.encode())

    def getfd(self, client: QMPConnection, name: str, id: str = "g") -> Sent:
        """Send a descriptor with C{getfd}. :return: the descriptor"""
        sent = self.new()
        self.send(client, f'{{"execute": "getfd", "arguments": {{"fdname": "{name}"}}, "id": "{id}"}}', sent)
        return sent

    def gets(self) -> tuple[Any, list[int]]:
        """:return: the requests that QEMU has got, and how many descriptors"""
        transport = self.proxy.qemu.transport
        received, transport.received = transport.received, []
        return self.proxy.qemu.asked(), received

    def does(self, *results: Any) -> list[tuple[str, Any]]:
        """Have QEMU answer what it has got. :return: what that was"""
        asked, received = self.gets()
        for each in received:
            os.close(each)
        assert len(asked) == len(results), asked
        for request, result in zip(asked, results, strict=True):
            self.proxy.qemu.answer(request, result)
        return [(request["execute"], request.get("arguments")) for request in asked]

    def refuses_left_over(self) -> None:
        """QEMU is asked for what it has left over, and has nothing."""
        assert self.does(RuntimeError(NONE)) == [("getfd", {"fdname": "qmon-left-over"})]


@pytest.fixture
def playing() -> Iterator[Playing]:
    """The proxy; at the end no descriptor is left open."""
    before = descriptors()
    playing = Playing()
    yield playing
    for sent in playing.sent:
        sent.__exit__(None, None, None)
    assert descriptors() == before


def error(client: QMPConnection) -> str:
    """:return: the words of the error that a client has got, and nothing else"""
    (answer,) = client.received()
    desc: str = answer["error"]["desc"]
    return desc


# -- one on its way


def test_getfd(playing: Playing) -> None:
    """QEMU gets the request, and one descriptor with it; it is closed here when it has answered."""
    client = playing.proxy.client()
    sent = playing.getfd(client, "x")
    (request,), (received,) = playing.gets()
    assert (request["execute"], request["arguments"]) == ("getfd", {"fdname": "x"})
    assert os.path.sameopenfile(received, sent.number)
    os.close(received)
    assert sent.is_open()
    playing.proxy.qemu.answer(request, {})
    assert client.received() == [{"return": {}, "id": "g"}]
    assert not sent.is_open()


def test_add_fd(playing: Playing) -> None:
    """The same with add-fd, whose result is passed on."""
    client = playing.proxy.client()
    sent = playing.new()
    playing.send(client, " ", sent)
    client.send({"execute": "add-fd"})
    assert playing.does({"fdset-id": 3, "fd": 17}) == [("add-fd", None)]
    assert client.received() == [{"return": {"fdset-id": 3, "fd": 17}}]
    assert not sent.is_open()


def test_without(playing: Playing) -> None:
    """QEMU itself says that there is none."""
    client = playing.proxy.client()
    client.send({"execute": "getfd", "arguments": {"fdname": "x"}})
    (request,), received = playing.gets()
    assert received == []
    playing.proxy.qemu.answer(request, RuntimeError(NONE))
    assert error(client) == NONE
    assert playing.gets() == ([], [])


def test_one_at_a_time(playing: Playing) -> None:
    """QEMU reads ahead, and a second descriptor would take the place of the first: so it has one at a time."""
    client, other = playing.proxy.client(), playing.proxy.client()
    first = playing.getfd(client, "a", "1")
    second = playing.getfd(client, "b", "2")
    playing.send(other, '{"execute": "query-block", "id": "3"}')
    third = playing.getfd(other, "c", "4")
    assert playing.does({}) == [("getfd", {"fdname": "a"})]
    assert not first.is_open()
    assert second.is_open()
    # In turns.
    assert playing.does({}) == [("getfd", {"fdname": "b"})]
    assert playing.does([], {}) == [("query-block", None), ("getfd", {"fdname": "c"})]
    assert not any(each.is_open() for each in (second, third))
    assert [each["id"] for each in client.received() + other.received()] == ["1", "2", "3", "4"]


def test_behind_others(playing: Playing) -> None:
    """It waits until QEMU has fewer than two requests, and then takes both places."""
    client = playing.proxy.client()
    for id in "123":
        playing.send(client, f'{{"execute": "query-block", "id": "{id}"}}')
    playing.getfd(client, "a")
    playing.send(client, '{"execute": "query-block", "id": "5"}')
    assert [name for name, _ in playing.does([], [])] == ["query-block"] * 2
    assert [name for name, _ in playing.does([], {})] == ["query-block", "getfd"]
    assert [name for name, _ in playing.does([])] == ["query-block"]
    assert playing.proxy.provider.upstream.state.in_flight == 0


def test_left_over(playing: Playing) -> None:
    """When QEMU refuses a request it may still have the descriptor: it is taken out before anything else is sent, and closed."""
    client, other = playing.proxy.client(), playing.proxy.client()
    playing.send(client, '{"execute": "getfd"}', playing.new())
    playing.send(other, '{"execute": "getfd", "arguments": {"fdname": "mine"}}')
    assert playing.does(RuntimeError("Parameter 'fdname' is missing")) == [("getfd", None)]
    assert error(client) == "Parameter 'fdname' is missing"
    assert playing.does({}) == [("getfd", {"fdname": "qmon-left-over"})]
    assert playing.does({}) == [("closefd", {"fdname": "qmon-left-over"})]
    assert playing.does(RuntimeError(NONE)) == [("getfd", {"fdname": "mine"})]
    assert error(other) == NONE


def test_nothing_left_over(playing: Playing) -> None:
    """Or it has not; then requests go on as well."""
    client = playing.proxy.client()
    playing.getfd(client, "1a")
    playing.does(RuntimeError("Parameter 'fdname' expects a name not starting with a digit"))
    playing.refuses_left_over()
    client.received()
    playing.send(client, '{"execute": "query-block"}')
    playing.does([])
    assert client.received() == [{"return": []}]


def test_over_tcp(playing: Playing) -> None:
    """A connection to QEMU that can't pass descriptors passes none: QEMU says that there was none."""
    transport = MemoryTransport()
    transport.protocol = playing.proxy.qemu.protocol
    transport.protocol.transport = transport
    client = playing.proxy.client()
    sent = playing.getfd(client, "a")
    playing.proxy.qemu.transport = transport  # type: ignore[assignment]
    (request,) = playing.proxy.qemu.asked()
    playing.proxy.qemu.answer(request, RuntimeError(NONE))
    assert error(client) == NONE
    assert not sent.is_open()
    assert playing.proxy.qemu.asked() == []


# -- it never gets there


def test_not_connected(playing: Playing) -> None:
    """Without a QEMU it is closed, and the client is told."""
    client = playing.proxy.client()
    playing.proxy.qemu.die()
    sent = playing.getfd(client, "a")
    assert "QEMU is not connected" in str(client.received())
    assert not sent.is_open()


def test_qemu_dies(playing: Playing) -> None:
    """When QEMU dies, what it has and what waits is closed, and later ones work with the next QEMU."""
    client = playing.proxy.client()
    sent = [playing.getfd(client, name, name) for name in "abc"]
    playing.proxy.qemu.die()
    assert len([each for each in client.received() if "error" in each]) == 3
    for received in playing.gets()[1]:
        os.close(received)
    assert not any(each.is_open() for each in sent)
    playing.proxy.clock.advance(1)
    playing.proxy.qemu.greet()
    playing.proxy.qemu.introduce()
    client.received()
    playing.getfd(client, "a")
    playing.does({})
    assert client.received() == [{"return": {}, "id": "g"}]


def test_qemu_does_not_read(playing: Playing) -> None:
    """While QEMU does not read, the descriptor waits with the request; if the proxy gives it up, neither is sent any more."""
    client = playing.proxy.client()
    transport = playing.proxy.qemu.transport
    transport.stop_reading()
    sent = playing.getfd(client, "a")
    playing.proxy.provider.upstream.connection.close()  # type: ignore[union-attr]
    assert transport.disconnected
    assert not sent.is_open()
    assert playing.gets() == ([], [])


def test_too_much_unsent(playing: Playing) -> None:
    """With more unsent than the transport wants, it goes out later, as it should."""
    client = playing.proxy.client()
    transport = playing.proxy.qemu.transport
    transport.stop_reading()
    playing.send(client, '{"execute": "migrate", "arguments": {"x": "%s"}, "id": "m"}' % ("x" * 100_000))
    sent = playing.getfd(client, "a")
    transport.read_on()
    assert [name for name, _ in playing.does({}, {})] == ["migrate", "getfd"]
    assert not sent.is_open()


def test_too_long(playing: Playing) -> None:
    """If the request itself can't be sent, the descriptor, which is on its way already, is taken out of QEMU again."""
    client = playing.proxy.client()
    connection = playing.proxy.provider.upstream.connection
    assert connection is not None
    connection.session._max_message = 100
    sent = playing.getfd(client, "a" * 100)
    assert error(client) == "The arguments of 'getfd' are longer than 100 bytes"
    assert playing.does({}) == [("getfd", {"fdname": "qmon-left-over"})]
    assert sent.is_open()
    assert playing.does({}) == [("closefd", {"fdname": "qmon-left-over"})]
    assert not sent.is_open()
    playing.getfd(client, "a")
    playing.does({})
    assert client.received() == [{"return": {}, "id": "g"}]


def test_refused_by_rules(playing: Playing) -> None:
    """One who may not run the command loses the descriptor, and QEMU hears nothing of it."""
    client = QMPConnection(playing.proxy.monitor, level=Level.OPERATE, identity=unix_identity(1000, 1, [1000], {}, {}))
    sent = playing.getfd(client, "a")
    assert "Permission denied: 'getfd' needs admin" in error(client)
    assert not sent.is_open()
    assert playing.gets() == ([], [])


def test_too_many_wait(playing: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than may wait is refused; when one is through, another may come."""
    monkeypatch.setattr(module, "MAX_PASSING", 2)
    client = playing.proxy.client()
    playing.getfd(client, "a", "1")
    playing.getfd(client, "b", "2")
    third = playing.getfd(client, "c", "3")
    assert error(client) == "2 file descriptors are waiting for QEMU already"
    assert not third.is_open()
    playing.does({})
    playing.getfd(client, "c", "4")
    playing.does({})
    playing.does({})
    assert [each["id"] for each in client.received()] == ["1", "2", "4"]


# -- the client goes in between


def test_client_leaves_while_it_waits(playing: Playing) -> None:
    """A request that has not been sent is dropped, and its descriptor closed."""
    client, other = playing.proxy.client(), playing.proxy.client()
    playing.getfd(other, "a")
    sent = playing.getfd(client, "b")
    client.lose()
    assert not sent.is_open()
    playing.does({})
    assert playing.gets() == ([], [])


def test_client_leaves_while_qemu_has_it(playing: Playing) -> None:
    """If QEMU has the request already, it closes the descriptor as soon as it has accepted it."""
    client, other = playing.proxy.client(), playing.proxy.client()
    sent = playing.getfd(client, "a")
    client.lose()
    playing.getfd(other, "b")
    assert playing.does({}) == [("getfd", {"fdname": "a"})]
    assert not sent.is_open()
    assert playing.does({}) == [("closefd", {"fdname": "a"})]
    assert playing.does({}) == [("getfd", {"fdname": "b"})]
    assert other.received() == [{"return": {}, "id": "g"}]


def test_cancelled(playing: Playing) -> None:
    """A client that has cancelled the request does not have the descriptor at QEMU."""
    client = playing.proxy.client(oob=True)
    playing.getfd(client, "a", "x")
    client.send({"exec-oob": "cancel-command", "arguments": {"id": "x"}})
    assert "was cancelled" in str(client.received())
    playing.does({})
    assert playing.does({}) == [("closefd", {"fdname": "a"})]
    playing.getfd(client, "a")
    playing.does({})
    assert client.received() == [{"return": {}, "id": "g"}]


# -- what QEMU has


def has(playing: Playing, client: QMPConnection, name: str) -> None:
    """QEMU has a descriptor of a client, under that name."""
    playing.getfd(client, name)
    playing.does({})
    assert client.received() == [{"return": {}, "id": "g"}]


def test_a_client_leaves(playing: Playing) -> None:
    """When a client leaves, QEMU closes what it has of that client, and nothing else."""
    client, other = playing.proxy.client(), playing.proxy.client()
    has(playing, client, "a")
    has(playing, other, "b")
    playing.send(client, " ", playing.new())
    playing.send(client, '{"execute": "add-fd"}')
    playing.does({"fdset-id": 0, "fd": 9})
    client.lose()
    assert playing.does({}, {}) == [("closefd", {"fdname": "a"}), ("remove-fd", {"fdset-id": 0, "fd": 9})]
    other.lose()
    assert playing.does({}) == [("closefd", {"fdname": "b"})]
    assert playing.proxy.provider.upstream.on_request is None


def test_held_by_another(playing: Playing) -> None:
    """A name is one client's: another can neither have it nor close it, until that client has left or closed it."""
    client, other = playing.proxy.client(), playing.proxy.client()
    has(playing, client, "a")
    sent = playing.getfd(other, "a")
    assert error(other) == "File descriptor name 'a' is held by another client"
    assert not sent.is_open()
    playing.send(other, '{"execute": "closefd", "arguments": {"fdname": "a"}}')
    assert error(other) == "File descriptor name 'a' is held by another client"
    assert playing.gets() == ([], [])
    # The same client puts another one in its place.
    has(playing, client, "a")
    playing.send(client, '{"execute": "closefd", "arguments": {"fdname": "a"}}')
    assert playing.does({}) == [("closefd", {"fdname": "a"})]
    client.received()
    has(playing, other, "a")
    client.lose()
    assert playing.gets() == ([], [])


def test_closed_in_vain(playing: Playing) -> None:
    """What nothing is known of QEMU is asked for as it stands."""
    client = playing.proxy.client()
    playing.send(client, '{"execute": "closefd", "arguments": {"fdname": "nope"}}')
    playing.does(RuntimeError("File descriptor named 'nope' not found"))
    assert error(client) == "File descriptor named 'nope' not found"
    playing.send(client, '{"execute": "closefd", "arguments": {"fdname": 5}}')
    playing.does(RuntimeError("no"))
    client.received()
    playing.send(client, '{"execute": "remove-fd"}')
    playing.does(RuntimeError("no"))


@pytest.mark.parametrize("arguments", ['{"fdset-id": 7}', '{"fdset-id": 7, "fd": 3}'])
def test_removed(playing: Playing, arguments: str) -> None:
    """What a client has removed from its set is not removed once more when it leaves; also by another client."""
    client, other = playing.proxy.client(), playing.proxy.client()
    for fd in (3, 4):
        playing.send(client, '{"execute": "add-fd", "arguments": {"fdset-id": 7}}', playing.new())
        playing.does({"fdset-id": 7, "fd": fd})
    playing.send(other, f'{{"execute": "remove-fd", "arguments": {arguments}}}')
    playing.does({})
    client.lose()
    if "fd" in arguments[10:]:
        assert playing.does({}) == [("remove-fd", {"fdset-id": 7, "fd": 4})]
    assert playing.gets() == ([], [])


def test_set_in_use(playing: Playing) -> None:
    """A set that a command has used stays when its client leaves; one that only a refused command named does not."""
    client = playing.proxy.client()
    for number in (1, 2):
        playing.send(client, '{"execute": "add-fd"}', playing.new())
        playing.does({"fdset-id": number, "fd": 10 + number})
    line = (
        '{"execute": "human-monitor-command", "arguments": {"command-line": "drive_add 0 file=/dev/fdset/%d,if=none"}}'
    )
    playing.send(client, line % 1)
    playing.does("OK")
    playing.send(client, '{"execute": "block-stream", "arguments": {"x": [{"filename": "/dev/fdset/2"}, 1, null]}}')
    playing.does(RuntimeError("no"))
    client.lose()
    assert playing.does({}) == [("remove-fd", {"fdset-id": 2, "fd": 12})]


@pytest.mark.parametrize("text", ["fd:a", "a", "x:a:y", "fd=a,b", "migrate -d fd:a", "/dev/fdname/a"])
def test_name_in_use(playing: Playing, text: str) -> None:
    """A name that a command may have used is free for others; it is closed all the same when its client leaves."""
    client, other = playing.proxy.client(), playing.proxy.client()
    has(playing, client, "a")
    playing.send(client, f'{{"execute": "migrate", "arguments": {{"uri": "{text}"}}}}')
    playing.does({})
    client.lose()
    assert playing.does(RuntimeError("not found")) == [("closefd", {"fdname": "a"})]
    has(playing, other, "a")
    playing.send(other, f'{{"execute": "migrate", "arguments": {{"uri": "{text}"}}}}')
    playing.does({})
    third = playing.proxy.client()
    has(playing, third, "a")
    other.lose()
    assert playing.gets() == ([], [])


def test_too_many_held(playing: Playing, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than may be held is refused; those that were used don't count."""
    monkeypatch.setattr(module, "MAX_HELD", 2)
    client = playing.proxy.client()
    has(playing, client, "a")
    has(playing, client, "b")
    has(playing, client, "b")
    playing.getfd(client, "c")
    assert error(client) == "QEMU has 2 file descriptors already that were sent by clients"
    playing.send(client, '{"execute": "migrate", "arguments": {"uri": "fd:a"}}')
    playing.does({})
    client.received()
    has(playing, client, "c")


def test_another_qemu(playing: Playing) -> None:
    """QEMU's death ends all names; the end of a connection that the proxy gave up does not."""
    client, other = playing.proxy.client(), playing.proxy.client()
    has(playing, client, "a")

    def reconnect() -> None:
        playing.proxy.clock.advance(1)
        playing.proxy.qemu.greet()
        playing.proxy.qemu.introduce()
        client.received(), other.received()

    playing.proxy.provider.upstream.connection.close()  # type: ignore[union-attr]
    reconnect()
    playing.getfd(other, "a")
    assert "held by another" in error(other)
    playing.proxy.qemu.die()
    reconnect()
    has(playing, other, "a")


def test_strange_answers(playing: Playing) -> None:
    """A QEMU that answers something else is passed on, and nothing is remembered."""
    client = playing.proxy.client()
    results: list[Any] = [[], {"fdset-id": "x"}, {}]
    for result in results:
        playing.send(client, '{"execute": "add-fd"}', playing.new())
        playing.does(result)
        assert client.received() == [{"return": result}]
    playing.send(client, '{"execute": "getfd", "arguments": {"fdname": 5}}', playing.new())
    playing.does({})
    client.lose()
    assert playing.gets() == ([], [])


def test_end_of_the_proxy(playing: Playing) -> None:
    """When the proxy ends, QEMU closes what clients have there before the connection ends; it has a second for it."""
    client = playing.proxy.client()
    has(playing, client, "a")
    stopping = playing.proxy.provider.service.stopService()
    assert stopping is not None
    assert playing.does({}) == [("closefd", {"fdname": "a"})]
    assert playing.proxy.qemu.transport.disconnected
    assert stopping.called


def test_end_of_the_proxy_without_qemu(playing: Playing) -> None:
    """A QEMU that does not answer holds up the end for that second only."""
    has(playing, playing.proxy.client(), "a")
    stopping = playing.proxy.provider.service.stopService()
    assert stopping is not None
    playing.proxy.clock.advance(module.RELEASE_TIMEOUT - 0.1)
    assert not stopping.called
    playing.proxy.clock.advance(0.2)
    assert stopping.called


def test_another_monitor(playing: Playing) -> None:
    """A provider that is taken out of its monitor hears no more of its clients."""
    monitor = playing.proxy.monitor
    monitor.unregister(playing.proxy.provider)
    assert monitor.dispatcher.on_leave == []
