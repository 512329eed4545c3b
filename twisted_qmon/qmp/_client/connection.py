"""
The Twisted protocol around a L{ClientSession}: moves bytes, obeys the transport's back-pressure, says when it is
negotiated and when it is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPushProducer, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from zope.interface import implementer

from twisted_qmon._transport.connection import sender
from twisted_qmon._transport.tls import loss_reason, tls_layer
from twisted_qmon.errors import CommandError, ConnectionClosed, GenericError
from twisted_qmon.qmp._client.replies import Message
from twisted_qmon.qmp._client.session import GREETING, READY, ClientSession
from twisted_qmon.qmp._client.waiters import Waiters
from twisted_qmon.qmp.json.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IReactorTime, ITransport
    from twisted.python.failure import Failure

    from twisted_qmon.info import JSON

__all__ = ["MAX_UNSENT", "NEGOTIATION_TIMEOUT", "ClientConnection", "connect"]

#: How many requests may wait for a server that does not read; one more is refused.
MAX_UNSENT = 100_000

#: Seconds in which the server has to greet and to answer the negotiation. A QEMU monitor that serves another client
#: accepts the connection and says nothing.
NEGOTIATION_TIMEOUT = 10.0

_Owner = TypeVar("_Owner")
_Connection = TypeVar("_Connection", bound="ClientConnection[Any]")


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
        self._ready: Waiters[None] = Waiters()
        self._lost: Waiters[CommandError] = Waiters()
        self._is_over = False
        self._is_lost = False
        self._reason: CommandError = ConnectionClosed("The connection to the monitor was closed")
        self._paused = False
        self._send: Callable[[bytes], object] | None = None
        self._unsent: dict[int, bytes] = {}
        self._gathered: list[bytes] | None = None

    # -- for subclasses

    def replied(self, owner: _Owner, message: Message) -> None:
        """See L{SessionUser.replied<twisted_qmon.qmp._client.session.SessionUser.replied>}."""
        raise NotImplementedError

    def happened(self, message: Message) -> None:
        """An event has come."""

    def over(self, owners: list[_Owner], error: CommandError) -> None:
        """
        The connection is over.

        :param owners: of the requests that will not be answered
        :param error: why not
        """

    # -- requests

    def request(
        self, owner: _Owner, name: str, arguments: Mapping[str, JSON] | None = None, *, oob: bool = False
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
        elif self._gathered is not None:
            self._gathered.append(data)
        else:
            (self._send or self.send)(data)
        return number

    def gather(self) -> None:
        """Keep the requests made from now on until L{send_gathered} sends them together."""
        self._gathered = []

    def send_gathered(self) -> None:
        """Send what was requested since L{gather}."""
        gathered, self._gathered = self._gathered, None
        if gathered and not self._is_over:
            (self._send or self.send)(b"".join(gathered))

    def withdraw(self, number: int) -> bool:
        """
        Drop a request. If it was not sent yet it never will be, else its reply will be dropped.

        :return: whether it has been sent and is not answered, so that the server might be told to cancel it
        """
        sent = self._unsent.pop(number, None) is None
        return self.session.forget(number, sent=sent) and sent

    def when_ready(self) -> Deferred[None]:
        """:return: fires when the negotiation is complete; fails with L{CommandError} if it never is"""
        if self.session.state is READY:
            return succeed(None)
        return fail(self._reason) if self._is_over else self._ready.wait()

    def when_lost(self) -> Deferred[CommandError]:
        """:return: fires with the reason when the connection is lost or closed"""
        return succeed(self._reason) if self._is_lost else self._lost.wait()

    def negotiate(self, clock: IReactorTime, timeout: float = NEGOTIATION_TIMEOUT) -> Deferred[None]:
        """
        L{when_ready}, in a given time.

        :param timeout: seconds
        """

        def too_late(result: object, seconds: float) -> NoReturn:
            if self.session.state is not GREETING:
                raise ConnectionClosed(f"The server did not complete the negotiation within {seconds:g} s")
            raise ConnectionClosed(
                f"The server did not greet within {seconds:g} s: it serves another client (a QEMU monitor has one client "
                "at a time), or it is not a QMP server"
            )

        return self.when_ready().addTimeout(timeout, clock, onTimeoutCancel=too_late)

    def close(self, error: CommandError | None = None) -> Deferred[None]:
        """
        Close the connection. Requests that are not answered fail.

        :param error: what they fail with
        :return: fires when it is closed
        """
        if self._is_lost or self.transport is None:
            self._end(error)
            return succeed(None)
        closed = self.when_lost().addCallback(lambda _: None)
        if self._is_over:
            return closed
        self._end(error)
        transport: Any = self.transport
        if hasattr(transport, "unregisterProducer"):
            # With one, the transport would wait for it before it says that this is the end.
            transport.unregisterProducer()
        # Nothing is owed to the server, and one that does not read would keep loseConnection waiting for ever.
        abort = getattr(transport, "abortConnection", None) if self._paused else None
        (abort or transport.loseConnection)()
        layer = tls_layer(transport)
        if layer is not None:
            # The layer would wait until the server closes, too.
            layer.transport.loseConnection()
        return closed

    def abort(self, error: CommandError) -> None:
        """L{close} for a server that does not read or answer: the connection is not flushed."""
        self._paused = True
        self.close(error)

    # -- Twisted's side

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if self.eager:
            self._send = sender(transport)
        if hasattr(transport, "setTcpKeepAlive"):
            transport.setTcpKeepAlive(1)
        if hasattr(transport, "registerProducer"):
            transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.session.receive(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(ConnectionClosed(f"The connection to the monitor was lost: {loss_reason(reason)}"))
        self._is_lost = True
        self._lost.tell(self._reason)

    def _end(self, error: CommandError | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if error is not None:
            self._reason = error
        owners = self.session.close()
        self._unsent.clear()
        self._ready.fail(self._reason)
        self.over(owners, self._reason)

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def negotiated(self) -> None:
        self._ready.tell(None)

    def broken(self, error: CommandError) -> None:
        if not self._ready and not self._lost:
            self._log.warn("closing the connection to the monitor: {error}", error=error)
        self.close(error)

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        while self._unsent and not self._paused:
            number = next(iter(self._unsent))
            self.send(self._unsent.pop(number))

    def stopProducing(self) -> None:
        pass  # the transport says so when it is lost, which connectionLost deals with


class _ConnectionFactory(Factory, Generic[_Connection]):
    noisy = False

    def __init__(self, make: Callable[[], _Connection]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        connection = self._make()
        connection.factory = self
        return connection


async def connect(
    endpoint: IStreamClientEndpoint,
    make: Callable[[], _Connection],
    prepare: Callable[[_Connection], Awaitable[object]],
) -> _Connection:
    """
    :param endpoint: where to connect
    :param make: makes a connection
    :param prepare: makes it ready for use; when it fails, the connection is closed
    :return: the connection, ready for use
    :raise Exception: what the endpoint or C{prepare} fails with
    """
    connecting: Deferred[_Connection] = endpoint.connect(_ConnectionFactory(make))  # type: ignore[assignment]
    connection = await connecting
    try:
        await prepare(connection)
    except Exception as error:
        connection.close(error if isinstance(error, CommandError) else None)
        raise
    return connection
