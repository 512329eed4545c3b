"""
One SSH connection: conch's transport, with limits and back-pressure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.conch.ssh.transport import SSHServerTransport
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._text import printable
from twisted_qmon.ssh.algorithms import USER_ALGORITHMS
from twisted_qmon.ssh.connection import Connection
from twisted_qmon.ssh.log import QuietLogger
from twisted_qmon.ssh.login import LOGIN_TIMEOUT, Login

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall
    from twisted.python.failure import Failure

    from twisted_qmon.ssh.factory import SSHFactory
    from twisted_qmon.ssh.visitor import Visitor

__all__ = ["MAX_LOGIN_BYTES", "ServerTransport"]

#: Bytes that a client may send before it has logged in.
MAX_LOGIN_BYTES = 1 << 18

#: Characters of the name that a client gives which are logged.
_MAX_USER = 64

_own_log = Logger()


class _Socket(Protocol):
    """What is used of the transport below: that of a server endpoint."""

    def getPeer(self) -> IAddress: ...
    def getHost(self) -> IAddress: ...
    def registerProducer(self, producer: object, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def abortConnection(self) -> None: ...


@implementer(IPushProducer)
class ServerTransport(SSHServerTransport):
    """
    What it adds to conch's:

     - A client that has not logged in has L{LOGIN_TIMEOUT} seconds and L{MAX_LOGIN_BYTES}.
     - While the client does not read, nothing is read from it: what it asks for is answered, too. Sessions send no more then,
       nor while new keys are negotiated: conch would keep all that they send.
     - What is no SSH ends the connection, with one line in the log.

    :ivar is_full: the client does not read
    """

    factory: SSHFactory
    transport: _Socket  # type: ignore[assignment]
    avatar: Visitor
    version = b"twisted-qmon"
    ourVersionString = b"SSH-2.0-twisted-qmon"
    supportedCompressions = [b"none"]
    _log = QuietLogger()

    def __init__(self) -> None:
        self.is_full = False
        self._negotiating = False
        self._received = 0
        self._timer: IDelayedCall | None = None
        self._gone = False

    @property
    def peer(self) -> str:
        """Where the client comes from, as text."""
        address = self.transport.getPeer()
        return f"{address.host}:{address.port}" if isinstance(address, (IPv4Address, IPv6Address)) else "unix"

    @property
    def host(self) -> str:
        """The address that the client comes from; empty if it has none."""
        address = self.transport.getPeer()
        return address.host if isinstance(address, (IPv4Address, IPv6Address)) else ""

    @property
    def logged_in(self) -> bool:
        """The client has logged in."""
        return hasattr(self, "avatar")

    @property
    def held(self) -> bool:
        """Sessions are to send nothing at present."""
        return self.is_full or self._negotiating

    def connectionMade(self) -> None:
        """See conch."""
        for name, value in (("setTcpNoDelay", True), ("setTcpKeepAlive", True)):
            getattr(self.transport, name, lambda _: None)(value)
        self.transport.registerProducer(self, True)
        self._timer = self.factory.clock.callLater(LOGIN_TIMEOUT, self.loginLimitExceeded)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """See conch."""
        if not self.logged_in:
            self._received += len(data)
            if self._received > MAX_LOGIN_BYTES:
                self.loginLimitExceeded()
                return
        try:
            super().dataReceived(data)
        except Exception as e:
            # conch unpacks what came as if it were complete and in order.
            if self.logged_in:
                _own_log.failure("while reading what {peer} sent over SSH", peer=self.peer)
            else:
                _own_log.info(
                    "disconnecting {peer}: what it sent is no SSH: {reason}",
                    peer=self.peer,
                    reason=f"{type(e).__name__}: {printable(str(e))[:80]}",
                )
            self.abort()

    def loginLimitExceeded(self) -> None:
        """The client has not logged in within L{LOGIN_TIMEOUT} seconds and L{MAX_LOGIN_BYTES}: it is disconnected."""
        _own_log.info(
            "disconnecting {peer}: it has not logged in within {seconds} s", peer=self.peer, seconds=LOGIN_TIMEOUT
        )
        self.abort()

    def has_logged_in(self, identity: object) -> None:
        """The client has logged in: it has no such limits any more."""
        self._stop_timer()
        user = self.service.user if isinstance(self.service, Login) else b""
        _own_log.info(
            "{identity} has logged in from {peer} as {user}",
            identity=str(identity),
            peer=self.peer,
            user=printable((user or b"").decode("utf-8", "backslashreplace"))[:_MAX_USER],
        )
        self.factory.logged_in(self)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # -- back-pressure

    def pauseProducing(self) -> None:
        """The client does not read."""
        self.is_full = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """It has read."""
        self.is_full = False
        if not self._gone:
            self.transport.resumeProducing()
            self._send_on()

    def stopProducing(self) -> None:
        """See C{IPushProducer}: C{connectionLost} follows."""

    def sendKexInit(self) -> None:
        """See conch: new keys are negotiated."""
        self._negotiating = True
        super().sendKexInit()

    def ssh_NEWKEYS(self, packet: bytes) -> None:
        """See conch: there are new keys."""
        super().ssh_NEWKEYS(packet)
        self._negotiating = False
        self._send_on()

    def _send_on(self) -> None:
        if isinstance(self.service, Connection):
            for channel in list(self.service.channels.values()):
                channel.send_on()

    def sendExtInfo(self, extensions: list[tuple[bytes, bytes]]) -> None:
        """See conch. That would offer clients the algorithms of the host key alone."""
        super().sendExtInfo([(b"server-sig-algs", b",".join(USER_ALGORITHMS))])

    # -- the end

    def sessions_changed(self) -> None:
        """A session has begun, or ended. A connection without one is idle."""
        self._stop_timer()
        timeout = self.factory.idle_timeout
        if (
            timeout is not None
            and not self._gone
            and isinstance(self.service, Connection)
            and not self.service.channels
        ):
            self._timer = self.factory.clock.callLater(timeout, self.idleLimitExceeded)

    def idleLimitExceeded(self) -> None:
        """There was no session for so many seconds: the client is disconnected."""
        _own_log.info("disconnecting {peer}: it has no session", peer=self.peer)
        self.leave()

    def finish(self) -> None:
        """The server ends: the sessions first, and then L{SSHFactory.close<twisted_qmon.ssh.factory.SSHFactory>} has it leave."""

    def leave(self) -> None:
        """End the connection, once what is sent has been read."""
        self.transport.unregisterProducer()
        self.loseConnection()

    def abort(self) -> None:
        """End the connection now."""
        self._stop_timer()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """See conch."""
        self._gone = True
        super().connectionLost(reason)
        self._stop_timer()
        self.factory.lost(self)
