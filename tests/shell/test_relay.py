"""The relay between a Twisted endpoint and a socket; its whole is tried in tests/live."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from twisted_qmon.shell.errors import UsageError
from twisted_qmon.shell.relay import _Adopted, _End, parse_endpoint


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
