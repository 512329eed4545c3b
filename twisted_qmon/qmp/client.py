"""
QMP from the other end: a client for any QMP server (QEMU, C{twistd qmon}, a storage daemon), on one connection or for
as long as a service runs.

For one connection::

    client = await QMPClient.connect(clientFromString(reactor, "unix:/run/vm.qmp"))
    print(await client.execute("query-status"))

For one that comes back after each loss, start the service that L{QMPClient.service} makes, and use its C{client}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._reactor import global_reactor
from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import (
    CommandCancelled,
    CommandError,
    CommandNotFound,
    CommandTimedOut,
    ConnectionClosed,
)
from twisted_qmon.interfaces import IMonitor
from twisted_qmon.qmp._client.commands import RemoteCommands
from twisted_qmon.qmp._client.connection import NEGOTIATION_TIMEOUT, ClientConnection, connect
from twisted_qmon.qmp._client.events import EventGap, EventPosition, EventReceiver, Events
from twisted_qmon.qmp._client.reconnect import Reconnector
from twisted_qmon.qmp._client.replies import Message
from twisted_qmon.qmp._client.session import error_of
from twisted_qmon.qmp.json.limits import MAX_MESSAGE

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
    from typing_extensions import Unpack

    from twisted_qmon.info import JSON, CommandInfo
    from twisted_qmon.interfaces import ICaller

__all__ = ["ClientOptions", "EventGap", "EventPosition", "QMPClient", "QMPClientService"]

_T = TypeVar("_T")


class ClientOptions(TypedDict, total=False):
    """The keywords of L{QMPClient}, for what makes one."""

    clock: IReactorTime | None
    timeout: float | None
    oob: bool
    max_message: int
    numbered: bool
    position: EventPosition | None
    on_gap: Callable[[EventGap], object] | None


class _Reply(Deferred[Any]):
    """What C{execute} returns: knows which request it is of."""

    number = 0
    name = ""
    connection: _Connection
    timer: IDelayedCall | None = None

    def stop_timer(self) -> None:
        """It has been answered, or it never will be."""
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()


class _Connection(ClientConnection[_Reply]):
    """A client's connection: replies fire Deferreds, events go to the client."""

    client: QMPClient

    def replied(self, owner: _Reply, message: Message) -> None:
        owner.stop_timer()
        if message.returned is not ABSENT:
            owner.callback(message.returned)
        else:
            owner.errback(Failure(error_of(message)))

    def happened(self, message: Message) -> None:
        self.client._happened(message)

    def over(self, owners: list[_Reply], error: CommandError) -> None:
        self.client._lost(self)
        for owner in owners:
            # The errback of one may have cancelled another.
            if not owner.called:
                owner.stop_timer()
                owner.errback(Failure(error))


@implementer(IMonitor)
class QMPClient:
    """
    A remote monitor. Make one with L{connect} or L{service}.

    What C{execute} returns fails with L{ConnectionClosed} when the connection is lost, and at once while there is
    none. C{progress} is never called: QMP has no message for it.

    :param clock: for timeouts; C{None}: the global reactor, fetched when first needed
    :param timeout: seconds that each request may take; C{None}: no limit
    :param oob: enable out-of-band execution where the server offers it
    :param max_message: bytes that one message may have, in and out
    :param numbered: once there is a subscription, ask the server for numbers in its events, and after the connection was lost for
        what was missed. (A server that has no numbers, such as QEMU, refuses, and its events come as they are.)
    :param position: where to begin with the events: what L{position} was in an earlier client. It implies C{numbered}.
    :param on_gap: called with an L{EventGap}, once for each gap and before the events after it; C{None}: gaps are logged
    """

    def __init__(
        self,
        *,
        clock: IReactorTime | None = None,
        timeout: float | None = None,
        oob: bool = True,
        max_message: int = MAX_MESSAGE,
        numbered: bool = False,
        position: EventPosition | None = None,
        on_gap: Callable[[EventGap], object] | None = None,
    ) -> None:
        self.timeout = timeout
        self._clock = clock
        self._wants_oob = oob
        self._max_message = max_message
        self._connection: _Connection | None = None
        self._events = Events(self._select_events, numbered=numbered, position=position, on_gap=on_gap)
        self._commands = RemoteCommands(self.execute)
        self._cancels = True
        self._by_caller: dict[ICaller, set[_Reply]] = {}

    # -- making one

    @classmethod
    def connect(
        cls,
        endpoint: IStreamClientEndpoint,
        *,
        negotiation_timeout: float = NEGOTIATION_TIMEOUT,
        **options: Unpack[ClientOptions],
    ) -> Deferred[QMPClient]:
        """
        Connect and negotiate.

        :param negotiation_timeout: seconds for greeting and negotiation
        :param options: those of L{QMPClient}
        :return: fires with the client; fails with what the endpoint fails with, or with L{CommandError}
        """
        client = cls(**options)
        return client._connect(endpoint, negotiation_timeout).addCallback(lambda _: client)

    @classmethod
    def service(
        cls,
        endpoint: IStreamClientEndpoint,
        *,
        negotiation_timeout: float = NEGOTIATION_TIMEOUT,
        retry_policy: Callable[[int], float] | None = None,
        **options: Unpack[ClientOptions],
    ) -> QMPClientService:
        """
        A service that connects while it runs, again after each loss. What was subscribed before it is started misses no event
        that the server has kept: C{numbered} is true by default.

        :param negotiation_timeout: seconds for greeting and negotiation
        :param retry_policy: seconds until the next attempt, for the number of failures so far; by default 0.3 and
            growing up to L{MAX_DELAY<twisted_qmon.qmp._client.reconnect.MAX_DELAY>}
        :param options: those of L{QMPClient}
        """
        options.setdefault("numbered", True)
        client = cls(**options)
        return QMPClientService(client, endpoint, negotiation_timeout, retry_policy)

    @property
    def clock(self) -> IReactorTime:
        """The clock it was made with, or the global reactor."""
        if self._clock is None:
            self._clock = global_reactor()
        return self._clock

    @property
    def connected(self) -> bool:
        """There is a connection, and it is negotiated."""
        return self._connection is not None

    @property
    def greeting(self) -> Mapping[str, Any]:
        """The C{QMP} member of the server's greeting; empty while there is no connection."""
        return {} if self._connection is None else self._connection.session.greeting

    @property
    def oob(self) -> bool:
        """Out-of-band execution is enabled."""
        return self._connection is not None and self._connection.session.oob

    def close(self) -> Deferred[None]:
        """
        Close the connection; what is pending fails with L{ConnectionClosed}. (The service of a reconnecting client is
        to be stopped instead.)

        :return: fires when it is closed
        """
        return succeed(None) if self._connection is None else self._connection.close()

    def when_lost(self) -> Deferred[CommandError]:
        """:return: fires with the reason when the connection is lost or closed; at once if there is none"""
        if self._connection is None:
            return succeed(ConnectionClosed("There is no connection to the monitor"))
        return self._connection.when_lost()

    def _connect(self, endpoint: IStreamClientEndpoint, negotiation_timeout: float) -> Deferred[_Connection]:
        async def prepare(connection: _Connection) -> None:
            await connection.negotiate(self.clock, negotiation_timeout)
            self._connection = connection
            self._commands.forget()
            self._cancels = True
            self._events.connected()

        return Deferred.fromCoroutine(connect(endpoint, self._make_connection, prepare))

    def _make_connection(self) -> _Connection:
        connection = _Connection(oob=self._wants_oob, max_message=self._max_message)
        connection.client = self
        return connection

    def _lost(self, connection: _Connection) -> None:
        if self._connection is connection:
            self._connection = None
            self._commands.forget()
            self._events.lost()

    # -- requests

    def execute(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        progress: Callable[[int, int], None] | None = None,
        caller: ICaller | None = None,
        timeout: float | None = None,
    ) -> Deferred[Any]:
        """
        See L{IMonitor.execute}.

        :param timeout: seconds that this request may take; by default the client's
        """
        if name == "select-events":
            self._events.leave_to_caller()
        return self._request(name, arguments, False, caller, timeout)

    def execute_oob(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        caller: ICaller | None = None,
        timeout: float | None = None,
    ) -> Deferred[Any]:
        """
        L{execute}, out of band: overtakes what waits at the server. Fails with L{GenericError} where that has not
        been negotiated.
        """
        return self._request(name, arguments, True, caller, timeout)

    def _request(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None,
        oob: bool,
        caller: ICaller | None,
        timeout: float | None,
    ) -> Deferred[Any]:
        connection = self._connection
        if connection is None:
            return fail(ConnectionClosed("There is no connection to the monitor"))
        reply = _Reply(self._cancelled)
        try:
            reply.number = connection.request(reply, name, arguments, oob=oob)
        except CommandError as error:
            return fail(error)
        reply.connection = connection
        reply.name = name
        if caller is not None:
            self._remember(caller, reply)
        if timeout is None:
            timeout = self.timeout
        if timeout is not None and timeout != inf:
            reply.timer = self.clock.callLater(timeout, self._timed_out, reply, timeout)
        return reply

    def _cancelled(self, reply: Deferred[Any]) -> None:
        assert isinstance(reply, _Reply)
        self._withdraw(reply, CommandCancelled(f"Command '{reply.name}' was cancelled"))

    def _timed_out(self, reply: _Reply, timeout: float) -> None:
        reply.timer = None
        self._withdraw(reply, CommandTimedOut(f"Command '{reply.name}' timed out after {timeout:g} s"))

    def _withdraw(self, reply: _Reply, error: CommandError) -> None:
        reply.stop_timer()
        if reply.connection.withdraw(reply.number) and self._cancels and reply.name != "cancel-command":
            oob = reply.connection.session.oob
            cancelling = self._request("cancel-command", {"id": reply.number}, oob, None, None)
            cancelling.addErrback(self._not_cancelled)
        reply.errback(Failure(error))

    def _not_cancelled(self, failure: Failure) -> None:
        # Any other refusal means that the request had been answered.
        error = failure.trap(CommandError)
        if error is not None and failure.check(CommandNotFound):
            self._cancels = False

    def _remember(self, caller: ICaller, reply: _Reply) -> None:
        replies = self._by_caller.setdefault(caller, set())
        replies.add(reply)

        def forget(result: _T) -> _T:
            replies.discard(reply)
            if not replies and self._by_caller.get(caller) is replies:
                del self._by_caller[caller]
            return result

        reply.addBoth(forget)

    def leave(self, caller: ICaller) -> None:
        # The server is not told: this client asked, and it stays.
        for reply in self._by_caller.pop(caller, ()):
            reply.stop_timer()
            reply.connection.withdraw(reply.number)

    # -- events

    def subscribe(self, receiver: EventReceiver, names: Iterable[str] | None = None) -> Callable[[], None]:
        """
        See L{IMonitor.subscribe}. A subscription outlives the connection.

        With C{numbered}, and a server that numbers its events, each has members C{"number"} and, behind a proxy, C{"upstream"}.
        """
        return self._events.subscribe(receiver, names)

    @property
    def position(self) -> EventPosition | None:
        """
        Up to where the events have come; C{None} if the server has not said, or does not number them. A program that is to go on
        from there when it is started again keeps it, and gives it to its next client.
        """
        return self._events.position

    def _happened(self, message: Message) -> None:
        if message.event == "QEMU_CONNECTED":
            # Of our proxy: it may be another QEMU now, with other commands.
            self._commands.forget()
        self._events.happened(message)

    def _select_events(self, arguments: Mapping[str, JSON]) -> Deferred[Any]:
        return self._request("select-events", arguments, False, None, inf)

    # -- what there is

    def commands(self) -> Deferred[dict[str, CommandInfo]]:
        """See L{IMonitor.commands}. They are asked for once per connection."""
        return self._commands.get()


class QMPClientService(Service):
    """
    Keeps a L{QMPClient} connected while it runs: connects, negotiates, and begins again after each loss. An attempt
    whose negotiation fails counts as a failed one.

    :ivar client: the client
    """

    def __init__(
        self,
        client: QMPClient,
        endpoint: IStreamClientEndpoint,
        negotiation_timeout: float = NEGOTIATION_TIMEOUT,
        retry_policy: Callable[[int], float] | None = None,
    ) -> None:
        self.client = client
        self._reconnector = Reconnector(
            lambda: client._connect(endpoint, negotiation_timeout), repr(endpoint), client._clock, retry_policy
        )

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()  # type: ignore[no-untyped-call]
        self._reconnector.startService()

    def stopService(self) -> Deferred[None]:
        """:return: fires when the connection is closed"""
        super().stopService()  # type: ignore[no-untyped-call]
        return self._reconnector.stopService()

    def when_connected(self, fail_after: int | None = None) -> Deferred[QMPClient]:
        """
        :param fail_after: fail with the last attempt's failure after so many; C{None}: never
        :return: fires with the client when it is connected, at once if it is
        """
        return self._reconnector.when_connected(fail_after).addCallback(lambda _: self.client)
