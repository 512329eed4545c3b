"""
One connection: Twisted's HTTP, with limits to what it may hold and how long it may take.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.web.http import HTTPChannel
from twisted.web.iweb import INonQueuedRequestFactory
from twisted.web.server import Request
from zope.interface import provider

from twisted_qmon._text import printable
from twisted_qmon._transport.connection import LINGER, unsent
from twisted_qmon.web.answers import Refusal, encode_error, error_headers, reason

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from twisted_qmon.web.admission import Shown
    from twisted_qmon.web.site import LimitedSite

__all__ = ["IDLE_TIMEOUT", "RECEIVE_TIMEOUT", "STALL", "WebChannel", "WebRequest"]

#: Seconds that a connection stays open between two requests.
IDLE_TIMEOUT = 60.0

#: Seconds that a request may take to arrive, from its first byte to its last.
RECEIVE_TIMEOUT = 60.0

#: Seconds that a client may read nothing of what waits for it. Then it is disconnected.
STALL = 60.0


@provider(INonQueuedRequestFactory)
class WebRequest(Request):
    """
    A request.

    :ivar shown: the token that it has shown, once that was looked at
    """

    channel: WebChannel
    shown: Shown | None = None
    _body: BytesIO
    _size = 0

    def gotLength(self, length: int | None) -> None:
        """The headers are there: a request that is not to be served is refused before its body is read."""
        self.content = self._body = BytesIO()
        if length != 0:
            try:
                self.channel.site.admit_body(self, length)
            except Refusal as refusal:
                self.channel.refuse(refusal)

    def handleContentChunk(self, data: bytes) -> None:
        """A part of the body is there."""
        if self.channel.ignoring:
            return
        self._size += len(data)
        try:
            self.channel.site.check_size(self._size)
        except Refusal as refusal:
            self.channel.refuse(refusal)
        else:
            self._body.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """All of it is there."""
        if not self.channel.ignoring:
            # At its beginning: so Twisted does not look for a form in it.
            self._body.seek(0)
            super().requestReceived(command, path, version)

    def process(self) -> None:
        """Serve it, as soon as the client has read what was answered before."""
        if not self.channel.park(self):
            super().process()


class WebChannel(HTTPChannel):
    """
    One connection.

    :ivar blocked: more waits for the client than the transport likes to hold
    :ivar ignoring: the connection is being ended from this side: what the client sends is not looked at any more
    """

    site: LimitedSite
    # Twisted's ITransport lacks most of what its transports have.
    transport: Any
    blocked = False
    ignoring = False
    _serving = False
    _left = 0
    _parked: WebRequest | None = None
    _receive_timer: IDelayedCall | None = None
    _stall_timer: IDelayedCall | None = None
    _linger_timer: IDelayedCall | None = None
    _log = Logger()

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.connection_made(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._parked = None
        for timer in (self._receive_timer, self._stall_timer, self._linger_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._receive_timer = self._stall_timer = self._linger_timer = None
        super().connectionLost(reason)
        self.site.connection_lost(self)

    # -- reading

    def dataReceived(self, data: bytes) -> None:
        if self.ignoring:
            return
        if self._receive_timer is None and not self._serving:
            self._receive_timer = self.callLater(RECEIVE_TIMEOUT, self.receiveLimitExceeded)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """A request is complete."""
        self._serving = True
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None
        super().allContentReceived()

    def requestDone(self, request: WebRequest) -> None:
        """A request has been answered."""
        self._serving = False
        super().requestDone(request)

    def receiveLimitExceeded(self) -> None:
        """A request has not arrived within L{RECEIVE_TIMEOUT} seconds: that is the answer."""
        self._receive_timer = None
        self.site.counters.idle += 1
        self.refuse(Refusal(408, f"The request did not arrive within {RECEIVE_TIMEOUT:g} s"))

    def timeoutConnection(self) -> None:
        """Nothing was asked for L{IDLE_TIMEOUT} seconds: the connection is closed."""
        self._linger_timer = self.callLater(LINGER, self.abort)
        self.loseConnection()

    def refuse(self, refusal: Refusal) -> None:
        """
        Answer a request that is not read to its end, and end the connection. What the client still sends is dropped for a while:
        closed at once, the connection would take the answer along.
        """
        if self.ignoring:
            return
        self.ignoring = True
        for request in self.requests:
            # Or the channel tells the client to go on.
            request.requestHeaders.removeHeader(b"Expect")
        body = encode_error(refusal.error)
        # Pairs, and not a Headers: so all versions of Twisted take them.
        headers = error_headers(refusal, body)
        self.writeHeaders(b"HTTP/1.1", b"%d" % refusal.status, reason(refusal.status), headers)
        self.write(body)
        self.setTimeout(None)
        self._linger_timer = self.callLater(LINGER, self.abort)
        close = getattr(self.transport, "loseWriteConnection", None)
        if close is None or ISSLTransport.providedBy(self.transport):
            self.loseConnection()
        else:
            # A transport with a producer sends no end of file.
            self.transport.unregisterProducer()
            close()

    # -- writing

    def pauseProducing(self) -> None:
        """The transport's buffer is over its high-water mark."""
        super().pauseProducing()
        self.blocked = True
        if self._stall_timer is None:
            self._left = unsent(self.transport) or 0
            self._stall_timer = self.callLater(STALL, self._check_stall)

    def resumeProducing(self) -> None:
        """It is empty again."""
        self.blocked = False
        super().resumeProducing()
        if not self.blocked:
            if self._stall_timer is not None:
                self._stall_timer.cancel()
                self._stall_timer = None
            parked, self._parked = self._parked, None
            if parked is not None:
                parked.process()

    def park(self, request: WebRequest) -> bool:
        """
        :return: whether a request has to wait: it came with others in one go, and the client does not read what it is answered
        """
        if self.blocked:
            self._parked = request
        return self.blocked

    def _check_stall(self) -> None:
        left = unsent(self.transport) or 0
        if left < self._left:
            self._left = left
            self._stall_timer = self.callLater(STALL, self._check_stall)
        else:
            self._stall_timer = None
            self.stallLimitExceeded()

    def stallLimitExceeded(self) -> None:
        """The client has read nothing for L{STALL} seconds of what waits for it: it is disconnected."""
        self.site.counters.slow += 1
        self._log.info(
            "disconnecting a web client at {peer}: it has read nothing for {seconds} s",
            peer=printable(str(self.transport.getPeer())),
            seconds=STALL,
        )
        self.abort()

    def loseConnection(self) -> None:
        """End the connection, once all that was written has been read."""
        self.ignoring = True
        super().loseConnection()

    def finish(self) -> None:
        """End the connection, once the request that is being served has been answered."""
        self.persistent = 0
        if not self._serving and not self.ignoring:
            self.loseConnection()

    def abort(self) -> None:
        """End the connection now."""
        self.transport.abortConnection()
