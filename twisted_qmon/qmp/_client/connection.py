"""
The Twisted protocol around a L{ClientSession}: moves bytes, obeys the transport's back-pressure, says when it is
negotiated and when it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._transport.connection import pusher
from twisted_qmon.errors import CommandError, ConnectionClosed, GenericError
from twisted_qmon.qmp._client.replies import MAX_MESSAGE, AnyMessage
from twisted_qmon.qmp._client.session import GREETING, READY, ClientSession

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime, ITransport
    from twisted.python.failure import Failure
    from typing_extensions import Self

__all__ = ["MAX_DELAY", "MAX_UNSENT", "NEGOTIATION_TIMEOUT", "ClientConnection", "PreparedEndpoint", "keep_connected"]

#: Seconds between two attempts to connect, at most (plus up to one of chance, so that many clients don't come back at
#: once).
MAX_DELAY = 10.0

#: How many requests may wait for a server that does not read; one more is refused.
MAX_UNSENT = 100_000

#: Seconds in which the server has to greet and to answer the negotiation. A QEMU monitor that serves somebody else
#: accepts the connection and says nothing.
NEGOTIATION_TIMEOUT = 10.0

_Owner = TypeVar("_Owner")


@implementer(IPushProducer)
class ClientConnection(Protocol, Generic[_Owner]):
    """
    A connection to a QMP server. Subclasses say what to do with what comes: L{replied}, L{happened}, L{over}.

    :param oob: enable out-of-band execution where it is offered
    :param raw: leave results undecoded
    :param max_message: bytes that one message may have, in and out
    :cvar eager: send each request at once, not with all others at the end of the reactor's turn: a turn sooner, but
        one system call for each
    :ivar session: the conversation
    """

    noisy: ClassVar[bool] = False
    eager: ClassVar[bool] = False
    _log = Logger()
    transport: ITransport | None

    def __init__(self, *, oob: bool = True, raw: bool = False, max_message: int = MAX_MESSAGE) -> None:
        self.session: ClientSession[_Owner] = ClientSession(self, oob=oob, raw=raw, max_message=max_message)
        self._ready: list[Deferred[Any]] = []
        self._closed: list[Deferred[None]] | None = []
        self._over = False
        self._when_lost: Callable[[Failure], None] | None = None
        self._reason: CommandError = ConnectionClosed("The connection to the monitor was closed")
        self._paused = False
        self._push: Callable[[], object] | None = None
        self._unsent: dict[int, bytes] = {}

    # -- for subclasses

    def replied(self, owner: _Owner, message: AnyMessage) -> None:
        """See L{SessionUser.replied<twisted_qmon.qmp._client.session.SessionUser.replied>}."""
        raise NotImplementedError

    def happened(self, message: AnyMessage) -> None:
        """An event has come."""

    def over(self, owners: list[_Owner], error: CommandError) -> None:
        """
        The connection is over.

        :param owners: of the requests that will not be answered
        :param error: why not
        """

    # -- requests

    def request(
        self, owner: _Owner, name: str, arguments: Mapping[str, Any] | None = None, *, oob: bool = False
    ) -> int:
        """
        Send a request, or keep it while the server does not read.

        :return: its id
        :raise CommandError: see L{ClientSession.request}; or when too many wait to be sent
        """
        if self._paused and len(self._unsent) >= MAX_UNSENT:
            raise GenericError(f"{MAX_UNSENT} requests are waiting to be sent already")
        number, data = self.session.request(owner, name, arguments, oob=oob)
        if self._paused:
            self._unsent[number] = data
        else:
            self.transport.write(data)  # type: ignore[union-attr]
            if self._push is not None:
                self._push()
        return number

    def withdraw(self, number: int) -> bool:
        """
        Nobody waits for this request any more. If it was not sent yet it never will be, else its reply will be dropped.

        :return: whether it has been sent and is not answered, so that the server might be told to cancel it
        """
        sent = self._unsent.pop(number, None) is None
        return self.session.forget(number, sent=sent) and sent

    def when_ready(self) -> Deferred[Self]:
        """:return: fires with this when the negotiation is complete; fails with L{CommandError} if it never is"""
        if self.session.state is READY:
            return succeed(self)
        if self._over:
            return fail(self._reason)
        waiting: Deferred[Any] = Deferred(self._ready.remove)
        self._ready.append(waiting)
        return waiting

    def negotiate(self, clock: IReactorTime, timeout: float = NEGOTIATION_TIMEOUT) -> Deferred[Self]:
        """
        L{when_ready}, in a given time; if it comes to nothing the connection is closed.

        :param timeout: seconds
        """

        def too_late(result: Any, seconds: float) -> Any:
            what = "greet" if self.session.state is GREETING else "complete the negotiation"
            hint = (
                ": it may be serving somebody else (a QEMU monitor has one client at a time)" if what == "greet" else ""
            )
            raise ConnectionClosed(f"The server did not {what} within {seconds:g} s{hint}")

        def failed(failure: Failure) -> Failure:
            error = failure.value
            self.close(error if isinstance(error, CommandError) else None)
            return failure

        return self.when_ready().addTimeout(timeout, clock, onTimeoutCancel=too_late).addErrback(failed)

    def close(self, error: CommandError | None = None) -> Deferred[None]:
        """
        Close the connection, and tell everybody who waits.

        :param error: what they are told
        :return: fires when it is closed
        """
        if self._closed is None or self.transport is None:
            self._end(error)
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._closed.append(waiting)
        if self._over:
            return waiting
        self._end(error)
        transport: Any = self.transport
        if hasattr(transport, "unregisterProducer"):
            # With one, the transport would wait for it before it says that this is the end.
            transport.unregisterProducer()
        # Nothing is owed to the server, and one that does not read would keep loseConnection waiting for ever.
        abort = getattr(transport, "abortConnection", None) if self._paused else None
        (abort or transport.loseConnection)()
        return waiting

    def abort(self, error: CommandError) -> None:
        """Close the connection without waiting for a server that does not read or answer; tell everybody who waits."""
        self._paused = True
        self.close(error)

    # -- Twisted's side

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if self.eager:
            self._push = pusher(transport)
        if hasattr(transport, "setTcpKeepAlive"):
            transport.setTcpKeepAlive(1)
        if hasattr(transport, "registerProducer"):
            transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.session.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(ConnectionClosed(f"The connection to the monitor was lost: {reason.getErrorMessage()}"))
        waiting, self._closed = self._closed, None
        for deferred in waiting or ():
            deferred.callback(None)
        if self._when_lost is not None:
            self._when_lost(reason)

    def _end(self, error: CommandError | None) -> None:
        if self._over:
            return
        self._over = True
        if error is not None:
            self._reason = error
        owners = self.session.close()
        self._unsent.clear()
        ready, self._ready = self._ready, []
        for deferred in ready:
            deferred.errback(self._reason)
        self.over(owners, self._reason)

    def send(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]

    def negotiated(self) -> None:
        ready, self._ready = self._ready, []
        for deferred in ready:
            deferred.callback(self)

    def broken(self, error: CommandError) -> None:
        self._log.warn("closing the connection to the monitor: {error}", error=error)
        self.close(error)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while self._unsent and not self._paused:
            number = next(iter(self._unsent))
            self.transport.write(self._unsent.pop(number))  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        pass  # the transport says so when it is lost, which connectionLost deals with


class _ConnectionFactory(Factory):
    noisy = False

    def __init__(self, make: Callable[[], ClientConnection[Any]]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Any:
        connection = self._make()
        connection.factory = self
        return connection


@implementer(IStreamClientEndpoint)
class PreparedEndpoint:
    """
    An endpoint whose connections are made by us and are ready for use when they are handed out.

    A C{ClientService} has C{prepareConnection} for that, but falls over a connection that is lost while it is being
    prepared (C{NoTransition}, Twisted 24.3 to 26.10): which is what a server does that refuses, or that has somebody
    else to serve.

    :param endpoint: where to connect
    :param make: makes a connection
    :param prepare: makes it ready; what it fails with, C{connect} fails with, and the connection is closed
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        make: Callable[[], ClientConnection[Any]],
        prepare: Callable[[Any], Deferred[Any]],
    ) -> None:
        self._endpoint = endpoint
        self._factory = _ConnectionFactory(make)
        self._prepare = prepare

    def __repr__(self) -> str:
        return repr(self._endpoint)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        def connected(connection: Any) -> Deferred[Any]:
            def failed(failure: Failure) -> Failure:
                error = failure.value
                connection.close(error if isinstance(error, CommandError) else None)
                return failure

            def prepared(_: Any) -> Any:
                # It stands for the connection where a service watches it.
                stand_in: Any = protocolFactory.buildProtocol(None)  # type: ignore[arg-type]
                stand_in.makeConnection(connection.transport)
                connection._when_lost = stand_in.connectionLost
                return stand_in

            return self._prepare(connection).addErrback(failed).addCallback(prepared)

        return self._endpoint.connect(self._factory).addCallback(connected)


def keep_connected(
    endpoint: IStreamClientEndpoint,
    make: Callable[[], ClientConnection[Any]],
    prepare: Callable[[Any], Deferred[Any]],
    clock: IReactorTime | None,
    retry_policy: Callable[[int], float] | None,
) -> ClientService:
    """
    :return: a service that connects, prepares the connection, and begins again after each failure and each loss
    """
    return ClientService(
        PreparedEndpoint(endpoint, make, prepare),
        Factory.forProtocol(Protocol),
        retryPolicy=retry_policy or backoffPolicy(initialDelay=0.2, maxDelay=MAX_DELAY, factor=1.5),
        clock=clock,
    )
