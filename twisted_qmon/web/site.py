"""
A server of HTTP with limits, and an orderly end: what L{WebFactory<twisted_qmon.web.factory.WebFactory>} and the server of
metrics have in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.web.server import Site

from twisted_qmon._transport.connection import LINGER
from twisted_qmon._transport.factory import Counters, Refused
from twisted_qmon.web.answers import Refusal
from twisted_qmon.web.channel import IDLE_TIMEOUT, WebChannel, WebRequest

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.web.resource import IResource

    from twisted_qmon.info import Level

__all__ = ["LimitedSite"]


class LimitedSite(Site):
    """
    Serves a resource.

    :param resource: the root of what is served
    :param clock: for time limits
    :param max_connections: connections served at a time; more are closed at once
    :param level: the most that a client may do here
    :raise ValueError: when a limit is out of range
    :ivar endpoint: what rules know the endpoint by (C{"tcp:8080"}); empty if it was not served by its description
    :ivar max_body: bytes of the longest body of a request; 0: none has a body
    :ivar counters: what has happened here
    :ivar ending: everything has been said, and the connections are about to be closed
    """

    noisy = False
    max_body = 0
    kind = "http"
    protocol: Any = WebChannel
    _log = Logger()

    def __init__(self, resource: IResource, clock: IReactorTime, max_connections: int, level: Level) -> None:
        if max_connections < 1:
            raise ValueError(f"max_connections is at least 1, not {max_connections}")
        self.clock = clock
        self.max_connections = max_connections
        self.level = level
        self.endpoint = ""
        self.ending = False
        self.counters = Counters()
        self.connections: set[WebChannel] = set()
        self._closing: Deferred[None] | None = None
        super().__init__(resource, requestFactory=WebRequest, reactor=clock, timeout=IDLE_TIMEOUT)

    # -- requests

    def admit_body(self, request: WebRequest, length: int | None) -> None:
        """
        Look at a request that has a body, before that is read. Here none has one.

        :param length: its length in bytes; C{None}: it comes in chunks
        :raise Refusal: when it will not be served
        """
        raise Refusal(413, "A request has no body here")

    def check_size(self, size: int) -> None:
        """
        :param size: bytes of a body
        :raise Refusal: when that is too much
        """

    # -- connections

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._closing is not None or len(self.connections) >= self.max_connections:
            self.counters.refused += 1
            self._log.warn(
                "refusing a connection from {peer}: {count} are open", peer=addr, count=len(self.connections)
            )
            return Refused()
        return super().buildProtocol(addr)

    def connection_made(self, channel: WebChannel) -> None:
        """A connection begins."""
        self.counters.accepted += 1
        self.connections.add(channel)

    def connection_lost(self, channel: WebChannel) -> None:
        """A connection has ended."""
        self.connections.discard(channel)
        if not self.connections and self._closing is not None and not self._closing.called:
            self._closing.callback(None)

    def close(self, linger: float = LINGER) -> Deferred[None]:
        """
        End all connections: what is being answered is answered.

        :param linger: seconds that clients have to read the rest
        :return: fires when no connection is left
        """
        if not self.connections:
            return succeed(None)
        closing: Deferred[None] = Deferred()
        self._closing = closing
        timer = self.clock.callLater(linger, self.abort)
        for channel in list(self.connections):
            channel.finish()

        def closed(_: None) -> None:
            self._closing = None
            if timer.active():
                timer.cancel()

        return closing.addCallback(closed)

    def abort(self) -> None:
        """End all connections now."""
        for channel in list(self.connections):
            channel.abort()

    # -- what Twisted's server would do besides

    def startFactory(self) -> None:
        """No log of accesses is kept: addresses may have tokens in them."""

    def stopFactory(self) -> None:
        """See L{startFactory}."""

    def log(self, request: object) -> None:
        """See L{startFactory}."""

    def acceptableProtocols(self) -> list[bytes]:
        """:return: what can be spoken over TLS: HTTP/1.1 only, whose limits are known"""
        return [b"http/1.1"]
