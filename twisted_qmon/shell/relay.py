"""
Whatever a Twisted client endpoint connects to as a plain socket: for the commands that need no Twisted otherwise.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure

from twisted_qmon._reactor import global_reactor
from twisted_qmon._transport.tls import loss_reason
from twisted_qmon.shell.connecting import reason_of
from twisted_qmon.shell.errors import NoConnection, UsageError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IStreamClientEndpoint

    from twisted_qmon.shell.address import Destination

__all__ = ["connect_endpoint", "parse_endpoint"]


class Relayed(socket.socket):
    """
    Our side of the relay.

    :ivar reason: why the connection behind it was lost; empty if it was simply closed
    """

    reason = ""


class _End(Protocol):
    """
    One end of the relay: what comes here is written to the other end, as fast as that takes it.

    :param failed: called with the reason when it is lost otherwise than by being closed
    """

    transport: Any
    other: _End | None = None

    def __init__(self, failed: Callable[[str], object] = lambda _: None) -> None:
        self._failed = failed

    def connectionMade(self) -> None:
        self.transport.pauseProducing()

    def join(self, other: _End) -> None:
        """Begin to relay, both ways."""
        for one, two in ((self, other), (other, self)):
            one.other = two
            one.transport.registerProducer(two.transport, True)
        for end in (self, other):
            end.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not reason.check(ConnectionDone):
            self._failed(loss_reason(reason))
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            other.transport.unregisterProducer()
            other.transport.loseConnection()


class _Adopted(Factory):
    noisy = False

    def __init__(self, end: _End) -> None:
        self._end = end

    def buildProtocol(self, addr: IAddress | None) -> _End:
        return self._end


def parse_endpoint(reactor: Any, description: str) -> IStreamClientEndpoint:
    """
    :param description: of a client endpoint, as Twisted parses it
    :raise UsageError: when it can't be parsed
    """
    try:
        return cast("IStreamClientEndpoint", clientFromString(reactor, description))
    except Exception as error:
        # Twisted's parsers raise whatever comes up: TypeError, ValueError, IndexError, KeyError, errors of OpenSSL.
        raise UsageError(f"{description!r} is not a valid client endpoint: {error}") from None


@cache
def _run_in_thread() -> None:
    threading.Thread(target=global_reactor().run, kwargs={"installSignalHandlers": False}, daemon=True).start()


def connect_endpoint(address: Destination, timeout: float) -> Relayed:
    """
    Connect to an endpoint. Its reactor runs in a thread of its own.

    :param address: what has the endpoint
    :param timeout: in seconds
    :return: a socket that relays to it
    :raise UsageError: when there can be no such endpoint
    :raise NoConnection: when there is no connection
    """
    reactor = global_reactor()
    endpoint = address.client_endpoint(reactor)
    _run_in_thread()
    mine, theirs = socket.socketpair()
    ours = Relayed(fileno=mine.detach())

    def failed(reason: str) -> None:
        ours.reason = reason

    async def connect() -> None:
        remote = await connectProtocol(endpoint, _End(failed)).addTimeout(timeout, reactor)
        local = _End()
        reactor.adoptStreamConnection(theirs.fileno(), socket.AF_UNIX, _Adopted(local))
        remote.join(local)

    def begin() -> Deferred[Any]:
        return Deferred.fromCoroutine(connect())

    with theirs:
        try:
            theirs.setblocking(False)
            blockingCallFromThread(reactor, begin)
        except BaseException as error:
            ours.close()
            if isinstance(error, Exception):
                raise NoConnection(reason_of(error)) from None
            raise
    return ours
