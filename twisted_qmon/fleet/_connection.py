"""
One connection to a WAMP router: L{WampFleet}, made by L{connect}.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_qmon._text import printable
from twisted_qmon._transport.tls import loss_reason
from twisted_qmon.errors import CommandError, ConnectionClosed
from twisted_qmon.fleet._autobahn import (
    CallDetails,
    CallOptions,
    CBORSerializer,
    EventDetails,
    PublishOptions,
    RegisterOptions,
    SubscribeOptions,
    WampRawSocketClientFactory,
    WampRawSocketClientProtocol,
    WampWebSocketClientFactory,
    WampWebSocketClientProtocol,
)
from twisted_qmon.fleet._meta import Directory
from twisted_qmon.fleet._wamp import LOST, PREFIX, Session, SessionFactory, error_to_wire, to_command_error
from twisted_qmon.fleet.errors import NoSuchMember
from twisted_qmon.fleet.interfaces import Call, ICallee, IFleet, Publication, member_name

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IReactorTime

    from twisted_qmon.fleet.router import Router
    from twisted_qmon.info import JSON

__all__ = ["CLOSE_TIMEOUT", "JOIN_TIMEOUT", "KEEP_ALIVE", "MAX_MESSAGE", "WampFleet", "connect"]

#: Bytes of one message to or from the router, at most. RawSocket allows no more than 16 MiB.
MAX_MESSAGE = 16 << 20

#: Seconds until a router that does not let one in, and does not refuse either, counts as gone.
JOIN_TIMEOUT = 10.0

#: Seconds that a router has to end a session in order.
CLOSE_TIMEOUT = 2.0

#: Seconds after which a host that does not answer any more counts as gone.
KEEP_ALIVE = 40

_T = TypeVar("_T")


@implementer(IPushProducer)
class _Flow:
    """
    Is told by the transport when the router does not read. Then nothing is read from it either: what it asks for would be
    answered into a queue.
    """

    __slots__ = ("_told", "_transport")

    def __init__(self, transport: object, told: Callable[[bool], object]) -> None:
        self._transport = transport
        self._told = told

    def pauseProducing(self) -> None:
        """The router does not read."""
        self._transport.pauseProducing()  # type: ignore[attr-defined]
        self._told(False)

    def resumeProducing(self) -> None:
        """It reads again."""
        self._transport.resumeProducing()  # type: ignore[attr-defined]
        self._told(True)

    def stopProducing(self) -> None:
        """The connection is gone, and that is told elsewhere."""


@implementer(IFleet)
class WampFleet:
    """
    See L{IFleet}. It is one session with the router.

    :param clock: of the time that closing may take
    :param router: the router
    :param authid: who one is; C{None}: the router decides
    :param ticket: what proves it; C{None}: nothing does
    :ivar session: Autobahn's session
    :ivar reason: why it ends, as far as that is known
    """

    # A process may have thousands of members.
    __slots__ = (
        "_calls",
        "_clock",
        "_closing",
        "_directory",
        "_drained",
        "_ended",
        "_reads",
        "_ready",
        "_transport",
        "_waiting",
        "reason",
        "session",
    )

    def __init__(self, clock: IReactorTime, router: Router, authid: str | None, ticket: str | None) -> None:
        self._clock = clock
        self.session = Session(self, router.realm, authid, ticket)
        self._ready: Deferred[None] | None = None
        self._transport: object = None
        self._closing: IDelayedCall | None = None
        self.reason: CommandError | None = None
        self._ended = False
        self._reads = True
        self._waiting: list[Deferred[CommandError]] = []
        self._calls: dict[object, Call] = {}
        self._drained: list[Callable[[bool], object]] = []
        self._directory: Directory | None = None

    # -- the session

    def opened(self, transport: object) -> None:
        """
        The connection is there.

        :param transport: Twisted's, which Autobahn's protocol writes to
        """
        self._transport = transport
        _tune(transport)

    def _tell_drained(self, reads: bool) -> None:
        if self._ended:
            return
        self._reads = reads
        for callback in list(self._drained):
            callback(reads)

    def when_joined(self) -> Deferred[None]:
        """
        To be called once, before the router can have answered.

        :return: fires when the router has let it in; fails with L{CommandError} when it has not
        """
        ready = self._ready = Deferred(lambda _: self.abort())
        return ready

    def joined(self) -> None:
        """The router has let it in."""
        # Not before: TLS pauses who writes until its handshake is complete, and who then does not read never completes it.
        register = getattr(self._transport, "registerProducer", None)
        if register is not None:
            register(_Flow(self._transport, self._tell_drained), True)
        ready, self._ready = self._ready, None
        if ready is not None and not ready.called:
            ready.callback(None)

    def refused(self, error: CommandError) -> None:
        """The router has not let it in, or ends it."""
        if self.reason is None:
            self.reason = error

    def lost(self) -> None:
        """The connection is gone."""
        if self._ended:
            return
        self._ended = True
        if self._closing is not None and self._closing.active():
            self._closing.cancel()
        reason = self.reason = self.reason or ConnectionClosed(LOST)
        if self._directory is not None:
            self._directory.end()
        for deferred, call in list(self._calls.items()):
            call.left = True
            cast("Deferred[JSON]", deferred).cancel()
        ready, self._ready = self._ready, None
        if ready is not None and not ready.called:
            ready.errback(Failure(reason))
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(reason)

    def dropped(self, protocol: object) -> None:
        """The connection has ended, maybe before there was a session that could be told."""
        reason = getattr(protocol, "lost_by", None) or getattr(protocol, "wasNotCleanReason", None)
        self.refused(ConnectionClosed(f"{LOST}: {printable(str(reason))}" if reason else LOST))
        self.lost()

    def gone(self, request: int) -> None:
        """The caller of an invocation has gone; it is cancelled right after this."""
        call = self._calls.get(self.session.deferred_of(request))
        if call is not None:
            call.left = True

    def close(self) -> Deferred[None]:
        if self._ended:
            return succeed(None)
        self.refused(ConnectionClosed("The connection to the router was closed"))
        closed = self.when_lost()
        transport = self._transport
        if hasattr(transport, "unregisterProducer"):
            # One that is paused would keep the end of file back.
            transport.unregisterProducer()
            transport.resumeProducing()  # type: ignore[attr-defined]
        if self.session.is_attached() and self._closing is None:
            self._closing = self._clock.callLater(CLOSE_TIMEOUT, self.abort)
            self.session.leave()
        else:
            self.abort()
        return closed.addCallback(lambda _: None)

    def abort(self) -> None:
        """End the connection at once."""
        abort = getattr(self._transport, "abortConnection", None) or getattr(self._transport, "loseConnection", None)
        if abort is not None:
            abort()

    def when_lost(self) -> Deferred[CommandError]:
        if self._ended and self.reason is not None:
            return succeed(self.reason)
        waiting: Deferred[CommandError] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def on_drain(self, callback: Callable[[bool], object]) -> None:
        self._drained.append(callback)

    # -- a member

    def announce(self, name: str, callee: ICallee) -> Deferred[Callable[[], Deferred[None]]]:
        prefix = f"{PREFIX}{name}."
        begin = len(prefix)

        def invoked(*arguments: object, details: CallDetails, **_: object) -> Deferred[JSON]:
            call = Call(
                (details.procedure or "")[begin:],
                arguments,
                details.caller_authid,
                details.caller or 0,
                None if details.progress is None else self._progress(details.progress),
            )
            return self._called(callee, call)

        # One registration for all procedures of a member: each costs the router memory, and a listing of the members time.
        registered = self.session.register(
            invoked, prefix, options=RegisterOptions(match="prefix", details_arg="details")
        )

        def withdraw(registration: object) -> Callable[[], Deferred[None]]:
            def end() -> Deferred[None]:
                if self._ended:
                    return succeed(None)
                ended: Deferred[object] = registration.unregister()  # type: ignore[attr-defined]
                return ended.addCallbacks(lambda _: None, lambda _: None)

            return end

        return self._checked(registered, name).addCallback(withdraw)

    def _progress(self, tell: Callable[[int, int], object]) -> Callable[[int, int], None]:
        def progress(current: int, total: int) -> None:
            # A router that does not read gets none: the next one says it all.
            if self._reads and not self._ended:
                tell(current, total)

        return progress

    def _called(self, callee: ICallee, call: Call) -> Deferred[JSON]:
        deferred = callee.called(call)
        if deferred.called:
            return deferred.addErrback(_to_wire)
        self._calls[deferred] = call

        def done(result: JSON) -> JSON:
            del self._calls[deferred]
            return result

        def failed(failure: Failure) -> Failure:
            del self._calls[deferred]
            return _to_wire(failure)

        return deferred.addCallbacks(done, failed)

    def publish(self, publication: Publication, sessions: Sequence[int] | None = None) -> None:
        event = str(publication.message["event"])
        try:
            self.session.publish(
                f"{PREFIX}{publication.member}.event.{member_name(event)}",
                publication.message,
                monitor=publication.monitor,
                after=publication.after,
                options=None if sessions is None else PublishOptions(eligible=list(sessions)),
            )
        except Exception as e:
            raise to_command_error(e, publication.member) from e

    # -- a caller

    def call(
        self,
        name: str,
        procedure: str,
        arguments: Sequence[JSON] = (),
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Deferred[JSON]:
        if self._ended:
            return fail(ConnectionClosed("There is no connection to the router"))
        if not name or member_name(name) != name:
            return fail(NoSuchMember(f"'{name[:100]}' is not a name of a member"))
        options = None if progress is None else CallOptions(on_progress=_progress_of(progress))
        return self._checked_call(f"{PREFIX}{name}.{procedure}", name, arguments, options)

    def request(self, procedure: str, *arguments: JSON) -> Deferred[JSON]:
        """
        Call a procedure of the router's own.

        :param procedure: its full name
        :return: as L{call}
        """
        return self._checked_call(procedure, procedure, arguments, None)

    def _checked_call(
        self, procedure: str, name: str, arguments: Sequence[JSON], options: CallOptions | None
    ) -> Deferred[JSON]:
        try:
            calling: Deferred[JSON] = self.session.call(procedure, *arguments, options=options)
        except Exception as e:
            return fail(to_command_error(e, name))
        # Cancelling it cancels the call: Autobahn tells the router.
        return self._checked(calling, name)

    def _checked(self, requested: Deferred[_T], name: str) -> Deferred[_T]:
        """Fail with an error of a command."""

        def failed(failure: Failure) -> Failure:
            return Failure(to_command_error(failure.value, name))

        return requested.addErrback(failed)

    # -- events and presence

    def subscribe(
        self, receiver: Callable[[Publication], object], name: str | None = None
    ) -> Deferred[Callable[[], None]]:
        def received(*arguments: object, details: EventDetails, **keywords: object) -> None:
            publication = _publication(details.topic or "", arguments, keywords)
            if publication is not None:
                receiver(publication)

        topic, match = (f"{PREFIX}.event.", "wildcard") if name is None else (f"{PREFIX}{name}.event.", "prefix")
        return self.subscribe_topic(received, topic, match)

    def subscribe_topic(
        self, received: Callable[..., None], topic: str, match: str = "exact"
    ) -> Deferred[Callable[[], None]]:
        """
        Subscribe to a topic of any kind.

        :param received: called with the arguments of each event, and with C{details}
        :return: fires with what ends that
        """
        if self._ended:
            return fail(ConnectionClosed("There is no connection to the router"))
        try:
            subscribing = self.session.subscribe(
                received, topic, options=SubscribeOptions(match=match, details_arg="details")
            )
        except Exception as e:
            return fail(to_command_error(e, topic))

        def end_of(subscription: object) -> Callable[[], None]:
            def end() -> None:
                if not self._ended and subscription.active:  # type: ignore[attr-defined]
                    ending: Deferred[object] = subscription.unsubscribe()  # type: ignore[attr-defined]
                    ending.addErrback(lambda _: None)

            return end

        return self._checked(subscribing, topic).addCallback(end_of)

    def members(self) -> Deferred[list[str]]:
        return self._directory_of_all().members()

    def watch(self, receiver: Callable[[str, bool], object]) -> Deferred[Callable[[], None]]:
        return self._directory_of_all().watch(receiver)

    def _directory_of_all(self) -> Directory:
        # A member asks for none.
        if self._directory is None:
            self._directory = Directory(self)
        return self._directory


def _to_wire(failure: Failure) -> Failure:
    error = failure.value
    return Failure(error_to_wire(error)) if isinstance(error, CommandError) else failure


def _progress_of(progress: Callable[[int, int], None]) -> Callable[..., None]:
    def told(*values: object, **_: object) -> None:
        # The other end may be of any make.
        if len(values) == 2:
            current, total = values
            if type(current) is int and type(total) is int:
                progress(current, total)

    return told


def _publication(topic: str, arguments: Sequence[object], keywords: Mapping[str, object]) -> Publication | None:
    """:return: what was published; C{None}: it is not what a member publishes"""
    parts = topic.split(".")
    message = arguments[0] if arguments else None
    monitor, after = keywords.get("monitor"), keywords.get("after")
    if len(parts) != 4 or not isinstance(message, dict) or type(message.get("number")) is not int:
        return None
    if not isinstance(monitor, str) or type(after) is not int or not isinstance(message.get("event"), str):
        return None
    return Publication(parts[1], monitor, message, after)


def _tune(transport: object) -> None:
    """Have the kernel send at once, and find out when the other host is gone: that costs no timer here."""
    while hasattr(transport, "wrappedProtocol") and hasattr(transport, "transport"):
        transport = transport.transport
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    if not isinstance(handle, socket.socket) or handle.family not in (socket.AF_INET, socket.AF_INET6):
        return
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"TCP_KEEPIDLE": KEEP_ALIVE // 2, "TCP_KEEPINTVL": KEEP_ALIVE // 8, "TCP_KEEPCNT": 4}
    options["TCP_USER_TIMEOUT"] = KEEP_ALIVE * 1000
    for name, value in options.items():
        if hasattr(socket, name):
            handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _why(reason: Failure) -> str:
    """:return: why TLS failed, in OpenSSL's words, which Autobahn only logs; empty: it did not"""
    if reason.check(ConnectionDone, ConnectionLost, ConnectionAborted):
        return ""
    return loss_reason(reason)


class _RawSocket(WampRawSocketClientProtocol):
    lost_by = ""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost_by = _why(reason)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class _WebSocket(WampWebSocketClientProtocol):
    lost_by = ""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost_by = _why(reason)
        super().connectionLost(reason)


# All connections of a process encode alike.
_SERIALIZER = CBORSerializer()


def connect(
    reactor: IReactorTime, router: Router, authid: str | None = None, ticket: str | None = None
) -> Deferred[IFleet]:
    """
    Connect to a router, and join its realm.

    :param reactor: the reactor
    :param router: the router
    :param authid: who one is; C{None}: the router decides
    :param ticket: what proves it; C{None}: nothing does
    :return: fires with the connection. Fails with what Twisted's endpoints fail with when there is no connection, with
        L{JoinRefused} when the router does not let one in, and with L{ConnectionClosed} when it does not answer.
    """
    return Deferred.fromCoroutine(_connect(reactor, router, authid, ticket))


async def _connect(reactor: IReactorTime, router: Router, authid: str | None, ticket: str | None) -> IFleet:
    if ticket is not None:
        router.check_ticket()
    fleet = WampFleet(reactor, router, authid, ticket)
    factory = cast("IProtocolFactory", _factory(router, lambda: fleet.session, reactor))
    protocol = await router.endpoint(reactor).connect(factory)
    fleet.opened(getattr(protocol, "transport", None))
    # It fires with the protocol.
    ended: Deferred[object] = protocol.is_closed  # type: ignore[attr-defined]
    ended.addCallback(fleet.dropped)
    timer = reactor.callLater(JOIN_TIMEOUT, _give_up, fleet)
    try:
        await fleet.when_joined()
    finally:
        if timer.active():
            timer.cancel()
    return fleet


def _give_up(fleet: WampFleet) -> None:
    fleet.refused(ConnectionClosed(f"The router does not answer within {JOIN_TIMEOUT:g} s"))
    fleet.abort()
    fleet.lost()


def _factory(router: Router, session: SessionFactory, reactor: IReactorTime) -> object:
    if not router.websocket:
        raw = WampRawSocketClientFactory(session, serializer=_SERIALIZER)
        raw.protocol = _RawSocket
        raw.setProtocolOptions(maxMessagePayloadSize=MAX_MESSAGE)
        return raw
    factory = WampWebSocketClientFactory(session, url=router.url, serializers=[_SERIALIZER], reactor=reactor)
    factory.protocol = _WebSocket
    factory.noisy = False
    factory.setProtocolOptions(
        maxMessagePayloadSize=MAX_MESSAGE,
        maxFramePayloadSize=MAX_MESSAGE,
        openHandshakeTimeout=JOIN_TIMEOUT,
        autoPingInterval=0,
    )
    return factory
