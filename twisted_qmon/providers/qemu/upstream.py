"""
The connection to a QEMU: requests of many callers over one QMP connection, a few at a time and in fair turns; events in
their order; what becomes of both when QEMU goes away, stands still or comes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from errno import ENOENT
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectError, ConnectionRefusedError
from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon.core.request import ABSENT
from twisted_qmon.errors import CommandCancelled, CommandError, ConnectionClosed, GenericError
from twisted_qmon.providers.qemu.heartbeat import Heartbeat
from twisted_qmon.qapi.types.json_text import JSONText
from twisted_qmon.qmp._client.connection import NEGOTIATION_TIMEOUT, ClientConnection, connect
from twisted_qmon.qmp._client.reconnect import Reconnector
from twisted_qmon.qmp._client.replies import Malformed, Message, text_of
from twisted_qmon.qmp._client.session import error_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

    from twisted_qmon.core.descriptor import Descriptor
    from twisted_qmon.info import JSON
    from twisted_qmon.interfaces import ICaller

__all__ = [
    "UPSTREAM_IN_FLIGHT",
    "MAX_HELD_EVENTS",
    "MAX_WAITING",
    "Forwarded",
    "Upstream",
    "UpstreamConnection",
    "UpstreamState",
    "UpstreamUser",
    "not_connected",
]

#: In-band requests that QEMU has at a time. It executes one after the other; the second is there when the first is
#: done. More gain nothing, can't be taken back, and from the eighth on hold up what is out of band.
UPSTREAM_IN_FLIGHT = 2

#: Requests that wait for their turn, of all callers together; one more is refused.
MAX_WAITING = 100_000

#: Events that wait until QEMU has said what events there are; beyond it the oldest are dropped.
MAX_HELD_EVENTS = 10_000

#: Who is told of QEMU's events: called with name and data.
Watcher = Callable[[str, Mapping[str, Any]], None]


def not_connected() -> CommandError:
    """:return: the error for what only a QEMU that is there can answer"""
    return ConnectionClosed("QEMU is not connected")


class UpstreamState(NamedTuple):
    """
    How a QEMU is.

    :ivar connected: requests are sent to it
    :ivar connections: how many connections there have been that requests were sent on
    :ivar waiting: requests that wait for their turn
    :ivar in_flight: in-band requests that it has
    """

    connected: bool
    connections: int
    waiting: int
    in_flight: int


class UpstreamUser(Protocol):
    """What an upstream tells to whom it belongs to."""

    def describe(self, connection: UpstreamConnection) -> Awaitable[None]:
        """
        A connection has been negotiated.

        :return: what says that requests may be sent on it
        """

    def serving(self) -> None:
        """Requests are sent from now on. Events that came meanwhile are delivered afterwards."""

    def happened(self, name: str, data: Mapping[str, JSON] | None, timestamp: Mapping[str, int] | None) -> None:
        """QEMU has sent an event."""

    def lost(self, error: CommandError) -> None:
        """A connection that was L{serving} is over."""

    def gone(self) -> None:
        """There is no QEMU: it has ended the connection, which was L{serving}, or its socket is not served."""

    @property
    def is_stopping(self) -> bool:
        """This process is ending its service."""


class Forwarded(Deferred[JSONText]):
    """
    A request on its way to QEMU.

    :ivar number: its id at QEMU; 0 while it waits for its turn
    :ivar in_band: it counts against L{UPSTREAM_IN_FLIGHT}, until its reply is there
    :ivar connection: C{None} once that is over
    """

    name = ""
    arguments: Mapping[str, JSON] | None = None
    caller: ICaller | None = None
    number = 0
    in_band = True
    connection: UpstreamConnection | None = None

    @property
    def is_sent(self) -> bool:
        """QEMU has it, or is about to."""
        return self.number > 0

    def send_to(self, connection: UpstreamConnection) -> None:
        """
        It is its turn.

        :raise CommandError: when it can't be sent
        """
        self.number = connection.request(self, self.name, self.arguments)

    def keep_place(self) -> None:
        """It is about to fail although QEMU executes it: its place with QEMU is taken until the reply is there."""
        assert self.connection is not None
        stand_in = self.connection.session.pending[self.number] = Forwarded()
        stand_in.in_band = self.in_band
        stand_in.addErrback(lambda _: None)


class UpstreamConnection(ClientConnection[Forwarded]):
    """
    One connection to QEMU. Results stay as they came.

    :ivar silent_since: when QEMU was last heard, or came to have a request to answer; in seconds of the upstream's clock
    :ivar is_gone: it was not ended from this side, or there is another QEMU by now
    """

    eager = True
    is_gone = False
    _has_descriptor = False

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(raw=True)
        self._upstream = upstream
        self._clock = upstream.clock
        self.silent_since = self._clock.seconds()

    def dataReceived(self, data: bytes) -> None:
        self.silent_since = self._clock.seconds()
        session = self.session
        messages = session.read(data)
        # QEMU has the next requests before the callers of these have their answers.
        answered = self._count_replies(messages)
        if answered:
            self._upstream._answered(answered)
        session.take(messages)

    def _count_replies(self, messages: list[Message | Malformed]) -> int:
        """:return: how many of the messages answer requests in band; these count no more"""
        pending = self.session.pending
        count = 0
        for message in messages:
            # Anything may stand for an id.
            if isinstance(message, Malformed) or type(message.id) is not int or message.event is not ABSENT:
                continue
            owner = pending.get(message.id)
            if owner is not None and owner.in_band:
                owner.in_band = False
                count += 1
        return count

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_gone = True
        super().connectionLost(reason)

    def request(
        self, owner: Forwarded, name: str, arguments: Mapping[str, JSON] | None = None, *, oob: bool = False
    ) -> int:
        if not self.session.pending:
            self.silent_since = self._clock.seconds()
        return super().request(owner, name, arguments, oob=oob)

    def replied(self, owner: Forwarded, message: Message) -> None:
        try:
            if owner.in_band:
                # A reply without an id.
                owner.in_band = False
                self._upstream._answered(1)
        finally:
            if message.returned is ABSENT:
                owner.errback(Failure(error_of(message)))
            else:
                owner.callback(text_of(message))

    def send_descriptor(self, descriptor: Descriptor) -> bool:
        """
        Send a file descriptor, for the request that follows. It must not be closed before L{descriptor_sent}.

        :return: whether this connection can do that: it is a unix socket
        """
        transport = self.transport
        if not IUNIXTransport.providedBy(transport):
            return False
        self._has_descriptor = True
        # It goes with the next byte that is sent, of whatever: QEMU keeps it.
        transport.sendFileDescriptor(descriptor.fileno())
        transport.write(b" ")
        return True

    def descriptor_sent(self) -> None:
        """The reply is there, so that the descriptor must have been sent; or it never will be."""
        self._has_descriptor = False

    def close(self, error: CommandError | None = None) -> Deferred[None]:
        if self._has_descriptor:
            # What is not sent must not be, as it is about to be closed, and another may get its number.
            self._paused = True
        return super().close(error)

    def happened(self, message: Message) -> None:
        self._upstream._happened(self, message)

    def over(self, owners: list[Forwarded], error: CommandError) -> None:
        self._upstream._over(self, owners, error)

    def ask(self, name: str, arguments: Mapping[str, JSON] | None = None, *, oob: bool = False) -> Deferred[JSONText]:
        """Make a request at once, before all that wait. For what prepares or watches the connection."""
        forwarded = Forwarded(_forget)
        forwarded.in_band = False
        forwarded.connection = self
        try:
            forwarded.number = self.request(forwarded, name, arguments, oob=oob)
        except CommandError as error:
            return fail(error)
        return forwarded


def _forget(forwarded: Deferred[JSONText]) -> None:
    assert isinstance(forwarded, Forwarded)
    if forwarded.connection is not None:
        forwarded.connection.withdraw(forwarded.number)


class Upstream:
    """
    A QEMU, over all its connections.

    :param endpoint: where its QMP server is
    :param address: the same, as log lines have it
    :param clock: for time limits and the times between attempts
    :param user: is told what happens
    :param negotiation_timeout: seconds that QEMU has for greeting and negotiation
    :param retry_policy: seconds until the next attempt, for the number of failures so far
    :param before_close: see L{Reconnector}
    :param once: there will be no second connection, so that this one is not given up however long QEMU is silent
    :ivar service: connects while it runs
    :ivar connection: the one that requests go to; C{None}: there is none
    :ivar on_request: called with each request that is made, and its arguments; C{None}: what is in them is of no interest
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        address: str,
        clock: IReactorTime,
        user: UpstreamUser,
        *,
        negotiation_timeout: float = NEGOTIATION_TIMEOUT,
        retry_policy: Callable[[int], float] | None = None,
        before_close: Callable[[], Deferred[None]] | None = None,
        once: bool = False,
    ) -> None:
        self.clock = clock
        self._once = once
        self.connection: UpstreamConnection | None = None
        self.on_request: Callable[[Forwarded, Mapping[str, JSON] | None], None] | None = None
        self._user = user
        self._negotiation_timeout = negotiation_timeout
        self._in_flight = 0
        self._limit = UPSTREAM_IN_FLIGHT
        self._queues: dict[ICaller | None, deque[Forwarded]] = {}
        self._turns: deque[ICaller | None] = deque()
        self._waiting = 0
        self._connections = 0
        self._held: deque[Message] = deque()
        self._watchers: dict[object, Watcher] = {}
        self._heartbeat: Heartbeat | None = None
        self.service: Reconnector[UpstreamConnection] = Reconnector(
            lambda: Deferred.fromCoroutine(self._connect(endpoint)),
            f"QEMU at {address}",
            clock,
            retry_policy,
            before_close,
            once=once,
        )

    def reconnect(self, reason: str) -> None:
        """
        There is another QEMU at the same address: connect to that one, now.

        :param reason: what the requests fail with that are not answered
        """
        if self.connection is None:
            self.service.retry_now()
        else:
            self.connection.is_gone = True
            self.connection.close(ConnectionClosed(reason))

    @property
    def is_stopping(self) -> bool:
        """This process is ending its service: QEMU goes on."""
        return self._user.is_stopping

    # -- requests

    def execute(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        caller: ICaller | None = None,
        oob: bool = False,
    ) -> Forwarded:
        """
        Execute a command on QEMU when it is the caller's turn.

        :param arguments: as they go to QEMU
        :param caller: on whose behalf; turns go round between callers
        :param oob: out of band, if that is enabled
        :return: fires with the result as it came; fails with L{CommandError}, at once if QEMU is not connected.
            Cancelling it takes back what is not sent yet; the reply to what is sent is dropped.
        """
        forwarded = Forwarded(self.cancelled)
        forwarded.name = name
        connection = forwarded.connection = self.connection
        if connection is None:
            return _refused(forwarded, not_connected())
        oob = oob and connection.session.oob
        try:
            if self.on_request is not None:
                self.on_request(forwarded, arguments)
            if oob or (self._in_flight < self._limit and not self._waiting):
                forwarded.number = connection.request(forwarded, name, arguments, oob=oob)
                if oob:
                    forwarded.in_band = False
                else:
                    self._in_flight += 1
                return forwarded
        except CommandError as error:
            return _refused(forwarded, error)
        forwarded.arguments = arguments
        return self._enqueue(forwarded, caller)

    def submit(self, forwarded: Forwarded, caller: ICaller) -> None:
        """Send a request, which knows how to do that, when it is the caller's turn."""
        forwarded.connection = self.connection
        if self.connection is None:
            _refused(forwarded, not_connected())
        else:
            self._enqueue(forwarded, caller)
            self._send_waiting()

    def _enqueue(self, forwarded: Forwarded, caller: ICaller | None) -> Forwarded:
        if self._waiting >= MAX_WAITING:
            return _refused(forwarded, GenericError(f"{MAX_WAITING} requests are waiting for QEMU already"))
        forwarded.caller = caller
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = deque()
            self._turns.append(caller)
        queue.append(forwarded)
        self._waiting += 1
        return forwarded

    async def call(self, name: str, arguments: Mapping[str, JSON] | None = None, caller: ICaller | None = None) -> Any:
        """L{execute}, with the result decoded."""
        return (await self.execute(name, arguments, caller)).value

    def cancelled(self, forwarded: Deferred[JSONText]) -> None:
        """A request is cancelled: it is not sent any more, or its reply is dropped."""
        assert isinstance(forwarded, Forwarded)
        if forwarded.connection is None:
            pass  # lost with it, and about to be told so
        elif forwarded.number:
            forwarded.keep_place()
        else:
            self._queues[forwarded.caller].remove(forwarded)
            self._waiting -= 1
        forwarded.errback(CommandCancelled(f"Command '{forwarded.name}' was cancelled"))

    def _answered(self, count: int) -> None:
        self._in_flight -= count
        self._send_waiting(count)

    def _send_waiting(self, count: int = 1) -> None:
        connection = self.connection
        if connection is None or not self._turns:
            return
        if count > 1:
            # In one system call what may go now.
            connection.gather()
        try:
            while self._turns and self._in_flight < self._limit and self.connection is connection:
                self._send_next(connection)
        finally:
            if count > 1:
                connection.send_gathered()

    def wait_for_one(self) -> None:
        """The request that is just being sent is to be the last one until L{one_is_done}."""
        self._limit = 0

    def one_is_done(self, connection: UpstreamConnection) -> None:
        """The request of L{wait_for_one}, which was sent on that connection, is done."""
        if connection is self.connection:
            self._limit = UPSTREAM_IN_FLIGHT
            self._answered(1)

    def _send_next(self, connection: UpstreamConnection) -> None:
        caller = self._turns.popleft()
        queue = self._queues[caller]
        if queue:
            forwarded = queue.popleft()
            self._waiting -= 1
        else:
            forwarded = None
        if queue:
            self._turns.append(caller)
        else:
            del self._queues[caller]
        if forwarded is None:
            return
        try:
            # Before the request, which may be answered at once.
            self._in_flight += 1
            forwarded.send_to(connection)
        except CommandError as error:
            self._in_flight -= 1
            forwarded.errback(Failure(error))

    @property
    def state(self) -> UpstreamState:
        """How it is now."""
        return UpstreamState(self.connection is not None, self._connections, self._waiting, self._in_flight)

    # -- events

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """
        Be told of QEMU's events (name, data), before the monitor's subscribers are; and of the end of the connection,
        as an event without name.

        :return: call it to be told no more
        """
        token = object()
        self._watchers[token] = watcher
        return lambda: self._watchers.pop(token, None) and None

    def _happened(self, connection: UpstreamConnection, message: Message) -> None:
        if connection is self.connection:
            self._deliver(message)
            return
        if len(self._held) >= MAX_HELD_EVENTS:
            self._held.popleft()
            self._log.warn("dropped the oldest of {limit} events that wait for QEMU's schema", limit=MAX_HELD_EVENTS)
        self._held.append(message)

    def _deliver(self, message: Message) -> None:
        data = None if message.data is ABSENT else message.data
        self._tell_watchers(message.event, data or {})
        self._user.happened(message.event, data, None if message.timestamp is ABSENT else message.timestamp)

    def _tell_watchers(self, name: str, data: Mapping[str, Any]) -> None:
        for watcher in list(self._watchers.values()):
            watcher(name, data)

    # -- life and death

    async def _connect(self, endpoint: IStreamClientEndpoint) -> UpstreamConnection:
        try:
            return await connect(endpoint, self._make_connection, self._prepare)
        except ConnectError as error:
            # Not of any other error: one that stands still, or serves another client, takes no connection either.
            if isinstance(error, ConnectionRefusedError) or error.osError == ENOENT:
                self._user.gone()
            raise

    def _make_connection(self) -> UpstreamConnection:
        self._held.clear()
        return UpstreamConnection(self)

    async def _prepare(self, connection: UpstreamConnection) -> None:
        try:
            if self._once:
                await connection.when_ready()
            else:
                await connection.negotiate(self.clock, self._negotiation_timeout)
            await self._user.describe(connection)
            # It may have been lost without an error that counts.
            await connection.when_ready()
        except (CommandError, CancelledError):
            raise
        except Exception:
            self._log.failure("while connecting to QEMU")
            raise
        self.connection = connection
        self._connections += 1
        self._in_flight = 0
        self._heartbeat = Heartbeat(connection, self.clock, patient=self._once)
        self._user.serving()
        while self._held:
            self._deliver(self._held.popleft())

    def _over(self, connection: UpstreamConnection, owners: list[Forwarded], error: CommandError) -> None:
        is_serving = connection is self.connection
        if is_serving:
            for queue in self._queues.values():
                owners.extend(queue)
        for forwarded in owners:
            forwarded.connection = None
        if is_serving:
            self.connection = None
            assert self._heartbeat is not None
            self._heartbeat.stop()
            self._queues.clear()
            self._turns.clear()
            self._waiting = self._in_flight = 0
            self._limit = UPSTREAM_IN_FLIGHT
            try:
                self._tell_watchers("", {})
                self._user.lost(error)
            finally:
                _fail(owners, error)
            if connection.is_gone:
                self._user.gone()
        else:
            _fail(owners, error)


def _refused(forwarded: Forwarded, error: CommandError) -> Forwarded:
    forwarded.errback(error)
    return forwarded


def _fail(owners: list[Forwarded], error: CommandError) -> None:
    for forwarded in owners:
        # The errback of one may have cancelled another. Each needs an error of its own: a traceback is put into it.
        if not forwarded.called:
            forwarded.errback(Failure(ConnectionClosed(error.desc)))
