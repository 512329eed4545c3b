"""The relay between a Twisted endpoint and a socket; its whole is tried in tests/live."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from twisted_qmon.shell import relay
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.errors import NoConnection, UsageError
from twisted_qmon.shell.relay import _Adopted, _End, connect_endpoint, parse_endpoint


def _ends() -> tuple[_End, _End]:
    ends = _Adopted(_End()).buildProtocol(None), _End()
    for end in ends:
        end.makeConnection(StringTransport())
    return ends


def test_what_comes_goes_to_the_other_end() -> None:
    """Nothing is read before both ends are there; then both ways are open, each as fast as the other end takes it."""
    one, two = _ends()
    assert one.transport.producerState == "paused"
    one.join(two)
    assert (one.transport.producerState, two.transport.producerState) == ("producing", "producing")
    one.dataReceived(b"a")
    two.dataReceived(b"b")
    assert (one.transport.value(), two.transport.value()) == (b"b", b"a")
    assert one.transport.producer is two.transport


def test_the_end_of_one_is_the_end_of_the_other() -> None:
    """When one end is lost, the other is closed, once."""
    one, two = _ends()
    one.join(two)
    one.connectionLost()
    assert two.transport.disconnecting
    assert two.transport.producer is None
    two.connectionLost()
    assert not one.transport.disconnecting


@pytest.mark.parametrize(
    ("error", "told"), [(ConnectionDone(), []), (ConnectionLost("gone"), ["gone"]), (OSError("a\nb"), ["a b"])]
)
def test_why_an_end_was_lost(error: Exception, told: list[str]) -> None:
    """If it was not just closed, that is told, on one line."""
    reasons: list[str] = []
    end = _End(reasons.append)
    end.makeConnection(StringTransport())
    end.connectionLost(Failure(error))
    assert [reason.rpartition(": ")[2] for reason in reasons] == told


@pytest.mark.parametrize("description", ["tcp", "tcp:port=x", "unix", "foo:bar", "ssl:host=h"])
def test_what_is_no_endpoint(description: str) -> None:
    """A description that Twisted can't parse is wrong usage, whatever Twisted raises."""
    with pytest.raises(UsageError, match="is not a valid client endpoint: "):
        parse_endpoint(MemoryReactorClock(), description)


class _Reactor(MemoryReactorClock):
    """Takes over the socket; C{run} is called in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.local: Any = None
        self.ran = threading.Event()

    def run(self, *, installSignalHandlers: bool = True) -> None:
        assert not installSignalHandlers
        self.ran.set()

    def adoptStreamConnection(self, descriptor: int, family: int, factory: Any) -> None:
        self.local = factory.buildProtocol(None)
        self.local.makeConnection(StringTransport())


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Reactor]:
    """The reactor of the relay, whose calls are made at once."""
    made = _Reactor()

    def call(reactor: object, function: Callable[[], Deferred[object]]) -> None:
        failures: list[Failure] = []
        function().addErrback(failures.append)
        for failure in failures:
            failure.raiseException()

    monkeypatch.setattr(relay, "global_reactor", lambda: made)
    monkeypatch.setattr(relay, "blockingCallFromThread", call)
    relay._run_in_thread.cache_clear()
    yield made
    relay._run_in_thread.cache_clear()


class _Endpoint:
    """Connects at once, or fails with an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error
        self.remote: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        if self._error is not None:
            return fail(self._error)
        self.remote = factory.buildProtocol(None)
        self.remote.makeConnection(StringTransport())
        return succeed(self.remote)


def test_a_socket_that_relays(reactor: _Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint and the socket are joined, in a reactor that runs; what the far end was lost for is known."""
    endpoint = _Endpoint()
    monkeypatch.setattr(relay, "parse_endpoint", lambda reactor, description: endpoint)
    with connect_endpoint(Address("any", endpoint="any"), 5.0) as ours:
        assert reactor.ran.wait(10)
        endpoint.remote.dataReceived(b"x")
        assert reactor.local.transport.value() == b"x"
        endpoint.remote.connectionLost(Failure(ConnectionLost("alert")))
        assert "alert" in ours.reason


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (ConnectError(errno.ECONNREFUSED), NoConnection, "Connection refused"),
        (OSError("some reason."), NoConnection, "some reason"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
)
@pytest.mark.usefixtures("reactor")
def test_no_connection(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, raised: type[BaseException], text: str
) -> None:
    """The reason is told in a few words."""
    monkeypatch.setattr(relay, "parse_endpoint", lambda reactor, description: _Endpoint(error))
    with pytest.raises(raised, match=f"^{text}$"):
        connect_endpoint(Address("any", endpoint="any"), 5.0)
