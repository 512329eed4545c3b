"""
The connection to a QEMU: requests of many callers over one QMP connection, a few at a time and in fair turns; events in
their order; what becomes of both when QEMU goes away, stands still or comes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_qmon.errors import CommandCancelled, CommandError, ConnectionClosed, GenericError
from twisted_qmon.qapi.json_text import JSONText
from twisted_qmon.qmp._client.connection import NEGOTIATION_TIMEOUT, ClientConnection, keep_connected
from twisted_qmon.qmp._client.replies import UNSET, AnyMessage, text_of
from twisted_qmon.qmp._client.session import error_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint

__all__ = [
    "HEARTBEAT",
    "IN_FLIGHT",
    "MAX_HELD_EVENTS",
    "MAX_WAITING",
    "Upstream",
    "UpstreamConnection",
    "not_connected",
]

#: In-band requests that QEMU has at a time. It executes one after the other; the second is there when the first is
#: done. More gain nothing, can't be taken back, and from the eighth on hold up what is out of band.
IN_FLIGHT = 2

#: Requests that wait for their turn, of all callers together; one more is refused.
MAX_WAITING = 100_000

#: Events that wait until QEMU has said what events there are; beyond it the oldest are dropped.
MAX_HELD_EVENTS = 10_000

#: Seconds of silence, with a request pending, after which QEMU is asked for a sign of life, out of band; and seconds
#: that it has for it. A main loop that is busy (a snapshot, say) does not keep it from answering that; a stopped
#: process does.
HEARTBEAT = 5.0

#: The command that asks for the sign of life: allowed out of band, without effect, and in every QEMU since 6.0.
_HEARTBEAT_COMMAND = "query-yank"


def not_connected() -> CommandError:
    """:return: the error for what only a QEMU that is there can answer"""
    return ConnectionClosed("QEMU is not connected")


class _Forwarded(Deferred[JSONText]):
    """A request on its way to QEMU, and what its caller waits for."""

    name = ""
    arguments: Mapping[str, Any] | None = None
    caller: Any = None
    #: Its id at QEMU; 0 while it waits for its turn.
    number = 0
    in_band = True
    connection: UpstreamConnection | None = None


class UpstreamConnection(ClientConnection[_Forwarded]):
    """One connection to QEMU. Results stay as they came."""

    eager = True
    heard = True
    beating = False

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(raw=True)
        self._upstream = upstream

    def dataReceived(self, data: bytes) -> None:
        self.heard = True
        self.session.receive(data)

    def replied(self, owner: _Forwarded, message: AnyMessage) -> None:
        if owner.in_band:
            self._upstream._answered()
        if message.returned is UNSET:
            owner.errback(Failure(error_of(message)))
        else:
            owner.callback(text_of(message))

    def happened(self, message: AnyMessage) -> None:
        self._upstream._happened(self, message)

    def over(self, owners: list[_Forwarded], error: CommandError) -> None:
        self._upstream._over(self, owners, error)

    def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, oob: bool = False) -> Deferred[JSONText]:
        """Make a request at once, past all that wait. For what prepares or watches the connection."""
        forwarded = _Forwarded(_forget)
        forwarded.in_band = False
        forwarded.connection = self
        try:
            forwarded.number = self.request(forwarded, name, arguments, oob=oob)
        except CommandError as error:
            return fail(error)
        return forwarded


def _forget(forwarded: Deferred[JSONText]) -> None:
    assert isinstance(forwarded, _Forwarded)
    assert forwarded.connection is not None
    forwarded.connection.withdraw(forwarded.number)


class Upstream:
    """
    A QEMU, over all its connections.

    :param endpoint: where its QMP server is
    :param clock: for time limits and the times between attempts
    :param describe: called with each L{UpstreamConnection} when it is negotiated; its Deferred says that requests may
        come
    :param emit: called with each event (name, data or C{None}, timestamp or C{None})
    :param serving: called when requests are allowed, before events that came meanwhile
    :param lost: called with the reason when a connection is over that requests had been allowed on
    :param is_stopping: says whether this process is ending its service
    :param retry_policy: seconds until the next attempt, for the number of failures so far
    :ivar service: connects while it runs
    :ivar connection: the one that requests go to; C{None}: there is none
    """

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        describe: Callable[[UpstreamConnection], Deferred[Any]],
        emit: Callable[[str, Mapping[str, Any] | None, Any], None],
        serving: Callable[[], None],
        lost: Callable[[CommandError], None],
        *,
        negotiation_timeout: float = NEGOTIATION_TIMEOUT,
        is_stopping: Callable[[], bool] = lambda: False,
        retry_policy: Callable[[int], float] | None = None,
    ) -> None:
        self.clock = clock
        self.connection: UpstreamConnection | None = None
        self.is_stopping = is_stopping
        self._describe = describe
        self._emit = emit
        self._serving = serving
        self._lost = lost
        self._negotiation_timeout = negotiation_timeout
        self._in_flight = 0
        self._queues: dict[Any, deque[_Forwarded]] = {}
        self._turns: deque[Any] = deque()
        self._waiting = 0
        self._held: deque[AnyMessage] = deque()
        self._watchers: dict[object, Callable[[str, Mapping[str, Any]], None]] = {}
        self._heartbeat: IDelayedCall | None = None
        self.service = keep_connected(endpoint, self._make_connection, self._prepare, clock, retry_policy)

    # -- requests

    def execute(
        self, name: str, arguments: Mapping[str, Any] | None = None, caller: Any = None, oob: bool = False
    ) -> Deferred[JSONText]:
        """
        Execute a command on QEMU when it is the caller's turn.

        :param arguments: as they go to QEMU
        :param caller: on whose behalf; turns go round between callers
        :param oob: out of band, if that is enabled
        :return: fires with the result as it came; fails with L{CommandError}, at once if QEMU is not connected.
            Cancelling it takes back what is not sent yet; the reply to what is sent is dropped.
        """
        connection = self.connection
        if connection is None:
            return fail(not_connected())
        forwarded = _Forwarded(self._cancelled)
        forwarded.connection = connection
        oob = oob and connection.session.oob
        try:
            if oob or (self._in_flight < IN_FLIGHT and not self._waiting):
                forwarded.number = connection.request(forwarded, name, arguments, oob=oob)
                if oob:
                    forwarded.in_band = False
                else:
                    self._in_flight += 1
                return forwarded
        except CommandError as error:
            return fail(error)
        if self._waiting >= MAX_WAITING:
            return fail(GenericError(f"{MAX_WAITING} requests are waiting for QEMU already"))
        forwarded.name = name
        forwarded.arguments = arguments
        forwarded.caller = caller
        queue = self._queues.get(caller)
        if queue is None:
            queue = self._queues[caller] = deque()
            self._turns.append(caller)
        queue.append(forwarded)
        self._waiting += 1
        return forwarded

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None, caller: Any = None) -> Any:
        """L{execute}, with the result decoded."""
        return (await self.execute(name, arguments, caller)).value

    def _cancelled(self, forwarded: Deferred[JSONText]) -> None:
        assert isinstance(forwarded, _Forwarded)
        assert forwarded.connection is not None
        if forwarded.number:
            # QEMU executes it all the same, so it keeps its place until the reply is there.
            pending = forwarded.connection.session.pending
            stand_in = pending[forwarded.number] = _Forwarded()
            stand_in.in_band = forwarded.in_band
            stand_in.addErrback(lambda _: None)
        else:
            self._queues[forwarded.caller].remove(forwarded)
            self._waiting -= 1
        forwarded.errback(CommandCancelled(f"Command '{forwarded.name}' was cancelled"))

    def _answered(self) -> None:
        self._in_flight -= 1
        while self._turns and self._in_flight < IN_FLIGHT and self.connection is not None:
            self._send_next(self.connection)

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
            forwarded.number = connection.request(forwarded, forwarded.name, forwarded.arguments)
        except CommandError as error:
            forwarded.errback(Failure(error))
        else:
            self._in_flight += 1

    # -- events

    def watch(self, watcher: Callable[[str, Mapping[str, Any]], None]) -> Callable[[], None]:
        """
        Be told of QEMU's events (name, data), before the monitor's subscribers are; and of the end of the connection,
        as an event without name.

        :return: call it to be told no more
        """
        token = object()
        self._watchers[token] = watcher
        return lambda: self._watchers.pop(token, None) and None

    def _happened(self, connection: UpstreamConnection, message: AnyMessage) -> None:
        if connection is self.connection:
            self._deliver(message)
            return
        if len(self._held) >= MAX_HELD_EVENTS:
            self._held.popleft()
            self._log.warn("dropped the oldest of {limit} events that wait for QEMU's schema", limit=MAX_HELD_EVENTS)
        self._held.append(message)

    def _deliver(self, message: AnyMessage) -> None:
        data = None if message.data is UNSET else message.data
        self._tell_watchers(message.event, data or {})
        self._emit(message.event, data, None if message.timestamp is UNSET else message.timestamp)

    def _tell_watchers(self, name: str, data: Mapping[str, Any]) -> None:
        for watcher in list(self._watchers.values()):
            watcher(name, data)

    # -- life and death

    def _make_connection(self) -> UpstreamConnection:
        self._held.clear()
        return UpstreamConnection(self)

    def _prepare(self, connection: UpstreamConnection) -> Deferred[Any]:
        negotiated = connection.negotiate(self.clock, self._negotiation_timeout)
        described = negotiated.addCallback(self._describe).addCallback(lambda _: self._serve(connection))
        return described.addErrback(self._not_prepared)

    def _not_prepared(self, failure: Failure) -> Failure:
        if failure.check(CommandError, CancelledError):
            self._log.info("QEMU can't be served: {reason}", reason=failure.getErrorMessage())
        else:
            self._log.failure("while connecting to QEMU", failure)
        return failure

    def _serve(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self._in_flight = 0
        self._heartbeat = self.clock.callLater(HEARTBEAT, self._beat, connection)
        self._serving()
        while self._held:
            self._deliver(self._held.popleft())

    def _over(self, connection: UpstreamConnection, owners: list[_Forwarded], error: CommandError) -> None:
        if connection is self.connection:
            self.connection = None
            if self._heartbeat is not None:
                self._heartbeat.cancel()
                self._heartbeat = None
            for queue in self._queues.values():
                owners.extend(queue)
            self._queues.clear()
            self._turns.clear()
            self._waiting = self._in_flight = 0
            self._tell_watchers("", {})
            self._lost(error)
        for forwarded in owners:
            # Each needs one of its own: a traceback is put into it.
            forwarded.errback(Failure(ConnectionClosed(error.desc)))

    def _beat(self, connection: UpstreamConnection) -> None:
        """Something may be wrong if requests are pending and nothing has been heard for a while."""
        self._heartbeat = self.clock.callLater(HEARTBEAT, self._beat, connection)
        heard, connection.heard = connection.heard, False
        if heard or not connection.session.pending or not connection.session.oob:
            connection.beating = False
        elif connection.beating:
            self._log.warn("QEMU has not answered for {seconds} s: connecting anew", seconds=2 * HEARTBEAT)
            connection.abort(ConnectionClosed("QEMU does not answer"))
        else:
            connection.beating = True
            # An error is a sign of life as well.
            connection.ask(_HEARTBEAT_COMMAND, oob=True).addErrback(lambda _: None)
