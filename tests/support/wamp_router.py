"""
A WAMP router in memory: as much of one as a fleet uses, and as Crossbar.io does it. Each message is encoded and decoded on its
way. Nothing moves before L{WampRouter.pump} is called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError

from twisted_qmon.fleet._autobahn import CBORSerializer, PayloadExceededError, TransportLost, message
from twisted_qmon.fleet._connection import WampFleet
from twisted_qmon.fleet.interfaces import IFleet

from autobahn.wamp import role  # isort: skip
from autobahn.wamp.types import TransportDetails  # isort: skip

__all__ = ["Link", "WampRouter", "welcome"]

_BROKER = role.RoleBrokerFeatures(
    pattern_based_subscription=True, publisher_exclusion=True, subscriber_blackwhite_listing=True
)
_DEALER = role.RoleDealerFeatures(
    caller_identification=True, call_canceling=True, progressive_call_results=True, pattern_based_registration=True
)


def welcome(session: int, authid: str) -> Any:
    """:return: what a router says when it lets one in"""
    roles = {"broker": _BROKER, "dealer": _DEALER}
    return message.Welcome(session, roles, realm="qmon", authid=authid, authrole="member")


class Wire:
    """Stands for Twisted's transport below Autobahn's: what a producer is registered with."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.producer: Any = None
        self.reading = True

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Remember the producer."""
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Forget it."""
        self.producer = None

    def pauseProducing(self) -> None:
        """Read nothing from the router."""
        self.reading = False

    def resumeProducing(self) -> None:
        """Read again."""
        self.reading = True

    def abortConnection(self) -> None:
        """End the connection."""
        self._link.lose()


class Link:
    """One connection: Autobahn's transport at one end, and the router's knowledge of it at the other."""

    def __init__(self, router: WampRouter, session: Any) -> None:
        self.router = router
        self.session = session
        self.wire = Wire(self)
        self.open = True
        self.stopped = False
        self.full_after: int | None = None
        self.id = 0
        self.authid: str | None = None
        self.hello: Any = None
        self.received: list[Any] = []
        self._serializer = CBORSerializer()
        self.transport_details = TransportDetails()

    # -- Autobahn's end

    def send(self, msg: Any) -> None:
        """The session sends."""
        if not self.open:
            raise TransportLost()
        data, _ = self._serializer.serialize(msg)
        if len(data) > self.router.max_message:
            raise PayloadExceededError("too large")
        self.router.queue.append((self, data))
        if self.full_after is not None:
            self.full_after -= 1
            if not self.full_after:
                self.full_after = None
                self.wire.producer.pauseProducing()

    def isOpen(self) -> bool:
        """:return: whether it can be sent on"""
        return self.open

    @property
    def is_closed(self) -> bool:
        """It can't."""
        return not self.open

    def close(self) -> None:
        """The session ends the connection."""
        if not self.open:
            raise TransportLost()
        self.router.queue.append((self, None))

    def abort(self) -> None:
        """At once."""
        self.lose()

    # -- the router's end

    def tell(self, msg: Any) -> None:
        """The router sends."""
        if self.open:
            data, _ = self._serializer.serialize(msg)
            self.router.outgoing.append((self, data))

    def lose(self, clean: bool = False) -> None:
        """The connection is gone."""
        if self.open:
            self.open = False
            self.router.detach(self)
            self.session.onClose(clean)


class _Invocation:
    def __init__(self, caller: Link, call: Any, callee: Link) -> None:
        self.caller = caller
        self.call = call
        self.callee = callee
        self.canceled = False


class WampRouter:
    """
    The router.

    :ivar tickets: by authid; those who have none are anonymous
    :ivar anonymous: whether these may join
    :ivar disclose: tell members who calls
    :ivar up: it takes connections
    :ivar drop_events: how many publications of clients get lost from now on
    :ivar may: whether an authid may do something: (authid, "register" | "call" | "publish" | "subscribe", URI)
    """

    def __init__(self) -> None:
        self.tickets: dict[str, str] = {}
        self.anonymous = True
        self.disclose = True
        self.up = True
        self.max_message = 1 << 20
        self.drop_events = 0
        self.may: Callable[[str, str, str], bool] = lambda authid, action, uri: True
        self.queue: deque[tuple[Link, bytes | None]] = deque()
        self.outgoing: deque[tuple[Link, bytes]] = deque()
        self.links: list[Link] = []
        self.registrations: dict[int, tuple[str, str, Link]] = {}
        self.subscriptions: dict[int, tuple[str, str, list[Link]]] = {}
        self.invocations: dict[int, _Invocation] = {}
        self.published: list[Any] = []
        self._numbers = count(1)
        self._sessions = count(9_000_000)

    def connect(self, reactor: Any, router: Any, authid: str | None, ticket: str | None) -> Deferred[IFleet]:
        """In the place of C{_connection.connect}."""
        if not self.up:
            return fail(ConnectionRefusedError(111))
        fleet = WampFleet(reactor, router, authid, ticket)
        link = Link(self, fleet.session)
        self.links.append(link)
        fleet.opened(link.wire)
        joined = fleet.when_joined()
        fleet.session.onOpen(link)
        return joined.addCallback(lambda _: cast(IFleet, fleet))

    def session(self, session: Any) -> Link:
        """Connect any session of Autobahn's."""
        link = Link(self, session)
        self.links.append(link)
        session.onOpen(link)
        return link

    def pump(self) -> None:
        """Move messages until none is left but those of ends that don't read."""
        left: list[tuple[Link, bytes]] = []
        while self.queue or self.outgoing:
            while self.queue:
                link, sent = self.queue.popleft()
                if sent is None:
                    link.lose(True)
                elif link.open:
                    for msg in link._serializer.unserialize(sent, True):
                        self._handle(link, msg)
            if self.outgoing:
                link, data = self.outgoing.popleft()
                if link.open and (link.stopped or not link.wire.reading):
                    left.append((link, data))
                elif link.open:
                    for msg in link._serializer.unserialize(data, True):
                        link.received.append(msg)
                        link.session.onMessage(msg)
        self.outgoing.extend(left)

    def kill(self) -> None:
        """The router is gone, with all it knows."""
        self.up = False
        for link in list(self.links):
            link.lose()
        self.queue.clear()
        self.outgoing.clear()

    def of(self, authid: str) -> Link:
        """:return: the connection of an authid"""
        return next(link for link in reversed(self.links) if link.authid == authid and link.open)

    def of_member(self, name: str) -> Link:
        """:return: the connection of a member"""
        return next(link for uri, _, link in self.registrations.values() if uri == f"qmon.{name}.")

    # -- what it does

    def _handle(self, link: Link, msg: Any) -> None:
        handlers: dict[type, Callable[[Link, Any], None]] = {
            message.Hello: self._hello,
            message.Authenticate: self._authenticate,
            message.Goodbye: self._goodbye,
            message.Abort: lambda link, _: link.lose(True),
            message.Register: self._register,
            message.Unregister: self._unregister,
            message.Call: self._call,
            message.Cancel: self._cancel,
            message.Yield: self._yield,
            message.Error: self._error,
            message.Subscribe: self._subscribe,
            message.Unsubscribe: self._unsubscribe,
            message.Publish: self._publish,
        }
        handlers[type(msg)](link, msg)

    def _hello(self, link: Link, msg: Any) -> None:
        link.hello = msg
        if msg.realm != "qmon":
            link.tell(message.Abort("wamp.error.no_such_realm", f"no realm '{msg.realm}' exists on this router"))
        elif "ticket" in (msg.authmethods or []):
            link.tell(message.Challenge("ticket"))
        elif self.anonymous:
            self._welcome(link, f"ANON-{next(self._numbers)}")
        else:
            link.tell(
                message.Abort("wamp.error.no_auth_method", "cannot authenticate using any of the offered methods")
            )

    def _authenticate(self, link: Link, msg: Any) -> None:
        if self.tickets.get(link.hello.authid) == msg.signature:
            self._welcome(link, link.hello.authid)
        else:
            link.tell(
                message.Abort(
                    "wamp.error.authentication_failed", "ticket in static WAMP-Ticket authentication is invalid"
                )
            )

    def _welcome(self, link: Link, authid: str) -> None:
        link.id = next(self._sessions)
        link.authid = authid
        link.tell(welcome(link.id, authid))

    def _goodbye(self, link: Link, msg: Any) -> None:
        self.detach(link)
        link.tell(message.Goodbye("wamp.close.goodbye_and_out"))

    def detach(self, link: Link) -> None:
        """A session ends: what it was part of ends."""
        if link in self.links:
            self.links.remove(link)
        for number, invocation in list(self.invocations.items()):
            if invocation.caller is link and not invocation.canceled:
                del self.invocations[number]
                invocation.callee.tell(message.Interrupt(number, message.Cancel.KILLNOWAIT))
            elif invocation.callee is link:
                del self.invocations[number]
                if not invocation.canceled:
                    self._fail(invocation.caller, invocation.call, "wamp.error.canceled", "callee disconnected")
        for number, (_, _, callee) in list(self.registrations.items()):
            if callee is link:
                self._deregister(number, link)
        for _, _, subscribers in self.subscriptions.values():
            if link in subscribers:
                subscribers.remove(link)

    def _fail(self, link: Link, msg: Any, error: str, text: str) -> None:
        link.tell(message.Error(type(msg).MESSAGE_TYPE, msg.request, error, args=[text]))

    def _allowed(self, link: Link, msg: Any, action: str, uri: str) -> bool:
        if self.may(link.authid or "", action, uri):
            return True
        self._fail(link, msg, "wamp.error.not_authorized", f"not authorized to {action} '{uri}'")
        return False

    # -- calls

    def _register(self, link: Link, msg: Any) -> None:
        if not self._allowed(link, msg, "register", msg.procedure):
            return
        if any(uri == msg.procedure and match == msg.match for uri, match, _ in self.registrations.values()):
            self._fail(link, msg, "wamp.error.procedure_already_exists", "register for already registered procedure")
            return
        number = next(self._numbers)
        self.registrations[number] = (msg.procedure, msg.match, link)
        link.tell(message.Registered(msg.request, number))
        self._announce("wamp.registration.on_create", [link.id, self._details(number)])

    def _details(self, number: int) -> dict[str, object]:
        uri, match, _ = self.registrations[number]
        return {"id": number, "created": "now", "uri": uri, "match": match, "invoke": "single"}

    def _unregister(self, link: Link, msg: Any) -> None:
        self._deregister(msg.registration, link)
        link.tell(message.Unregistered(msg.request))

    def _deregister(self, number: int, link: Link) -> None:
        del self.registrations[number]
        self._announce("wamp.registration.on_delete", [link.id, number])

    def _call(self, link: Link, msg: Any) -> None:
        if not self._allowed(link, msg, "call", msg.procedure):
            return
        if msg.procedure.startswith("wamp."):
            self._meta(link, msg)
            return
        for number, (uri, match, _) in self.registrations.items():  # noqa: B007
            if msg.procedure == uri or (match == "prefix" and msg.procedure.startswith(uri)):
                break
        else:
            self._fail(
                link, msg, "wamp.error.no_such_procedure", f"no callee registered for procedure <{msg.procedure}>"
            )
            return
        callee = self.registrations[number][2]
        request = next(self._numbers)
        self.invocations[request] = _Invocation(link, msg, callee)
        who = {"caller": link.id, "caller_authid": link.authid} if self.disclose else {}
        callee.tell(
            message.Invocation(
                request,
                number,
                args=msg.args,
                kwargs=msg.kwargs,
                procedure=msg.procedure if match != "exact" else None,
                receive_progress=msg.receive_progress,
                **who,
            )
        )

    def _meta(self, link: Link, msg: Any) -> None:
        if msg.procedure == "wamp.registration.list":
            result: Any = {
                match: [number for number, each in self.registrations.items() if each[1] == match]
                for match in ("exact", "prefix", "wildcard")
            }
        elif msg.procedure == "wamp.registration.get" and msg.args[0] in self.registrations:
            result = self._details(msg.args[0])
        else:
            self._fail(link, msg, "wamp.error.no_such_registration", "no registration with that ID")
            return
        link.tell(message.Result(msg.request, args=[result]))

    def _cancel(self, link: Link, msg: Any) -> None:
        for number, invocation in self.invocations.items():
            if invocation.caller is link and invocation.call.request == msg.request and not invocation.canceled:
                invocation.canceled = True
                invocation.callee.tell(message.Interrupt(number, msg.mode))
                if msg.mode != message.Cancel.KILL:
                    self._fail(link, invocation.call, "wamp.error.canceled", "")
                return

    def _yield(self, link: Link, msg: Any) -> None:
        invocation = self.invocations.get(msg.request)
        if invocation is None:
            return
        assert invocation.callee is link
        if not invocation.canceled:
            invocation.caller.tell(
                message.Result(invocation.call.request, args=msg.args, kwargs=msg.kwargs, progress=msg.progress)
            )
        if not msg.progress or invocation.canceled:
            del self.invocations[msg.request]

    def _error(self, link: Link, msg: Any) -> None:
        invocation = self.invocations.pop(msg.request, None)
        if invocation is not None and not invocation.canceled:
            call = invocation.call
            invocation.caller.tell(
                message.Error(message.Call.MESSAGE_TYPE, call.request, msg.error, args=msg.args, kwargs=msg.kwargs)
            )

    # -- events

    def _subscribe(self, link: Link, msg: Any) -> None:
        if not self._allowed(link, msg, "subscribe", msg.topic):
            return
        for number, (topic, match, subscribers) in self.subscriptions.items():  # noqa: B007
            if (topic, match) == (msg.topic, msg.match):
                if link not in subscribers:
                    subscribers.append(link)
                break
        else:
            number = next(self._numbers)
            self.subscriptions[number] = (msg.topic, msg.match, [link])
        link.tell(message.Subscribed(msg.request, number))

    def _unsubscribe(self, link: Link, msg: Any) -> None:
        self.subscriptions[msg.subscription][2].remove(link)
        link.tell(message.Unsubscribed(msg.request))

    def _publish(self, link: Link, msg: Any) -> None:
        if self.may(link.authid or "", "publish", msg.topic):
            self.published.append(msg)
            if self.drop_events:
                self.drop_events -= 1
                return
            self._announce(msg.topic, msg.args, msg.kwargs, msg.eligible, link)

    def _announce(
        self, topic: str, args: Any, kwargs: Any = None, eligible: Any = None, publisher: Link | None = None
    ) -> None:
        publication = next(self._numbers)
        for number, subscribers in self._subscriptions_of(topic):
            exact = self.subscriptions[number][1] == "exact"
            for link in subscribers:
                if link is not publisher and (eligible is None or link.id in eligible):
                    event = message.Event(number, publication, args=args, kwargs=kwargs, topic=None if exact else topic)
                    link.tell(event)

    def _subscriptions_of(self, topic: str) -> Iterator[tuple[int, list[Link]]]:
        for number, (uri, match, subscribers) in self.subscriptions.items():
            parts, wanted = topic.split("."), uri.split(".")
            if (
                topic == uri
                or (match == "prefix" and topic.startswith(uri))
                or (
                    match == "wildcard"
                    and len(parts) == len(wanted)
                    and all(not want or want == part for part, want in zip(parts, wanted, strict=True))
                )
            ):
                yield number, list(subscribers)
