"""
A server of HTTP with limits, and an orderly end: what L{WebFactory<twisted_qmon.web.factory.WebFactory>} and the server of
metrics have in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.web.server import Site

from twisted_qmon._transport.connections import EndableFactory
from twisted_qmon.web.answers import Refusal
from twisted_qmon.web.channel import IDLE_TIMEOUT, WebChannel, WebRequest

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.web.resource import IResource

    from twisted_qmon.info import Level

__all__ = ["LimitedSite"]


class LimitedSite(EndableFactory[WebChannel], Site):
    """
    Serves a resource.

    :param resource: the root of what is served
    :param clock: for time limits
    :param max_connections: connections served at a time; more are closed at once
    :param level: the most that a client may do here
    :raise ValueError: when a limit is out of range
    :ivar endpoint: what rules know the endpoint by (C{"tcp:8080"}); empty if it was not served by its description
    :ivar max_body: bytes of the longest body of a request; 0: none has a body
    """

    noisy = False
    max_body = 0
    kind = "http"
    protocol: Any = WebChannel

    def __init__(self, resource: IResource, clock: IReactorTime, max_connections: int, level: Level) -> None:
        self._limit(max_connections)
        self._clock = clock
        self.level = level
        self.endpoint = ""
        super().__init__(resource, requestFactory=WebRequest, reactor=clock, timeout=IDLE_TIMEOUT)

    @property
    def clock(self) -> IReactorTime:
        """The clock of time limits."""
        return self._clock

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
